"""Half a run from a stranger, with right seals and anything in it: going on ends in one line or in a run, never a traceback.

A campaign, seeded: `FEDTAP_HOSTILE=500 python -m pytest tests/e2e/test_hostile_resume.py -s` is the long one.
"""

import json
import os
import random
import shutil
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch

from e2e.conftest import Called, Command, cut_off
from e2e.hostile import facts, garble, oddly, rewrite, weights

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.usefixtures("no_report", "bounded_memory")]
NUMBER = int(os.environ.get("FEDTAP_HOSTILE", "40"))


@pytest.fixture(scope="module")
def half(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was cut off in its second round; it is not to be changed."""
    out = tmp_path_factory.mktemp("half") / "run"
    cut_off(scenario, out, "update", where={"round": 2})
    return out


def odd_weights(tensors: dict[str, torch.Tensor], draw: random.Random) -> dict[str, torch.Tensor]:
    """Return tensors of which one is missing, new, of another kind or shape, or no number."""
    name = draw.choice(sorted(tensors))
    held = tensors[name]
    match draw.randrange(6):
        case 0:
            return {other: tensor for other, tensor in tensors.items() if other != name}
        case 1:
            return {**tensors, draw.choice(["", "x", "personal/shared/\x1b[2J", "a" * 5_000, "../../x"]): held.clone()}
        case 2:
            return {**tensors, name: held.to(draw.choice([torch.float64, torch.int64, torch.bool, torch.complex64]))}
        case 3:
            return {**tensors, name: torch.zeros((3, *held.shape))}
        case 4:
            return {**tensors, name: torch.full_like(held, float("nan") if held.is_floating_point() else 1)}
        case _:
            return {**tensors, name: torch.zeros(0)}


def spoil(run: Path, draw: random.Random) -> str:
    """Put something odd into one file of half a run, and seal it again; return what kind of file it was."""
    files = sorted(path for path in run.rglob("*") if path.suffix in (".json", ".jsonl", ".safetensors"))
    path = draw.choice(files)
    if path.suffix == ".json":
        rewrite(path, lambda value: oddly(value, draw))
    elif path.suffix == ".jsonl":
        told = path.read_text().splitlines()
        at = draw.randrange(len(told))
        told[at] = json.dumps(oddly(json.loads(told[at]), draw))
        path.write_text("\n".join(told) + "\n")
    else:
        how = draw.randrange(3)
        if how == 0:
            garble(path, draw)
        elif how == 1:
            weights(path, lambda tensors: odd_weights(tensors, draw))
        else:
            facts(path, lambda value: oddly(value, draw))
        return (
            f"{path.parent.name if path.parent.name == 'checkpoint' else 'state'} {('bytes', 'tensors', 'facts')[how]}"
        )
    return path.name


def test_whatever_stands_in_half_a_run_ends_in_a_run_or_in_one_line(
    half: Path, scenario: Path, tmp_path: Path, fedtap: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    said: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    for number in range(NUMBER):
        draw = random.Random(f"hostile resume {number}")
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(half, run)
        what = spoil(run, draw)
        try:
            done = fedtap("run", scenario, "--out", run, "--resume")
        except Exception as error:  # the command lets through what it has no line for
            done = Called(-1, "", repr(traceback.format_exception(error)[-3:]))
        said_why = [line for line in done.err.splitlines() if line.startswith("fedtap: ")]
        ended = done.code == 0 or (done.code == 2 and len(said_why) == 1 and done.err.rstrip().endswith(said_why[0]))
        # what a state says and cannot be used may also be that client's failure, which the run tells and goes on
        fine = ended and "Traceback" not in done.err and "\x1b" not in done.out + done.err
        said[what, "refused" if done.code == 2 else "went on" if fine else "broken"] += 1
        if not fine:
            bad.append(f"{number}: {what}: exit {done.code}: {(done.err or done.out)[-600:]}")
    with capsys.disabled():
        for (what, found), times in sorted(said.items()):
            print(f"  {what:28} {found:16} {times}")
    assert not bad, "\n".join(bad)
