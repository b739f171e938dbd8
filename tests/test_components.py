"""States of components against NumPy, through bytes and files, and when those are damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtap.components import ComponentKey, ComponentState, towards, weighted_mean
from fedtap.runtime.errors import UserError

WORDS = st.text("ab.+-_0", min_size=1, max_size=5)
KEYS = st.builds(ComponentKey, WORDS, st.lists(WORDS, max_size=3).map(tuple))
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64])
A, B, C = ComponentKey("shared"), ComponentKey("domain", ("common.sense",)), ComponentKey("head", ("image+text", "x-1"))


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    values = draw(hnp.arrays(np.int64, shape, elements=st.integers(-1000, 1000)))
    return torch.from_numpy(values).to(draw(DTYPES))


NAMES = st.text("ab./+_1", min_size=1, max_size=5)
STATES = st.dictionaries(KEYS, st.dictionaries(NAMES, tensors(), min_size=1, max_size=3), max_size=4).map(
    ComponentState
)


def state(**values: float) -> ComponentState:
    return ComponentState({ComponentKey(kind): {"w": torch.tensor([value])} for kind, value in values.items()})


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(4)), elements=st.floats(-1e3, 1e3, width=32)),
    st.data(),
)
def test_the_weighted_mean_is_that_of_numpy(values: np.ndarray, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 10_000), min_size=len(values), max_size=len(values)))
    holders = [
        (ComponentState({A: {"w": torch.from_numpy(row.copy())}}), {A: count})
        for row, count in zip(values, counts, strict=True)
    ]
    mean = weighted_mean(holders)
    if sum(counts) == 0:
        assert len(mean) == 0
        return
    expected = np.average(values.astype(np.float64), axis=0, weights=counts)
    np.testing.assert_allclose(mean[A]["w"].numpy(), expected, rtol=1e-6, atol=1e-4 * 1e-2)
    assert mean[A]["w"].dtype == torch.float32


def test_large_values_that_cancel_do_not_swallow_a_small_one() -> None:
    held = [(state(a=value), {ComponentKey("a"): 1}) for value in (1e6, 1.0, -1e6)]
    assert weighted_mean(held)[ComponentKey("a")]["w"].item() == pytest.approx(1 / 3, rel=1e-6)


def test_a_mean_is_over_the_holders_of_each_component() -> None:
    one = (state(a=1.0, b=10.0), {ComponentKey("a"): 3, ComponentKey("b"): 0})
    two = (state(a=5.0, c=7.0), {ComponentKey("a"): 1, ComponentKey("c"): 2})
    mean = weighted_mean([one, two])
    assert mean.equal(state(a=2.0, c=7.0))  # (3*1 + 1*5) / 4; b's only holder has no example of it


def test_the_mean_of_equal_weights_is_those_weights_to_the_last_bit() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(0))
    same = ComponentState({A: {"w": values}})
    assert weighted_mean([(same, {A: 7}), (same, {A: 11}), (same, {A: 13})]).equal(same)


def test_a_mean_of_nobody_is_empty() -> None:
    assert len(weighted_mean([])) == 0


def test_a_mean_keeps_the_dtype_and_does_not_write_to_what_it_is_given() -> None:
    low = ComponentState({A: {"w": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)}})
    high = ComponentState({A: {"w": torch.tensor([3.0, 4.0], dtype=torch.bfloat16)}})
    mean = weighted_mean([(low, {A: 1}), (high, {A: 1})])
    assert mean[A]["w"].dtype == torch.bfloat16
    assert mean[A]["w"].tolist() == [2.0, 3.0]
    assert low[A]["w"].tolist() == [1.0, 2.0]


@given(STATES)
def test_flat_form_bytes_and_back(given_state: ComponentState) -> None:
    assert ComponentState.from_flat(given_state.flat()).equal(given_state)
    read = ComponentState.from_bytes(given_state.to_bytes())
    assert read.equal(given_state)
    assert [t.dtype for _, _, t in read.tensors()] == [t.dtype for _, _, t in given_state.tensors()]


@given(STATES, st.data())
def test_merging_a_slice_back_changes_nothing(given_state: ComponentState, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.sampled_from(sorted(given_state)))) if given_state else set()
    part = given_state.slice(chosen)
    assert set(part) == chosen
    assert given_state.merge(part).equal(given_state)
    assert given_state.slice(given_state).equal(given_state)


Choices = set[tuple[ComponentKey, str]]


@st.composite
def choices(draw: st.DrawFn, among: ComponentState) -> Choices:
    """Return some of a state's tensors, by key and name."""
    labels = [(key, name) for key, name, _ in among.tensors()]
    return draw(st.sets(st.sampled_from(labels))) if labels else set()


@given(STATES, st.data())
def test_a_selection_holds_what_was_wanted_and_no_empty_component(held: ComponentState, data: st.DataObject) -> None:
    chosen = data.draw(choices(held))
    part = held.select(lambda key, name: (key, name) in chosen)
    assert {(key, name) for key, name, _ in part.tensors()} == chosen
    assert all(torch.equal(tensor, held[key][name]) for key, name, tensor in part.tensors())
    assert all(part[key] for key in part)


@given(STATES, st.data())
def test_a_selection_and_its_complement_laid_over_each_other_are_the_whole(
    held: ComponentState, data: st.DataObject
) -> None:
    chosen = data.draw(choices(held))
    part, rest = (held.select(lambda k, n, want=want: ((k, n) in chosen) == want) for want in (True, False))
    assert part.overlay(rest).equal(held)
    assert rest.overlay(part).equal(held)
    assert held.overlay(part).equal(held)


@given(STATES, STATES)
def test_an_overlay_is_a_merge_tensor_by_tensor(mine: ComponentState, theirs: ComponentState) -> None:
    expected = {(key, name): tensor for key, name, tensor in mine.tensors()}
    expected |= {(key, name): tensor for key, name, tensor in theirs.tensors()}
    found = {(key, name): tensor for key, name, tensor in mine.overlay(theirs).tensors()}
    assert found.keys() == expected.keys()
    assert all(found[label] is expected[label] for label in found)
    assert set(mine.overlay(theirs)) == set(mine) | set(theirs)


def test_an_overlay_completes_a_component_and_a_merge_replaces_it() -> None:
    mine = ComponentState({A: {"w": torch.zeros(1), "b": torch.zeros(1)}})
    theirs = ComponentState({A: {"w": torch.ones(1)}, B: {"w": torch.ones(2)}})
    laid = mine.overlay(theirs)
    assert {name: tensor.tolist() for name, tensor in laid[A].items()} == {"b": [0.0], "w": [1.0]}
    assert list(mine.merge(theirs)[A]) == ["w"]
    assert list(laid) == sorted([A, B])
    assert mine[A]["w"].tolist() == [0.0]


@given(STATES)
def test_zip_goes_tensor_by_tensor_in_the_order_of_its_arguments(held: ComponentState) -> None:
    other = held.map(lambda tensor: tensor * 3)
    twice = held.map(lambda tensor: tensor * 3 - tensor)
    assert held.zip(lambda mine, theirs: theirs - mine, other).equal(twice)
    assert held.zip(lambda mine, theirs: mine, other).equal(held)
    assert held.zip(lambda mine, theirs: theirs, other).equal(other)


@given(STATES, STATES)
def test_states_of_other_tensors_are_not_zipped(mine: ComponentState, theirs: ComponentState) -> None:
    if [entry[:2] for entry in mine.tensors()] == [entry[:2] for entry in theirs.tensors()]:
        return
    with pytest.raises(KeyError, match="different components"):
        mine.zip(lambda a, b: a, theirs)


def test_moving_towards_a_goal_goes_by_each_components_own_factor() -> None:
    x, y = state(a=1.0, b=1.0, c=1.0), state(a=3.0, b=3.0, c=3.0)
    assert towards(x, y, {ComponentKey("a"): 0.25, ComponentKey("b"): 1.5}).equal(state(a=1.5, b=4.0, c=1.0))
    assert towards(x, y, 0.5).equal(state(a=2.0, b=2.0, c=2.0))
    assert towards(x, y, 0.0).equal(x)
    assert towards(x, y, 1.0).equal(y)


def test_moving_towards_what_has_other_parameters_or_is_not_held_is_an_error() -> None:
    one = state(a=1.0)
    with pytest.raises(KeyError, match="parameters of the two states differ"):
        towards(one, ComponentState({ComponentKey("a"): {"v": torch.zeros(1)}}), 0.5)
    with pytest.raises(KeyError):
        towards(one, state(b=1.0), 0.5)
    with pytest.raises(KeyError):
        towards(one, state(a=1.0, b=1.0), {ComponentKey("b"): 0.5})


def test_merging_replaces_and_adds() -> None:
    assert state(a=1.0, b=2.0).merge(state(b=3.0, c=4.0)).equal(state(a=1.0, b=3.0, c=4.0))


def test_a_slice_with_a_key_that_is_not_held_is_an_error() -> None:
    with pytest.raises(KeyError, match="head"):
        state(a=1.0).slice([ComponentKey("a"), C])


@given(st.permutations([A, B, C]))
def test_the_order_is_sorted_whatever_the_order_given(order: list[ComponentKey]) -> None:
    made = ComponentState({key: {"z": torch.zeros(1), "a": torch.ones(1)} for key in order})
    assert list(made) == sorted(order)
    assert [name for _, name, _ in made.tensors()] == ["a", "z"] * 3


def test_sizes() -> None:
    made = ComponentState({A: {"w": torch.zeros(2, 3), "b": torch.zeros(3, dtype=torch.bfloat16)}, B: {}})
    assert (made.parameters, made.nbytes, len(made)) == (9, 2 * 3 * 4 + 3 * 2, 2)
    assert "2 components" in repr(made)


def test_equal_sees_values_keys_and_names() -> None:
    one = state(a=1.0)
    assert one.equal(state(a=1.0))
    assert not one.equal(state(a=1.0000001))
    assert not one.equal(state(b=1.0))
    assert not one.equal(ComponentState({ComponentKey("a"): {"v": torch.tensor([1.0])}}))
    assert not one.equal(state(a=1.0, b=1.0))


def test_a_clone_is_free_of_its_original() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    cloned = ComponentState({A: {"w": weight}}).clone()
    with torch.no_grad():
        weight.zero_()
    assert cloned[A]["w"].tolist() == [1.0, 1.0]
    assert not cloned[A]["w"].requires_grad


def test_a_state_survives_a_file(tmp_path: Path) -> None:
    weight = torch.arange(12.0)
    made = ComponentState({A: {"0.weight": weight.view(3, 4).T, "all": weight}, C: {"a/b": weight[:3]}})
    made.save(tmp_path / "deep" / "state.safetensors")  # a view, and tensors that share memory
    assert ComponentState.load(tmp_path / "deep" / "state.safetensors").equal(made)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors: the file is missing"):
        ComponentState.load(tmp_path / "none.safetensors")


def test_a_truncated_file_is_named_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    whole = ComponentState({A: {"w": torch.arange(5.0)}, C: {"v": torch.ones(2, 2)}}).to_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"state\.safetensors: damaged or truncated") as caught:
            ComponentState.load(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match="the wire"):
            ComponentState.from_bytes(whole[:length], "the wire")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="damaged or truncated"):
        ComponentState.load(tmp_path)
