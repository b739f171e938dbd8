"""Sketches keep inner products, meet where plans meet, and become weights as computed by hand."""

import math

import pytest
import torch

from fedtap.aggregation.relevance import ground, relevance, sanitise, sketch
from fedtap.components import ComponentKey, ComponentState
from tiny import DIGITS, LAW, MOOD, build_network, generator, local_client

BODY, TEXT, HEAD = ComponentKey("shared"), ComponentKey("encoder", ("text",)), ComponentKey("head", ("mood",))


def gradient(*keys: ComponentKey, name: str = "g", size: int = 2000) -> ComponentState:
    return ComponentState({key: {"w": torch.randn(size, generator=generator(name, str(key)))} for key in keys})


def test_relevance_by_hand() -> None:
    weights = relevance(
        {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([0.0, 0.1]), "c": torch.tensor([3.0, 3.0])}, 0.5
    )
    cos = 0.5**0.5
    for row, cosines in zip(weights.tolist(), ([1, 0, cos], [0, 1, cos], [cos, cos, 1]), strict=True):
        powers = [math.exp(c / 0.5) for c in cosines]
        assert row == pytest.approx([p / sum(powers) for p in powers])


def test_opposite_gradients_weigh_least_and_the_temperature_sharpens() -> None:
    rows = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-1.0, 0.0])}
    assert relevance(rows, 1.0)[0, 1] == pytest.approx(1 / (1 + math.exp(2)))
    assert relevance(rows, 0.1)[0, 1] == pytest.approx(1 / (1 + math.exp(20)))


def test_who_sent_no_sketch_finds_all_equally_relevant() -> None:
    weights = relevance(
        {"a": torch.zeros(3), "b": torch.tensor([1.0, 2.0, 0.0]), "c": torch.tensor([0.0, 1.0, 1.0])}, 0.5
    )
    assert weights[0].tolist() == pytest.approx([1 / 3] * 3)


def test_a_sketch_keeps_cosines() -> None:
    a, b = gradient(BODY, TEXT, name="a"), gradient(BODY, TEXT, name="b")
    for share in (0.0, 0.5, 0.9, -0.7):
        other = a.zip(lambda x, y, share=share: share * x + (1 - share**2) ** 0.5 * y, b)
        flat = [torch.cat([tensor for _, _, tensor in state.tensors()]) for state in (a, other)]
        true = float(torch.cosine_similarity(*flat, dim=0))
        sketched = float(sketch(a, 4096, 0) @ sketch(other, 4096, 0))
        assert sketched == pytest.approx(true, abs=0.06)
    assert float(sketch(a, 64, 0).norm()) == pytest.approx(1.0)


def test_by_hand_every_scalar_goes_to_one_place_with_one_sign() -> None:
    single = ComponentState({BODY: {"w": torch.tensor([3.0])}})
    out = sketch(single, 8, 0)
    assert sorted(out.abs().tolist()) == [0.0] * 7 + [1.0]
    assert torch.equal(sketch(single.map(lambda t: -2 * t), 8, 0), -out)


def test_gradients_meet_where_plans_do_and_heads_do_not_count() -> None:
    mine, size = gradient(BODY, name="a"), 4096
    wider = mine.merge(gradient(TEXT, name="b"))
    # equal in the shared half, and as long in the other: the cosine is the root of one half
    expected = float(torch.cat([mine[BODY]["w"]]).norm() / torch.cat([wider[k]["w"] for k in (BODY, TEXT)]).norm())
    assert float(sketch(mine, size, 0) @ sketch(wider, size, 0)) == pytest.approx(expected, abs=0.05)
    assert float(sketch(mine, size, 0) @ sketch(gradient(TEXT, name="b"), size, 0)) == pytest.approx(0.0, abs=0.06)
    assert torch.equal(sketch(mine.merge(gradient(HEAD)), size, 0), sketch(mine, size, 0))
    assert not torch.equal(sketch(mine, size, 0), sketch(mine, size, 1))


def test_noise_is_as_long_as_asked_for_and_none_is_none() -> None:
    vector = torch.randn(5000, generator=generator("v"))
    noisy = sanitise(vector, 0.5, generator("n"))
    assert float((noisy - vector).norm() / vector.norm()) == pytest.approx(0.5, rel=0.05)
    assert torch.equal(sanitise(vector, 0.0, generator("n")), vector)


def test_the_ground_is_common_and_every_part_of_a_plan_passes_a_gradient_there() -> None:
    few, many = (build_network(pairs).initial_state() for pairs in ((MOOD,), (MOOD, DIGITS)))
    assert ground(many, 4).slice(few).equal(ground(few, 4))
    assert not ground(few, 4).equal(ground(few, 5))
    client = local_client((MOOD, LAW))
    (batch,) = client.batches(1, "relevance")
    slopes = client.gradient(ground(client.initial_state(), 0), batch)
    assert [key for key in slopes if not any(bool(tensor.any()) for tensor in slopes[key].values())] == []


def test_clients_with_like_data_are_more_alike_than_others() -> None:
    def taken(pair, round: int) -> torch.Tensor:
        client = local_client((pair,), n=64, round=round, batch_size=32)
        (batch,) = client.batches(1, "relevance")
        return sketch(client.gradient(ground(client.initial_state(), 0), batch), 1024, 0)

    digits, again, law = taken(DIGITS, 1), taken(DIGITS, 2), taken(LAW, 1)
    assert float(digits @ again) > 0.5
    assert abs(float(digits @ law)) < 0.3
