"""One network, many models: swapping, teachers, starts; padding, order and company change nothing."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedtap.batch import NO_TOKEN, Batch, TaskBatch
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey, Pair
from tiny import (
    CONCEPTS,
    DIGITS,
    EVERY_PAIR,
    LAW,
    MEDICINE,
    MEMES,
    MOOD,
    REDRAW,
    REDRAW_DIGITS,
    VQA,
    build_network,
    client_data,
    examples,
    jittered,
    loss_sum,
    mixed_batch,
)

MIXED = (DIGITS, MOOD, MEMES, REDRAW, REDRAW_DIGITS, VQA, LAW, MEDICINE, CONCEPTS)


def away_from_start(pairs: tuple[Pair, ...], **settings: object) -> Network:
    network = build_network(pairs, **settings)
    network.load(jittered(network.initial_state()))
    return network.eval()


@torch.no_grad()
def by_row(network: Network, batch: Batch) -> dict[int, Tensor]:
    """Return each example's output by its row; of a text, the positions of its target."""
    found = {}
    for part, out in zip(batch, network(batch), strict=True):
        for row, output, target in zip(part.rows.tolist(), out.output, part.target, strict=True):
            found[row] = output[target != NO_TOKEN] if part.pair.type == "text_generation" else output
    return found


def assert_same(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


# --- what must make no difference ----------------------------------------------------------------------------------------


def longer(part: TaskBatch) -> TaskBatch:
    """Return the batch with three more tokens of padding that hold noise, and two more places of padding in the targets."""
    if part.text is not None and part.text_mask is not None:
        noise = 50 * torch.randn(len(part), 3, part.text.shape[2])
        dirty = torch.where(part.text_mask[..., None], part.text, 50 * torch.randn(part.text.shape))
        hidden = torch.zeros(len(part), 3, dtype=torch.bool)
        part = replace(part, text=torch.cat([dirty, noise], 1), text_mask=torch.cat([part.text_mask, hidden], 1))
    if part.pair.type == "text_generation":
        part = replace(part, target=torch.nn.functional.pad(part.target, (0, 1), value=NO_TOKEN))
    return part


@pytest.mark.parametrize("fusion", ["joint", "paths"])
@pytest.mark.parametrize("pair", EVERY_PAIR, ids=lambda pair: f"{pair.type}-{pair.modality}")
def test_padding_changes_no_output(pair: Pair, fusion: str) -> None:
    network = away_from_start((pair,), fusion=fusion)
    batch = mixed_batch([pair], 4)
    padded = tuple(longer(part) for part in batch)
    before, after = by_row(network, batch), by_row(network, padded)
    for row in before:
        assert_same(after[row], before[row])
    with torch.no_grad():
        assert_same(loss_sum(network, network(padded), padded), loss_sum(network, network(batch), batch))


@pytest.mark.parametrize("adaptation", ["full", "lora", "colora", "dual"])
def test_permuting_a_mixed_batch_permutes_its_outputs(adaptation: str) -> None:
    network = away_from_start(MIXED, adaptation=adaptation)
    data = client_data(MIXED, 4)
    places = [(pair.task, i) for i in range(4) for pair in MIXED]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(3)).tolist()
    straight = by_row(network, data.collate(places))
    permuted = by_row(network, data.collate([places[i] for i in order]))
    for row, place in enumerate(order):
        assert_same(permuted[row], straight[place])
    turned = by_row(network, tuple(reversed(data.collate(places))))
    for row, output in straight.items():
        assert_same(turned[row], output)


def test_company_changes_no_output() -> None:
    """Tasks of one family with different domains run as one group; alone they give the same."""
    network = away_from_start(MIXED)
    data = client_data(MIXED, 3)
    places = [(pair.task, i) for pair in MIXED for i in range(3)]
    together = by_row(network, data.collate(places))
    for row, place in enumerate(places):
        assert_same(by_row(network, data.collate([place]))[0], together[row])


def test_each_example_goes_by_its_own_domain() -> None:
    other = replace(LAW, task="more", domain="medicine", head=LAW.head)
    network = away_from_start((LAW, other))
    part = examples(LAW, 3).take(range(3), range(3))
    law, medicine = by_row(network, (part,)), by_row(network, (replace(part, pair=other),))
    second = replace(part, pair=other, rows=part.rows + 3)
    both = by_row(network, (part, second))
    for row in range(3):
        assert_same(both[row], law[row])
        assert_same(both[row + 3], medicine[row])
        assert not torch.allclose(law[row], medicine[row], atol=1e-3)


def test_an_unknown_domain_goes_without_an_expert() -> None:
    network = away_from_start((LAW, MEDICINE))
    state, key = network.state(), ComponentKey("domain", ("law",))
    batch = mixed_batch([LAW, MEDICINE], 3)
    silent = {name: torch.zeros_like(tensor) for name, tensor in state[key].items()}
    network.load(state.merge(ComponentState({key: silent})))
    expected = by_row(network, batch)
    network.load(ComponentState({other: named for other, named in state.items() if other != key}))
    without = by_row(network, batch)
    for row in expected:
        assert_same(without[row], expected[row])
    network.load(state)
    known = by_row(network, batch)
    law_rows, other_rows = batch[0].rows.tolist(), batch[1].rows.tolist()
    assert all(not torch.allclose(known[row], without[row], atol=1e-3) for row in law_rows)
    for row in other_rows:
        assert_same(known[row], without[row])


@pytest.mark.parametrize("pair", EVERY_PAIR, ids=lambda pair: f"{pair.type}-{pair.modality}")
@torch.no_grad()
def test_the_untrained_fusion_passes_the_encoders_tokens_through(pair: Pair) -> None:
    network = build_network([pair], layers=2)
    network.load(network.initial_state())
    ((part,), (out,)) = (batch := mixed_batch([pair], 3)), network(batch)
    encoders = {key.names[0]: network.architecture.build(key) for key in network.held if key.kind == "encoder"}
    for name, encoder in encoders.items():
        encoder.load_state_dict(dict(network.state()[ComponentKey("encoder", (name,))]))
    given = {"image": part.image, "text": part.text}
    encoded = torch.cat([encoders[name](given[name]) for name in ("image", "text") if name in encoders], dim=1)
    assert encoded.shape == out.fused.tokens.shape
    assert out.fused.mask.sum() == (0 if part.image is None else 4 * 3) + (
        0 if part.text is None else part.text_mask.sum()
    )
    assert_same(out.fused.tokens[out.fused.mask], encoded[out.fused.mask])


def test_additive_paths_lay_the_two_modalities_side_by_side() -> None:
    """With ``paths`` each modality is fused without the other: the text has no bearing on the image's fused tokens."""
    joint, paths = (away_from_start((VQA,), fusion=fusion) for fusion in ("joint", "paths"))
    part = examples(VQA, 3).take(range(3), range(3))
    other = replace(part, text=part.text.flip(2))
    for network, image_is_alone in ((joint, False), (paths, True)):
        with torch.no_grad():
            ((first,), (second,)) = network((part,)), network((other,))
        assert first.fused.tokens.shape == (3, 4 + part.text.shape[1], 16)
        same = torch.allclose(first.fused.tokens[:, :4], second.fused.tokens[:, :4], atol=1e-5)
        assert same == image_is_alone
        assert not torch.allclose(first.fused.tokens[:, 4:], second.fused.tokens[:, 4:], atol=1e-3)


# --- models and their states ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptation", ["full", "lora", "colora"])
def test_a_state_comes_back_as_it_was_loaded(adaptation: str) -> None:
    network = build_network(MIXED, adaptation=adaptation)
    state = jittered(network.initial_state())
    network.load(state)
    assert network.state().equal(state)
    assert network.held == frozenset(state)
    part = state.slice(network.architecture.plan([MOOD]))
    network.load(part)
    assert network.state().equal(part)
    assert sum(parameter.numel() for parameter in network.trainable()) == part.parameters


def test_a_state_is_a_copy() -> None:
    network = away_from_start((DIGITS,))
    taken = network.state()
    kept = taken.clone()
    with torch.no_grad():
        for parameter in network.trainable():
            parameter.add_(1.0)
    assert taken.equal(kept)


def test_components_that_are_not_swapped_in_are_out_of_reach() -> None:
    network = build_network((DIGITS, MOOD))
    state = network.initial_state()
    network.load(state.slice(network.architecture.plan([DIGITS])))
    network(mixed_batch([DIGITS], 2))
    with pytest.raises(KeyError):
        network(mixed_batch([MOOD], 2))


def test_wrong_states_are_refused() -> None:
    network = build_network((DIGITS,))
    state, key = network.initial_state(), ComponentKey("shared")
    with pytest.raises(KeyError, match="unheard"):
        network.load(ComponentState({ComponentKey("domain", ("unheard",)): {}}))
    with pytest.raises(KeyError, match=r"shared: parameters \['weight'\] given, \['bias', 'weight'\] expected"):
        network.load(ComponentState({key: {"weight": state[key]["weight"]}}))
    with pytest.raises(KeyError, match="extra"):
        network.load(ComponentState({key: {**state[key], "extra": torch.zeros(1)}}))
    with pytest.raises(RuntimeError):
        network.load(ComponentState({key: {**state[key], "weight": torch.zeros(3, 5)}}))


def test_a_state_that_is_refused_changes_nothing() -> None:
    network = build_network((DIGITS,))
    before = network.initial_state()
    network.load(before)
    wrong = jittered(before)
    last = max(wrong)
    with pytest.raises(KeyError, match="parameters"):
        network.load(ComponentState({**wrong, last: {"extra": torch.zeros(1)}}))
    assert network.state().equal(before)


def test_a_start_depends_on_the_seed_and_the_key_alone() -> None:
    small, large = build_network((MOOD,), seed=5), build_network(tuple(reversed(MIXED)), seed=5)
    plan = small.architecture.plan([MOOD])
    assert large.initial_state(plan).equal(small.initial_state())
    assert large.initial_state().slice(plan).equal(small.initial_state())
    for key in sorted(plan, reverse=True):  # one by one, in another order
        assert small.initial_state([key]).equal(large.initial_state([key]))
    other = build_network((MOOD,), seed=6).initial_state()
    differing = {key.kind for key in other if not other.slice([key]).equal(small.initial_state([key]))}
    assert differing == {
        "encoder",
        "domain",
        "attention",
        "expert",
        "head",
    }  # the shared projection starts as the identity


def test_experts_of_a_stack_start_alike_and_encoders_do_not() -> None:
    state = build_network(MIXED).initial_state()
    for kind in ("attention", "expert"):
        for stack in ("mote", "mome"):
            first, *others = [state[key] for key in state if key.kind == kind and key.names[0] == stack]
            assert others
            assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    text, image = (state[ComponentKey("encoder", (name,))]["kind"] for name in ("text", "image"))
    assert not torch.equal(text, image)


@pytest.mark.parametrize("adaptation", ["full", "lora", "colora"])
def test_a_teacher_answers_as_if_it_were_swapped_in_and_leaves_no_trace(adaptation: str) -> None:
    network = build_network(MIXED, adaptation=adaptation)
    mine = jittered(network.initial_state(), seed=1)
    teacher = jittered(network.initial_state(), seed=2)
    batch = mixed_batch(MIXED, 2)
    network.load(teacher)
    with torch.no_grad():
        expected = [out.output for out in network(batch)]
    network.load(mine)
    addresses = [parameter.data_ptr() for parameter in network.trainable()]
    outputs = network.run_as(teacher, batch)
    for out, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(out.output, wanted, atol=1e-6, rtol=1e-6)
        assert not out.output.requires_grad
    assert network.state().equal(mine)
    assert [parameter.data_ptr() for parameter in network.trainable()] == addresses
    assert all(parameter.grad is None for parameter in network.parameters())


def test_frozen_layers_are_in_no_state_and_are_no_parameters() -> None:
    network = build_network((MOOD, DIGITS), adaptation="lora")
    frozen = dict(network.named_buffers())
    assert sum(tensor.numel() for tensor in frozen.values()) == 2 * (4 * (16 * 16 + 16) + 4 * 16 + 2 * (16 * 16 + 16))
    assert not {name for name, _ in network.named_parameters()} & set(frozen)
    state = network.initial_state()
    attention, expert = (
        state[ComponentKey(kind, names)]
        for kind, names in (
            ("attention", ("mote", "text")),
            ("expert", ("mote", "text", "shared")),
        )
    )
    assert list(attention) == ["q_w_A", "q_w_B", "v_w_A", "v_w_B"]
    assert list(expert) == ["down_w_A", "down_w_B", "up_w_A", "up_w_B"]
    assert network.state_dict().keys() == {name for name, _ in network.named_parameters()}
