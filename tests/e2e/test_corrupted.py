"""Files of a run that a disk, a person or a stranger has changed: refused in one line, made again, or without effect. Never used.

A campaign, seeded. `FEDTAP_CORRUPTIONS=300 python -m pytest tests/e2e/test_corrupted.py -s` is the long one; its table says how
often which kind of file was refused, and how often the change had no effect. A change that led to other results with exit code 0
is "silently wrong", and fails the campaign; so does a traceback.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import fedtap as library
from e2e.conftest import Called, Command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_report")]
NUMBER = int(os.environ.get("FEDTAP_CORRUPTIONS", "16"))
QUESTION = ("--client", "reader", "--task", "mood", "--text", "a warm and funny film")
IGNORED = (".lock", "report.html", "README.md")
"""Files that nothing reads back."""


class Change(NamedTuple):
    """What was done to which file."""

    kind: str
    path: str


def flip(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def digit(data: bytes, draw: random.Random) -> bytes:
    """Return the text with one digit changed: what remains is sound JSON, or sound enough."""
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return flip(data, draw)
    at = draw.choice(places)
    return data[:at] + str((data[at] - 48 + draw.randrange(1, 10)) % 10).encode() + data[at + 1 :]


def blank(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + b"\0" * min(64, len(data) - at) + data[at + 64 :]


WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit": flip,
    "a digit": digit,
    "a block of zeros": blank,
    "cut off": lambda data, draw: data[: draw.randrange(len(data))],
    "a line less": lambda data, draw: b"".join(data.splitlines(keepends=True)[:-1]),
    "more at the end": lambda data, draw: data + draw.randbytes(20),
}


def change(folder: Path, draw: random.Random) -> Change:
    """Change one file of a folder, delete it, or put another of its kind in its place."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in IGNORED and p.stat().st_size)
    path = draw.choice(files)
    others = [p for p in files if p.suffix == path.suffix and p != path and p.read_bytes() != path.read_bytes()]
    way = draw.choice([*WAYS, "deleted", *(["another's"] if others else [])])
    if way == "deleted":
        path.unlink()
    elif way == "another's":
        path.write_bytes(draw.choice(others).read_bytes())
    else:
        path.write_bytes(WAYS[way](path.read_bytes(), draw))
    return Change(way, path.relative_to(folder).as_posix())


@pytest.fixture(scope="module")
def cut_off(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was interrupted in its last round."""
    out = tmp_path_factory.mktemp("cut") / "run"

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "round_started" and event["round"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.run(scenario, out=out, observers=[stop])
    return out


@pytest.fixture
def copied(whole: Path, cut_off: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a fresh copy of the finished run, or of the one that was cut off."""

    def copy(which: str) -> Path:
        to = tmp_path / "run"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(whole if which == "finished" else cut_off, to)
        return to

    return copy


def verdict(done: Called, same: bool) -> str:
    """Return how a command dealt with a change."""
    lines = [line for line in done.err.splitlines() if line.startswith("fedtap: ")]
    if "Traceback" in done.err or done.code not in (0, 2):
        return "broken"
    if done.code == 2:
        return "refused" if len(lines) == 1 else "broken"
    return "no effect" if same else "silently wrong"


def test_no_change_is_used(
    scenario: Path, whole: Path, copied: Callable[[str], Path], fedtap: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    results = (whole / "results.json").read_bytes()
    answer = fedtap("predict", whole, *QUESTION).out
    said: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    for number in range(NUMBER):
        draw = random.Random(f"corruption {number}")
        which = draw.choice(["finished", "cut off"])
        run = copied(which)
        made = change(run, draw)
        if which == "cut off" or draw.random() < 0.5:
            command = "run --resume"
            done = fedtap("run", scenario, "--out", run, "--resume")
            same = done.code == 0 and (run / "results.json").read_bytes() == results
        else:
            command = "predict"
            done = fedtap("predict", run, *QUESTION)
            same = done.out == answer
        found = verdict(done, same)
        said[Path(made.path).name.split("-")[0], found] += 1
        if found in ("broken", "silently wrong"):
            last = done.err.splitlines()[-1:] or [done.out[:80]]
            bad.append(f"{number}: {which}, {command}: {made.path}: {made.kind}: {found}: {last[0][:200]}")
    with capsys.disabled():
        for (name, found), times in sorted(said.items()):
            print(f"  {name:28} {found:16} {times}")
    assert bad == []


@pytest.mark.thorough  # tests/data/test_encode.py has each kind of damage, without a run
def test_a_cache_that_was_changed_is_made_again(
    scenario: Path, whole: Path, cache: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = (whole / "results.json").read_bytes()
    for number in range(max(4, NUMBER // 10)):
        draw = random.Random(f"cache {number}")
        spoiled, out = tmp_path / f"cache-{number}", tmp_path / f"run-{number}"
        shutil.copytree(cache, spoiled)
        made = change(spoiled, draw)
        monkeypatch.setenv("FEDTAP_CACHE", str(spoiled))
        done = fedtap("run", scenario, "--out", out)
        assert done.code == 0, (made, done.err)
        assert (out / "results.json").read_bytes() == results, made
