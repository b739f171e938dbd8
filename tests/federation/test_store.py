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
        with pytest.raises(UserError, match=r"round-0002\.safetensors: damaged or truncated .*from the round before"):
            store.load("a", before=3)
    path.unlink()  # the mend that the message names
    assert seed_of(store, before=3) == 1


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
