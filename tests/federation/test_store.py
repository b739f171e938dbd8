"""A client's private state: the newest of an earlier round, whole, and never lost."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from builders import components
from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.store import ClientStore
from fedtap.personalization.decision import Decision
from fedtap.runtime.errors import RunError, UserError

KEYS = (ComponentKey("shared"), ComponentKey("encoder", ("image+text",)), ComponentKey("domain", ("common.sense",)))


def state(seed: int) -> ClientState:
    return ClientState({"personal": components(KEYS, seed)}, {"seed": seed})


def seed_of(store: ClientStore, before: int, client: str = "a") -> int | None:
    found = store.load(client, before=before)
    return None if found is None else int(found.facts["seed"])


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    return ClientStore(tmp_path / "clients")


def test_a_state_comes_back(store: ClientStore) -> None:
    facts = {"personal_losses": {"digits": 0.1 + 0.2, "mood": math.inf}, "seen": [1, 2], "name": "é"}
    saved = ClientState({"personal": components(KEYS, 1), "teacher": components(KEYS[:1], 2)}, facts)
    store.save("a", 1, saved)
    loaded = store.load("a", before=2)
    assert loaded is not None
    assert set(loaded.models) == {"personal", "teacher"}
    assert all(loaded.models[name].equal(saved.models[name]) for name in saved.models)
    assert loaded.facts == facts


def test_a_state_without_models_and_a_model_without_components_come_back(store: ClientStore) -> None:
    store.save("a", 1, ClientState())
    assert store.load("a", before=2) == ClientState({}, {})
    store.save("a", 2, ClientState({"personal": ComponentState()}))
    assert store.load("a", before=3) == ClientState({"personal": ComponentState()}, {})


def test_two_models_may_share_their_tensors(store: ClientStore) -> None:
    shared = components(KEYS)
    store.save("a", 1, ClientState({"finetuned": shared, "personal": shared.slice(KEYS[:1])}))
    loaded = store.load("a", before=2)
    assert loaded is not None
    assert loaded.models["finetuned"].equal(shared)
    assert loaded.models["personal"].equal(shared.slice(KEYS[:1]))


def test_decisions_are_for_the_log_and_not_kept(store: ClientStore) -> None:
    store.save("a", 1, ClientState(decisions=[Decision("t", "distil", "kept", 1.0, 2.0, "guard")]))
    loaded = store.load("a", before=2)
    assert loaded is not None
    assert loaded.decisions == ()


def test_the_newest_state_of_an_earlier_round_is_loaded(store: ClientStore) -> None:
    assert store.load("a", before=100) is None
    store.save("a", 2, state(2))
    store.save("a", 10, state(10))
    assert [seed_of(store, before) for before in (1, 2, 3, 10, 11, 99)] == [None, None, 2, 2, 10, 10]


def test_what_an_aborted_round_saved_is_ignored_when_the_round_is_asked_for_again(store: ClientStore) -> None:
    store.save("a", 3, state(3))
    store.save("a", 7, state(70))  # then the server dies, and asks for round 7 again
    assert seed_of(store, before=7) == 3
    store.save("a", 7, state(71))
    assert seed_of(store, before=7) == 3
    assert seed_of(store, before=8) == 71


def test_all_but_the_newest_of_the_earlier_states_are_forgotten(store: ClientStore) -> None:
    for number in (1, 2, 5, 9, 10_000, 10_001):
        store.save("a", number, state(number))
        assert store.rounds("a")[-1] == number
        assert len(store.rounds("a")) <= 2
    assert store.rounds("a") == [10_000, 10_001]


def test_saving_an_earlier_round_leaves_a_later_one(store: ClientStore) -> None:
    store.save("a", 9, state(9))
    store.save("a", 4, state(4))
    assert store.rounds("a") == [4, 9]


def test_clients_are_kept_apart(store: ClientStore) -> None:
    store.save("a", 1, state(1))
    store.save("a.b", 2, state(2))
    assert (seed_of(store, 9, "a"), seed_of(store, 9, "a.b"), seed_of(store, 9, "b")) == (1, 2, None)


def test_strange_files_beside_the_states_are_let_be(store: ClientStore, tmp_path: Path) -> None:
    store.save("a", 1, state(1))
    for name in ("round-x.safetensors", ".round-0002.safetensors.tmp", "notes.txt"):
        (tmp_path / "clients" / "a" / name).write_bytes(b"")
    assert store.rounds("a") == [1]


def test_a_truncated_state_is_named_and_never_loaded_wrong(store: ClientStore, tmp_path: Path) -> None:
    store.save("a", 1, state(1))
    store.save("a", 2, state(2))
    path = tmp_path / "clients" / "a" / "round-0002.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"round-0002\.safetensors: damaged or truncated .*restore it from a copy"):
            store.load("a", before=3)
    path.write_bytes(whole)  # the mend that the message names
    assert seed_of(store, before=3) == 2


def test_a_removed_state_does_not_start_the_client_anew(store: ClientStore, tmp_path: Path) -> None:
    again = ClientStore(tmp_path / "clients")  # of another process, that is told what has been
    again.expect("a", [1, 2])
    for number in (1, 2):
        store.save("a", number, state(number))
    (tmp_path / "clients" / "a" / "round-0002.safetensors").unlink()
    for held in (store, again):
        with pytest.raises(
            UserError, match=r"round-0002\.safetensors: missing, and client 'a' has taken part up to round 2"
        ):
            held.load("a", before=3)
        assert seed_of(held, before=2) == 1  # round 2 may be asked for again


def test_a_state_of_another_client_run_or_round_is_refused(tmp_path: Path) -> None:
    mine, other = ClientStore(tmp_path / "mine", "run-1"), ClientStore(tmp_path / "other", "run-2")
    mine.save("a", 1, state(1))
    mine.save("b", 1, state(2))
    other.save("a", 1, state(3))
    path = tmp_path / "mine" / "a" / "round-0001.safetensors"
    intact = path.read_bytes()
    for wrong, said in (
        (tmp_path / "mine" / "b" / path.name, "is of client 'b', not of client 'a'"),
        (tmp_path / "other" / "a" / path.name, "is of run 'run-2', not of run 'run-1'"),
    ):
        path.write_bytes(wrong.read_bytes())
        with pytest.raises(UserError, match=f"{path}: {said}"):
            mine.load("a", before=2)
    path.rename(path.with_name("round-0002.safetensors"))
    path.with_name("round-0002.safetensors").write_bytes(intact)
    with pytest.raises(UserError, match="is of round '1', not of round '2'"):
        mine.load("a", before=3)


def test_secrets_are_sealed_too(store: ClientStore, tmp_path: Path) -> None:
    for client in "ab":
        store.keep_secret(client, 3, f'{{"masks": "{client}"}}')
    assert store.secret("a", 3) == '{"masks": "a"}'
    mine, theirs = (tmp_path / "clients" / client / "secret-0003.json" for client in "ab")
    text = mine.read_text()
    for wrong in (theirs.read_text(), text.replace("masks", "mesks"), "{}"):
        mine.write_text(wrong)
        with pytest.raises(UserError, match=r"secret-0003\.json: .*remove it: the round begins anew"):
            store.secret("a", 3)


@pytest.mark.parametrize("metadata", [None, {"facts": "[]"}, {"facts": "{"}, {"facts": '{"models": 3}'}])
def test_a_file_of_another_kind_is_named(store: ClientStore, tmp_path: Path, metadata: dict[str, str] | None) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "clients" / "a"
    folder.mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, folder / "round-0001.safetensors", metadata)
    with pytest.raises(UserError, match=r"round-0001\.safetensors: damaged or truncated"):
        store.load("a", before=2)


def test_a_failed_save_loses_nothing(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save("a", 1, state(1))
    store.save("a", 2, state(2))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"round-0003\.safetensors: no space left"):
        store.save("a", 3, state(3))
    assert store.rounds("a") == [1, 2]
    assert [seed_of(store, before) for before in (2, 3, 4)] == [1, 2, 2]
