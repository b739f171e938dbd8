"""What goes wrong on the way from the hub: one line with the mend, exit code 2, and nothing half made that counts as whole."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from e2e.conftest import Command
from fetching.conftest import EXAMS, FLAVA, NEWS
from hub_stand_in import Hub

Spoil = Callable[[Hub], object]


def model(hub: Hub) -> Any:
    return hub.repos["model", FLAVA]


def one_line(done: Any, *words: str) -> None:
    """Assert that a command ended with one line that has these words, after those on what had come before."""
    assert done.code == 2, done.err
    *before, told = done.err.splitlines()
    assert not [line for line in before if ": here and whole, at " not in line and " more than once, " not in line]
    assert told.startswith("fedtap: ")
    for word in words:
        assert word in told


def change_config(hub: Hub) -> None:
    files = model(hub).files
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), "auto_map": {"AutoModel": "x.Y"}}).encode()


class Case(NamedTuple):
    """What is wrong, and what is said of it."""

    spoil: Spoil
    words: tuple[str, ...]
    kept: tuple[str, ...] = ()
    """What was fetched whole before."""


HERE = ("models--facebook--flava-full.json",)
CASES = {
    "gated, not logged in": Case(
        lambda hub: setattr(model(hub), "gated", 401), (FLAVA, "agreement", "hf auth login", "HF_TOKEN")
    ),
    "gated, not granted": Case(
        lambda hub: setattr(model(hub), "gated", 403), (FLAVA, "this account may not have it yet", "ask for it at")
    ),
    "private or not there": Case(lambda hub: setattr(model(hub), "private", True), (FLAVA, "no such model", "check")),
    "no data set": Case(lambda hub: hub.repos.pop(("dataset", NEWS)), (NEWS, "no such data set")),
    "no safetensors": Case(
        lambda hub: model(hub).files.pop("model.safetensors"),
        (FLAVA, "no weights in safetensors", "unpickled", "refs/pr/N"),
    ),
    "code of its own": Case(change_config, ("config.json", "code of its own (auto_map)")),
    "weights that are not those listed": Case(
        lambda hub: model(hub).altered.add("model.safetensors"), (FLAVA, "model.safetensors is not what the hub lists")
    ),
    "a small file that is not that listed": Case(
        lambda hub: model(hub).altered.add("vocab.txt"), (FLAVA, "vocab.txt is not what the hub lists")
    ),
    "rows that are not those listed": Case(
        lambda hub: hub.repos["dataset", NEWS].altered.add("train.jsonl"),
        (NEWS, "train.jsonl is not what the hub lists"),
        (*HERE, "datasets--cais--mmlu.json"),
    ),
    "the hub fails": Case(lambda hub: setattr(model(hub), "fails", 500), (FLAVA, "the hub fails (500)", "again")),
    "the hub refuses": Case(lambda hub: setattr(model(hub), "fails", 400), (FLAVA, "(400)")),
    "a split that has gone": Case(
        lambda hub: hub.repos["dataset", NEWS].files.pop("test.jsonl"), (NEWS, "no split 'test'", "known: train")
    ),
    "another schema": Case(
        lambda hub: hub.repos["dataset", NEWS].files.update(
            {f"{split}.jsonl": b'{"label": 1, "text": "x"}\n' for split in ("train", "test")}
        ),
        (NEWS, "no column 'title'"),
        (*HERE, "datasets--cais--mmlu.json"),
    ),
    "a path that leaves its folder": Case(
        lambda hub: model(hub).files.update({"../../x.json": b"{}"}), (FLAVA, "nothing sound", "HF_ENDPOINT")
    ),
    "a commit that is none": Case(lambda hub: setattr(model(hub), "commit", "../.."), (FLAVA, "nothing sound")),
}


@pytest.mark.parametrize("name", CASES)
def test_what_goes_wrong_is_one_line(
    name: str, hub: Hub, scenario: Path, fedtap: Command, home: Path, records: Callable[[], list[str]]
) -> None:
    case = CASES[name]
    case.spoil(hub)
    one_line(fedtap("fetch", scenario, "--yes"), *case.words)
    assert records() == sorted(case.kept)
    half = {path.name for path in home.rglob("*") if path.name.endswith(".incomplete")}
    assert half == set()
    if "listed" in name:
        wrong = case.words[1].split()[0]
        assert not list(home.rglob(wrong))
        assert list(home.rglob("config.json")), "what was whole is kept"


def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    hub: Hub, scenario: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # of what has come, whole chunks are kept
    model(hub).cut["model.safetensors"] = 1000
    done = fedtap("fetch", scenario, "--yes")
    assert done.code == 0, done.err
    ranges = [part for method, path, part in hub.asked if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=1000-"]


def test_what_has_come_whole_is_kept_where_the_rest_does_not_come(
    hub: Hub, scenario: Path, fedtap: Command, records: Callable[[], list[str]]
) -> None:
    model(hub).cut["model.safetensors"] = 0
    model(hub).always_cut = True
    one_line(fedtap("fetch", scenario, "--yes"), FLAVA, "cannot be reached", "give the command again")
    assert records() == []
    model(hub).always_cut = False
    model(hub).cut.clear()
    asked = len(hub.asked)
    assert fedtap("fetch", scenario, "--yes").code == 0
    of_the_model = [path for method, path, _ in hub.asked[asked:] if method == "GET" and f"{FLAVA}/resolve" in path]
    assert [path.rpartition("/")[2] for path in of_the_model] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (f"{FLAVA}=v9", ("no revision 'v9'", f"--revision {FLAVA}=COMMIT")),
        ("facebook/flava=main", ("needs no such repository", f"did you mean '{FLAVA}'?")),
        ("main", ("give NAME=REVISION",)),
    ],
)
def test_a_revision_that_is_not_there_is_named(
    hub: Hub, scenario: Path, fedtap: Command, given: str, words: tuple[str, ...]
) -> None:
    one_line(fedtap("fetch", scenario, "--yes", "--revision", given), *words)


def test_a_disk_that_is_too_small_is_told_before_anything_comes(
    hub: Hub, scenario: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))
    one_line(fedtap("fetch", scenario, "--yes"), "1 byte are free", "HF_HOME")
    assert not any("safetensors" in path for path in hub.files_sent())


@pytest.mark.parametrize("where", ["huggingface_hub.file_download.http_get", "datasets.load_dataset"])
def test_a_disk_that_fills_up_meanwhile_is_told(
    hub: Hub,
    scenario: Path,
    fedtap: Command,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    records: Callable[[], list[str]],
) -> None:
    real = fedtap("fetch", scenario, "--dry-run")
    assert real.code == 0

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(where, full)
    one_line(fedtap("fetch", scenario, "--yes"), "no space left", "HF_HOME")
    assert EXAMS not in str(records())


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_it_says_so(
    scenario: Path, fedtap: Command, home: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    from huggingface_hub import constants

    from hub_stand_in import point_at

    nobody = Hub({})
    nobody.address = "http://127.0.0.1:9"  # the port of discard: nobody listens
    point_at(nobody, home, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    words = ("HF_HUB_OFFLINE",) if offline else ("cannot be reached", "connect this machine")
    one_line(fedtap("fetch", scenario, "--yes"), FLAVA, "HF_HOME", *words)


def test_files_that_are_gone_since_are_named_by_the_run(
    hub: Hub, scenario: Path, fedtap: Command, home: Path, tmp_path: Path
) -> None:
    assert fedtap("fetch", scenario, "--yes").code == 0
    next(home.rglob("professional_law/test*.parquet")).unlink()
    one_line(fedtap("run", scenario, "--out", tmp_path / "run"), EXAMS, "no longer in", "`fedtap fetch SCENARIO` again")
    for path in (home / "fedtap").iterdir():
        path.write_text("{}")
    one_line(fedtap("run", scenario, "--out", tmp_path / "run"), "is no record of `fedtap fetch`; remove it")
