"""Files that go with a request to a worker that does not see the run's folder, and those that come back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentKey, ComponentState
from fedtap.experiment.carried import RunFiles, Scratch, with_files, without_files
from fedtap.experiment.folder import RunFolder
from fedtap.federation.store import ClientStore
from fedtap.runtime.errors import RunError, UserError

RUN = "a run"


def state(value: float) -> ClientState:
    return ClientState({"personal": ComponentState({ComponentKey("shared"): {"w": torch.tensor([value])}})})


def store_in(folder: Path) -> ClientStore:
    return ClientStore(folder / "checkpoint" / "clients", RUN)


def files_of(folder: Path) -> RunFiles:
    return RunFiles(cast(RunFolder, SimpleNamespace(path=folder, store=store_in(folder))))


def head(number: int, kind: str = "train", newest: int = 0) -> dict[str, Any]:
    return {"client": "c0", "round": number, "kind": kind, "newest": newest}


def held(store: ClientStore, before: int) -> float:
    found = store.load("c0", before=before)
    assert found is not None
    return float(found.models["personal"][ComponentKey("shared")]["w"])


def test_files_travel_behind_the_data() -> None:
    frame = with_files(({"client": "c"}, b"data"), {"a": b"", "b": b"two", "c": b"\0"})
    assert without_files(*frame) == (({"client": "c"}, b"data"), {"a": b"", "b": b"two", "c": b"\0"})
    assert without_files(*with_files(({}, b""), {})) == (({}, b""), {})


def test_a_state_goes_out_and_comes_back_changed(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", Scratch(tmp_path / "scratch")
    mine, there = store_in(run), store_in(scratch.path)
    for number in (1, 2, 3):
        mine.save("c0", number, state(float(number)))
    sent = files_of(run).outgoing(head(4, newest=3), b"model")
    frame = scratch.take(*sent)
    assert frame == (head(4, newest=3), b"model")
    assert there.rounds("c0") == [3]  # that alone from which it goes on
    assert held(there, 4) == 3.0
    there.save("c0", 4, state(4.0))
    (scratch.path / "clients/c0/personal").mkdir(parents=True)
    (scratch.path / "clients/c0/personal/README.md").write_text("a card")
    answer = scratch.give({"client": "c0", "is": "reply"}, b"update")
    assert not scratch.path.exists()
    assert sorted(answer[0]["files"]) == [
        "checkpoint/clients/c0/round-0004.safetensors",
        "clients/c0/personal/README.md",
    ]
    assert files_of(run).incoming(*answer) == ({"client": "c0", "is": "reply"}, b"update")
    assert mine.rounds("c0") == [3, 4]  # as if it had been saved here
    assert held(mine, 5) == 4.0
    assert (run / "clients/c0/personal/README.md").read_text() == "a card"
    assert (run / "checkpoint/clients/c0/round-0004.safetensors").stat().st_mode & 0o777 == 0o600


def test_a_round_asked_for_again_begins_with_the_state_before_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in (4, 5):
        store.save("c0", number, state(float(number)))
    for kind, name in (("train", "round-0004"), ("evaluate", "round-0005")):
        sent, _ = files_of(tmp_path).outgoing(head(5, kind), b"")
        assert list(sent["files"]) == [f"checkpoint/clients/c0/{name}.safetensors"]


def test_a_secret_that_is_forgotten_there_is_forgotten_here(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", Scratch(tmp_path / "scratch")
    store_in(run).keep_secret("c0", 2, "a key")
    scratch.take(*files_of(run).outgoing(head(2, "unmask"), b""))
    there = store_in(scratch.path)
    assert there.secret("c0", 2) == "a key"
    there.forget_secret("c0", 2)
    files_of(run).incoming(*scratch.give({"client": "c0"}, b""))
    assert store_in(run).secret("c0", 2) is None


def test_a_state_that_is_gone_is_told_with_its_place_in_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint/clients/c0/round-0003\.safetensors: missing"):
        files_of(tmp_path).outgoing(head(4, newest=3), b"")


def test_what_is_no_request_passes(tmp_path: Path) -> None:
    assert files_of(tmp_path).outgoing({"is": "go"}, b"x") == ({"is": "go"}, b"x")
    assert files_of(tmp_path).incoming({"is": "ready"}, b"x") == ({"is": "ready"}, b"x")


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "/etc/passwd",
        "results.json",
        "clients/../../x",
        "checkpoint/clients/c0/../x",
        "clients/c0/../m/x",
        "clients/c0/x",
    ],
)
def test_a_file_comes_back_to_a_clients_place_alone(name: str, tmp_path: Path) -> None:
    answer = with_files(({"client": "c0", "gone": []}, b""), {name: b"x"})
    with pytest.raises(RunError, match="no place in a run's folder"):
        files_of(tmp_path / "run").incoming(*answer)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "fine"),
    [("outcomes/c0.json", True), ("outcomes/c0/c0.json", False), ("outcomes/../run.json", False), ("run.json", False)],
)
def test_what_is_told_of_a_clients_test_comes_back_to_its_place_alone(tmp_path: Path, name: str, fine: bool) -> None:
    frame = with_files(({**head(3, "evaluate"), "gone": []}, b""), {name: b"{}"})
    if fine:
        files_of(tmp_path).incoming(*frame)
        assert (tmp_path / name).read_bytes() == b"{}"
    else:
        with pytest.raises(RunError, match="has no place"):
            files_of(tmp_path).incoming(*frame)
