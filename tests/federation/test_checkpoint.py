"""The server's checkpoint: back as it was, or refused by name; never a part of it."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from builders import components
from fedtap.algorithms.base import ServerState
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.checkpoint import Checkpoint
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed_tensors import read_sealed_tensors, write_sealed_tensors

KEYS = (ComponentKey("shared"), ComponentKey("expert", ("mote", "image+text", "shared")))


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint" / "server.safetensors"
    assert Checkpoint.load(path) is None
    saved = Checkpoint(7, ServerState(components(KEYS)), 123_456, 0.1 + 0.2)
    saved.save(path)
    loaded = Checkpoint.load(path)
    assert loaded is not None
    assert (loaded.round, loaded.events, loaded.seconds) == (7, 123_456, 0.1 + 0.2)
    assert loaded.state.components.equal(saved.state.components)
    assert [file.name for file in path.parent.iterdir()] == ["server.safetensors"]


def test_what_is_kept_for_each_client_comes_back_with_it(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    tailored = {"a": components(KEYS, 1), "b": components(KEYS[:1], 2), "idle": ComponentState()}
    kept = {"a": components(KEYS[1:], 3), "tailored": components(KEYS, 4)}
    state = ServerState(components(KEYS), tailored, kept, {"hyper": {"a": {"encoder": 0.1 + 0.2}}})
    Checkpoint(3, state, 9, 1.5).save(path)
    loaded = Checkpoint.load(path)
    assert loaded is not None
    assert loaded.state.components.equal(state.components)
    assert loaded.state.facts == state.facts
    for mine, theirs in ((loaded.state.tailored, tailored), (loaded.state.kept, kept)):
        assert mine.keys() == theirs.keys()
        assert all(mine[client].equal(theirs[client]) for client in theirs)


def test_the_newer_takes_the_place_of_the_older(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(1, ServerState(components(KEYS, 1)), 1, 1.0).save(path)
    first = Checkpoint.load(path)
    Checkpoint(2, ServerState(components(KEYS, 2)), 2, 2.0).save(path)
    second = Checkpoint.load(path)
    assert first is not None
    assert second is not None
    assert first.state.components.equal(components(KEYS, 1))  # what was loaded does not change with the file
    assert second.state.components.equal(components(KEYS, 2))


def test_components_may_share_memory_or_be_none(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    weight = torch.arange(6.0)
    shared = ComponentState({KEYS[0]: {"w": weight.view(2, 3).T}, KEYS[1]: {"w": weight}})
    for state in (shared, ComponentState()):
        Checkpoint(1, ServerState(state), 0, 0.0).save(path)
        loaded = Checkpoint.load(path)
        assert loaded is not None
        assert loaded.state.components.equal(state)


def test_a_truncated_checkpoint_is_named_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(7, ServerState(components(KEYS)), 5, 1.0).save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"server\.safetensors: damaged or truncated") as caught:
            Checkpoint.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match="damaged or truncated"):
        Checkpoint.load(path)


# as each client has tensors of its own, some of them, all of them or none; one is named like another's beginning
TAILORED = {
    "a": components(KEYS[1:], 3),
    "a.b": components(KEYS, 4).select(lambda key, name: name == "bias"),
    "empty": ComponentState(),
}
FACTS = {"moments": [1.5, -2.0, 1e-300], "pairs": {"a": "a.b"}, "none": None, "said": "Å::b"}


def test_what_is_tailored_and_the_facts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(3, ServerState(components(KEYS), tailored=TAILORED, facts=FACTS), 17, 2.5).save(path)
    loaded = Checkpoint.load(path)
    assert loaded is not None
    assert loaded.state.components.equal(components(KEYS))
    assert loaded.state.tailored.keys() == TAILORED.keys()
    for client, held in TAILORED.items():
        assert loaded.state.tailored[client].equal(held)
    assert loaded.state.facts == FACTS
    again = tmp_path / "again.safetensors"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_a_tailored_tensor_may_be_one_of_the_federated(tmp_path: Path) -> None:
    """As a method makes them that gives some client just what all get."""
    path = tmp_path / "server.safetensors"
    common = components(KEYS)
    Checkpoint(1, ServerState(common, {"a": common, "b": common.slice(KEYS[:1])}), 0, 0.0).save(path)
    loaded = Checkpoint.load(path)
    assert loaded is not None
    assert loaded.state.tailored["a"].equal(common)
    assert loaded.state.tailored["b"].equal(common.slice(KEYS[:1]))


def test_a_truncated_checkpoint_with_tailored_parts_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(3, ServerState(components(KEYS), tailored=TAILORED, facts=FACTS), 17, 2.5).save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"server\.safetensors: damaged or truncated"):
            Checkpoint.load(path)


def test_a_tensor_tailored_to_a_client_that_the_file_does_not_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(1, ServerState(components(KEYS), tailored={"a": components(KEYS)}), 0, 0.0).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {label.replace("a::", "b::"): file.get_tensor(label) for label in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match="damaged or truncated"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"other": "{}"},
        {"checkpoint": "[]"},
        {"checkpoint": "{}"},
        {"checkpoint": "not JSON"},
        {"checkpoint": '{"round": null, "events": 0, "seconds": 0}'},
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "server.safetensors"
    save_file({"shared:w": torch.zeros(1)}, path, metadata)
    with pytest.raises(UserError, match=r"server\.safetensors: damaged or truncated"):
        Checkpoint.load(path)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="damaged or truncated"):
        Checkpoint.load(tmp_path)


HUGE = {"round": 10**30, "events": -1, "seconds": "long", "clients": ["tailored"], "facts": [1], "events_sha256": None}


@pytest.mark.parametrize("field", sorted(HUGE))
def test_what_stands_beside_the_tensors_has_its_form_though_the_seal_is_right(tmp_path: Path, field: str) -> None:
    path = tmp_path / "server.safetensors"
    Checkpoint(1, ServerState(components(KEYS)), 9, 1.5).save(path, "mine")
    identity = {"what": "checkpoint", "run": "mine"}
    tensors, facts = read_sealed_tensors(path, identity, "")
    write_sealed_tensors(path, tensors, {**facts, field: HUGE[field]}, identity)
    with pytest.raises(UserError, match=f"damaged or truncated .*'{field}'.*restore it") as caught:
        Checkpoint.load(path, "mine")
    assert "\n" not in str(caught.value)


def spoiled(state: ComponentState, tensor: torch.Tensor, name: str = "bias") -> ComponentState:
    """Return a state with another tensor in its first component."""
    key = sorted(state)[0]
    return ComponentState({**{k: dict(state[k]) for k in state}, key: {**state[key], name: tensor}})


@pytest.mark.parametrize("part", ["components", "tailored", "kept"])
def test_a_model_that_is_not_the_run_s_is_refused(tmp_path: Path, part: str) -> None:
    path, start = tmp_path / "server.safetensors", components(KEYS)
    name, held = sorted(start[sorted(start)[0]].items())[0]
    good = {"components": start, "tailored": {"a": start}, "kept": {"a": start}}
    Checkpoint(1, ServerState(**good), 9, 1.5).save(path)
    assert Checkpoint.load(path, like=start) is not None
    for wrong, why in (
        (spoiled(start, held[None], name), "other tensors"),
        (spoiled(start, held.double(), name), "other tensors"),
        (spoiled(start, held, "another"), "other components" if part == "components" else "other tensors"),
        (spoiled(start, torch.full_like(held, float("nan")), name), "no finite number"),
        (start.slice(KEYS[:1]), "other components"),
    ):
        if part != "components" and why == "other components":
            continue  # a client may be given some components alone
        Checkpoint(1, ServerState(**{**good, part: wrong if part == "components" else {"a": wrong}}), 9, 1.5).save(path)
        with pytest.raises(UserError, match=why):
            Checkpoint.load(path, like=start)
        assert Checkpoint.load(path) is not None  # whoever does not say what it began with is not asked
