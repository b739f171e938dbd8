"""The term that keeps latents apart, against loops over examples."""

import numpy as np
import pytest
import torch

from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.training.loop import batch_loss
from fedtap.training.terms import Disentangle, mean_squared_cosine
from tiny import DIGITS, LAW, MEDICINE, MEMES, MOOD, REDRAW, build_network, client_data, jittered


def network_and_batch(sizes: dict[Pair, int], **settings: object) -> tuple[Network, tuple]:
    network = build_network(tuple(sizes), **settings)
    network.load(jittered(network.initial_state()))
    data = client_data(tuple(sizes), {pair.task: n for pair, n in sizes.items()})
    return network, data.collate([(pair.task, i) for pair, n in sizes.items() for i in range(n)])


def squared_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a @ b) ** 2 / (a @ a) / (b @ b))


def test_the_mean_squared_cosine_is_over_pairs_of_different_groups_only() -> None:
    draw = np.random.default_rng(0)
    groups = [draw.normal(size=(n, 5)) for n in (3, 1, 4)]
    expected = np.mean(
        [
            squared_cosine(a, b)
            for i, first in enumerate(groups)
            for j, second in enumerate(groups)
            if i != j
            for a in first
            for b in second
        ]
    )
    assert float(mean_squared_cosine([torch.from_numpy(g) for g in groups])) == pytest.approx(expected, rel=1e-12)


def test_it_is_one_for_parallel_or_opposite_latents_and_zero_for_orthogonal_ones() -> None:
    one, other = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.5]])
    assert float(mean_squared_cosine([one, -2 * one])) == 1.0
    assert float(mean_squared_cosine([one, other])) == 0.0
    # the two rows of the first group are parallel, which is nobody's concern
    assert float(mean_squared_cosine([torch.cat([one, one]), other])) == 0.0


def test_the_loss_grows_by_the_cosines_of_pooled_modality_task_latents() -> None:
    sizes = {DIGITS: 2, MOOD: 3, LAW: 1, MEDICINE: 2, REDRAW: 1}
    network, batch = network_and_batch(sizes)
    latents: list[tuple[tuple[str, str], np.ndarray]] = []
    for part, output in zip(batch, network(batch), strict=True):
        (stream,) = output.streams
        tokens = stream.tokens[stream.routes.index("modality-task")].detach().double().numpy()
        for i in range(len(part)):
            pooled = tokens[i][part.text_mask[i].numpy() if part.text_mask is not None else slice(None)].mean(axis=0)
            latents.append(((part.pair.modality, part.pair.family), pooled))
    assert len(latents) == 9
    # law and medicine are one knowledge: text generation from text; digits and redraw are two tasks on one modality
    assert len({name for name, _ in latents}) == 4
    expected = np.mean([squared_cosine(a, b) for one, a in latents for other, b in latents if one != other])
    plain = batch_loss(network, batch)
    loss = batch_loss(network, batch, terms=[Disentangle(0.5)])
    assert float((loss - plain).detach()) == pytest.approx(0.5 * expected, rel=1e-3)


def test_a_step_down_its_slope_brings_the_cosines_down() -> None:
    network, batch = network_and_batch({DIGITS: 4, MOOD: 4})
    term = Disentangle(1.0)
    before = term(network, batch, network(batch))
    torch.autograd.backward(before)
    with torch.no_grad():
        for parameter in network.trainable():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    assert 0 < float(term(network, batch, network(batch)).detach()) < float(before.detach())


@pytest.mark.parametrize("sizes", [{DIGITS: 4}, {LAW: 2, MEDICINE: 3}, {MEMES: 2}], ids=["one", "one family", "joint"])
def test_with_one_kind_of_pair_it_is_zero(sizes: dict[Pair, int]) -> None:
    network, batch = network_and_batch(sizes)
    assert float(Disentangle(5.0)(network, batch, network(batch))) == 0.0
    assert float(Disentangle(5.0)(network, (), ())) == 0.0


def test_the_additive_paths_of_one_example_are_two_pairs() -> None:
    network, batch = network_and_batch({MEMES: 2}, fusion="paths")
    (output,) = network(batch)
    image, text = (stream.path("modality-task").pooled() for stream in output.streams)
    added = Disentangle(5.0)(network, batch, [output])
    torch.testing.assert_close(added, 5.0 * mean_squared_cosine([image, text]))
