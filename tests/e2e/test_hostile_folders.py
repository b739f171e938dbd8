"""Folders from strangers, with right seals and anything in them: one line and exit code 2, or an answer; never a traceback.

A seal is no signature, so each change here is sealed again. A campaign, seeded: `FEDTAP_HOSTILE=500 python -m pytest
tests/e2e/test_hostile_folders.py -s` is the long one.
"""

import base64
import hashlib
import json
import os
import random
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.conftest import Command
from e2e.hostile import deep, garble, oddly, one_line, rewrite, weights
from fedtap.runtime.sealed import write_sealed_json

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.usefixtures("bounded_memory")]
NUMBER = int(os.environ.get("FEDTAP_HOSTILE", "40"))
QUESTION = ("--client", "reader", "--task", "mood", "--text", "a warm and funny film")
CONFIG = "clients/reader/personal/config.json"
MODEL = "clients/reader/personal/model.safetensors"
OUTCOMES = "outcomes/painter.json"
HOLE = 3 * 10**12  # bytes of a file that takes no room


@pytest.fixture
def fresh(whole: Path, tmp_path: Path) -> Callable[[], Path]:
    """Return a function that gives a fresh copy of a finished run."""

    def copy() -> Path:
        to = tmp_path / "run"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(whole, to)
        return to

    return copy


def reseal(run: Path) -> None:
    """Write the digests of the files whose form is fixed anew, as whoever made the folder would."""
    path = run / "digests.json"
    told = json.loads(path.read_text())
    of = told.pop("of")
    told.pop("digest")
    told["files"] = {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in told["files"] if (run / name).exists()
    }
    write_sealed_json(path, told, of)


def put(*keys: Any, value: Any) -> Callable[[Any], Any]:
    """Return a change that puts a value at a place."""

    def change(whole: Any) -> Any:
        here = whole
        for key in keys[:-1]:
            here = here[key]
        here[keys[-1]] = value
        return whole

    return change


def lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def event(what: str, **fields: Any) -> str:
    return json.dumps({"event": what, "round": 1, "client": "reader", "time": 1.0, **fields})


def hole(path: Path) -> None:
    path.unlink()
    with path.open("wb") as file:
        file.truncate(HOLE)


def linked(path: Path, to: Path) -> None:
    path.unlink()
    path.symlink_to(to)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def claiming(path: Path, size: int) -> None:
    """Give a file of weights a description of so many bytes, by its own word."""
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", size) + data[8:])


def config(*keys: Any, value: Any) -> Callable[[Path], None]:
    return lambda run: rewrite(run / CONFIG, put(*keys, value=value))


def record(*keys: Any, value: Any) -> Callable[[Path], None]:
    return lambda run: rewrite(run / "run.json", put(*keys, value=value))


def result(*keys: Any, value: Any) -> Callable[[Path], None]:
    return lambda run: rewrite(run / "results.json", put(*keys, value=value))


def cost(*keys: Any, value: Any) -> Callable[[Path], None]:
    return lambda run: rewrite(run / "cost.json", put(*keys, value=value))


def outcome(*keys: Any, value: Any) -> Callable[[Path], None]:
    return lambda run: rewrite(run / OUTCOMES, put(*keys, value=value))


def claimed_png(side: int) -> str:
    """Return a PNG file in base64 that claims so many pixels a side, and has none."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return base64.b64encode(data).decode()


def happened(line: str) -> Callable[[Path], None]:
    return lambda run: lines(run / "events.jsonl", lambda before: [*before, line])


PREDICT: dict[str, Callable[[Path], None]] = {
    "an unknown architecture": config("architecture", value="skynet"),
    "an architecture of null": config("architecture", value=None),
    "an architecture that is a list": config("architecture", value=["experts"]),
    "an unknown backbone": config("backbone", "name", value="skynet"),
    "an unknown tower": config("backbone", "vision", value="skynet"),
    "a network of null": config("network", value=None),
    "a client of null": config("client", value=None),
    "tasks of null": config("client", "tasks", value=None),
    "a task of null": config("client", "tasks", 0, value=None),
    "an unknown source": config("client", "tasks", 0, "source", value="skynet"),
    "a million dimensions": config("network", "dim", value=10**6),
    "a billion dimensions": config("network", "dim", value=10**9),
    "wide": config("network", "dim", value=65_536),
    "wide experts": config("network", "expert_dim", value=65_536),
    "wide, frozen": lambda run: rewrite(
        run / CONFIG,
        lambda told: {**told, "network": {**told["network"], "dim": 65_536, "layers": 900, "adaptation": "lora"}},
    ),
    "a billion layers": config("network", "layers", value=10**9),
    "a thousand layers": config("network", "layers", value=1_000),
    "a billion heads": config("network", "heads", value=10**9),
    "a billion decoders": config("network", "decoder_layers", value=10**9),
    "a picture of a billion": config("backbone", "image_size", value=10**9),
    "a rank of a billion": config("backbone", "lora", value={"rank": 10**9}),
    "more classes than the model has": config("client", "tasks", 0, "classes", value=100_000),
    "a billion classes": config("client", "tasks", 0, "classes", value=10**9),
    "a dimension of text": config("network", "dim", value="many"),
    "a dimension of half": config("network", "dim", value=7.5),
    "a dimension that is not a number": config("network", "dim", value=float("nan")),
    "deep nesting": config("network", value=deep(60)),
    "deeper nesting": config("network", value=deep(900)),
    "deepest nesting": lambda run: (run / CONFIG).write_text('{"network":' * 200_000),
    "a name that clears the screen": config("client", "id", value="\x1b[2J"),
    "a huge config": lambda run: hole(run / CONFIG),
    "a config that is a pipe": lambda run: piped(run / CONFIG),
    "a config elsewhere": lambda run: linked(run / CONFIG, Path("/etc/passwd")),
    "a model elsewhere": lambda run: linked(run / MODEL, Path("/etc/passwd")),
    "a model without end": lambda run: linked(run / MODEL, Path("/dev/zero")),
    "a model that is a pipe": lambda run: piped(run / MODEL),
    "a huge model": lambda run: hole(run / MODEL),
    "a model with a huge description": lambda run: claiming(run / MODEL, 2**62),
    "a model with a description of gigabytes": lambda run: claiming(run / MODEL, 10**9),
    "a model without tensors": lambda run: weights(run / MODEL, lambda had: {}),
    "a model with another": lambda run: weights(run / MODEL, lambda had: {**had, "expert/x:w": torch.zeros(2)}),
    "a model with an odd name": lambda run: weights(run / MODEL, lambda had: {**had, "\x1b[2J": torch.zeros(2)}),
    "a model of other shapes": lambda run: weights(run / MODEL, lambda had: {n: t.flatten() for n, t in had.items()}),
    "a model of whole numbers": lambda run: weights(run / MODEL, lambda had: {n: t.long() for n, t in had.items()}),
    "a model of nothing": lambda run: weights(run / MODEL, lambda had: {n: t * float("nan") for n, t in had.items()}),
    "no models": lambda run: shutil.rmtree(run / "clients" / "reader" / "personal"),
    "a record of null": record("kind", value=None),
    "a deployed list": record("deployed", value=["personal"]),
    "a seed of text": record("seed", value="0"),
    "a record elsewhere": lambda run: linked(run / "run.json", Path("/etc/passwd")),
    "a record twice": lambda run: (run / "run.json").write_text('{"run": 1, "run": 2}'),
}
REPORT: dict[str, Callable[[Path], None]] = {
    "a config of null": record("config", value=None),
    "clients of null": record("config", "clients", value=None),
    "a client of null": record("config", "clients", value=[None]),
    "a client without tasks": record("config", "clients", 0, "tasks", value=None),
    "a task of an unknown type": record("config", "clients", 0, "tasks", 0, "type", value="magic"),
    "rounds without end": record("config", "rounds", value=10**12),
    "rounds of text": record("config", "rounds", value="three"),
    "a method of a list": record("method", value=["tap"]),
    "an environment of a list": record("environment", value=["x"]),
    "rows of null": result("rows", value=None),
    "a row of null": result("rows", value=[None]),
    "a value of text": result("rows", 0, "value", value="good"),
    "a value that is not finite": result("rows", 0, "value", value=float("inf")),
    "a value beyond floats": result("rows", 0, "value", value=10**400),
    "an absurd value": result("rows", 0, "value", value=1.7e308),
    "a metric of a list": result("rows", 0, "metric", value=["accuracy"]),
    "privacy of a list": result("privacy", value=[1]),
    "privacy without a source": result("privacy", value={"delta": 1}),
    "a cost of text": cost("seconds", value="long"),
    "a cost of a list": cost("bytes_down", value=[1]),
    "a negative cost": cost("peak_rss_bytes", value=-1),
    "phases of text": cost("by_phase", value={"training": "long"}),
    "an update without a client": happened(json.dumps({"event": "update", "round": 1})),
    "an update of a round of text": happened(event("update", round="one")),
    "an update of a far round": happened(event("update", round=10**15)),
    "losses of a list": happened(event("update", losses=[1.0])),
    "a loss of text": happened(event("update", losses={"mood": "low"})),
    "bytes of text": happened(event("update", bytes_down="many")),
    "a decision of an unknown kind": happened(event("decision", task="mood", kind="magic", outcome="kept")),
    "a decision without a task": happened(event("decision", kind="replace", outcome="kept")),
    "an end without a time": happened(json.dumps({"event": "round_finished", "round": 1})),
    "a bound without a norm": happened(event("clipped")),
    "a robust mean without a rule": happened(event("robust_mean")),
    "sums without numbers": happened(event("secure", few="send")),
    "data without lines": happened(event("data")),
    "data with lines of numbers": happened(event("data", lines=[1])),
    "data of nobody": happened(json.dumps({"event": "data", "lines": ["x"]})),
    "skipped examples of nobody": happened(json.dumps({"event": "skipped", "about": [], "examples": 1, "why": ["x"]})),
    "skipped examples without a why": happened(json.dumps({"event": "skipped", "about": [["a", "t"]], "examples": 1})),
    "a note without a text": happened(event("note")),
    "a note about half a pair": happened(event("note", text="x", about=[["a"]])),
    "a deep event": happened('{"event": "x", "a": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "an event twice": happened('{"event": "x", "event": "y"}'),
    "an event that is not finite": happened('{"event": "x", "time": NaN}'),
    "a huge log": lambda run: hole(run / "events.jsonl"),
    "a log that is a pipe": lambda run: piped(run / "events.jsonl"),
    "a log elsewhere": lambda run: linked(run / "events.jsonl", Path("/etc/passwd")),
    "outcomes of null": outcome("tasks", value=None),
    "outcomes of a task of null": outcome("tasks", "redraw", value=None),
    "outcomes of text": outcome("tasks", "redraw", "values", "personal", 0, value="good"),
    "outcomes of other examples": outcome("tasks", "redraw", "values", "personal", value=[0.5]),
    "an example of null": outcome("tasks", "redraw", "shown", value=[None]),
    "an example without a truth": outcome("tasks", "redraw", "shown", 0, "truth", value=None),
    "an example without end": outcome("tasks", "redraw", "shown", 0, "text", value="x" * 10**6),
    "a picture that is none": outcome("tasks", "redraw", "shown", 0, "truth", "image", value="PHN2Zz4="),
    "a picture that is no base64": outcome("tasks", "redraw", "shown", 0, "truth", "image", value='"><script>'),
    "a picture of ten thousand megapixels": outcome(
        "tasks", "redraw", "shown", 0, "truth", "image", value=claimed_png(10**5)
    ),
    "a picture of a hundred megapixels": outcome(
        "tasks", "redraw", "shown", 0, "truth", "image", value=claimed_png(10**4)
    ),
    "huge outcomes": lambda run: hole(run / OUTCOMES),
    "outcomes that are a pipe": lambda run: piped(run / OUTCOMES),
    "outcomes elsewhere": lambda run: linked(run / OUTCOMES, Path("/etc/passwd")),
    "huge results": lambda run: hole(run / "results.json"),
    "results elsewhere": lambda run: linked(run / "results.json", Path("/etc/passwd")),
    "huge costs": lambda run: hole(run / "cost.json"),
}


@pytest.mark.parametrize("what", PREDICT)
def test_a_hostile_folder_is_one_line_to_who_asks_its_models(
    what: str, fresh: Callable[[], Path], fedtap: Command, no_report: None
) -> None:
    run = fresh()
    PREDICT[what](run)
    done = fedtap("predict", run, *QUESTION)
    assert one_line(done), (done.code, done.out[:500], done.err[-1500:])
    assert len(done.err) < 700


@pytest.mark.parametrize("what", REPORT)
def test_a_hostile_folder_is_one_line_to_who_wants_its_report(
    what: str, fresh: Callable[[], Path], fedtap: Command
) -> None:
    run = fresh()
    REPORT[what](run)
    if what not in ("huge results", "huge costs", "a huge log", "a log that is a pipe"):
        reseal(run)
    (run / "report.html").unlink(missing_ok=True)
    done = fedtap("report", run)
    assert one_line(done), (done.code, done.out[:500], done.err[-1500:])
    assert not (run / "report.html").exists()


def test_a_report_has_bounds_however_many_rounds_and_tasks_a_log_tells_of(
    fresh: Callable[[], Path], fedtap: Command
) -> None:
    run = fresh()
    record("config", "rounds", value=1_900_000)(run)
    about = {"task": "mood", "kind": "replace", "outcome": "kept", "federated_loss": 1.0, "personal_loss": 2.0}
    told = [event("decision", **about), event("decision", **about, round=1_900_000)]
    told += [event("update", losses={f"task-{number}": 1.0}) for number in range(3_000)]
    lines(run / "events.jsonl", lambda before: [*before, *told])
    reseal(run)
    done = fedtap("report", run)
    assert done.code == 0, done.err
    page = (run / "report.html").read_text()
    assert len(page) < 3_000_000
    assert "Rounds in which nothing was decided are left out." in page


def test_a_run_without_digests_is_shown_and_said_to_be_unchecked(fresh: Callable[[], Path], fedtap: Command) -> None:
    run = fresh()
    told = json.loads((run / "run.json").read_text())
    del told["digest"]
    (run / "run.json").write_text(json.dumps(told))
    done = fedtap("report", run)
    assert done.code == 0
    assert "run.json holds no digest" in done.err
    assert "nothing here was checked" in (run / "report.html").read_text()
    again = fresh()
    done = fedtap("report", again)
    assert (done.code, done.err) == (0, "")
    assert "nothing here was checked" not in (again / "report.html").read_text()


FILES = ("run.json", CONFIG, "results.json", "cost.json", "events.jsonl", MODEL, OUTCOMES)


def spoil(run: Path, draw: random.Random) -> str:
    """Put something odd into one file of a folder, and seal it again; return its name."""
    name = draw.choice(FILES)
    path = run / name
    if name == MODEL:
        garble(path, draw)
    elif name == "events.jsonl":
        told = path.read_text().splitlines()
        at = draw.randrange(len(told))
        told[at] = json.dumps(oddly(json.loads(told[at]), draw))
        path.write_text("\n".join(told) + "\n")
    else:
        rewrite(path, lambda value: oddly(value, draw))
    reseal(run)
    return Path(name).name


def test_whatever_stands_in_a_sealed_folder_ends_in_an_answer_or_in_one_line(
    fresh: Callable[[], Path], fedtap: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    said: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    for number in range(NUMBER):
        draw = random.Random(f"hostile {number}")
        run = fresh()
        name = spoil(run, draw)
        command = "predict" if name in ("config.json", "model.safetensors") else draw.choice(["report", "predict"])
        done = fedtap("predict", run, *QUESTION) if command == "predict" else fedtap("report", run)
        fine = one_line(done) or (done.code == 0 and "Traceback" not in done.err and "\x1b" not in done.out + done.err)
        said[f"{command} {name}", "refused" if done.code == 2 else "no effect" if fine else "broken"] += 1
        if not fine:
            bad.append(f"{number}: {command}: {name}: exit {done.code}: {(done.err or done.out)[-600:]}")
    with capsys.disabled():
        for (name, found), times in sorted(said.items()):
            print(f"  {name:28} {found:16} {times}")
    assert bad == []
