"""DP-SGD against gradients clipped by hand, and which training it covers."""

from typing import Any

import pytest
import torch

from fedtap.algorithms.registry import algorithms, make
from fedtap.batch import split
from fedtap.network.network import Network
from fedtap.privacy.dp_sgd import CHUNK, DPSGD
from fedtap.runtime.errors import UserError
from fedtap.scenario.safety import NoiseSettings
from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.client import LocalClient
from fedtap.training.loop import batch_loss, train
from tiny import CPU, DIGITS, LAW, MOOD, build_network, client_data, jittered, local_client

PAIRS = (DIGITS, MOOD)
SGD = TrainingSettings(optimizer="sgd", weight_decay=0, clip=1e-9)  # the whole gradient is not clipped here
LOCAL = {"local": {"clip": 0.5, "noise": 1.0}, "noise_source": "seeded"}


def network() -> Network:
    built = build_network(PAIRS)
    built.load(jittered(built.initial_state()))
    return built


def dp_sgd(noise: float, *, clip: float = 0.5, expected: int = 10) -> DPSGD:
    return DPSGD(NoiseSettings(clip=clip, noise=noise), expected, torch.Generator().manual_seed(0))


def test_a_step_is_the_mean_of_gradients_clipped_one_by_one() -> None:
    size = CHUNK // 2 + 1  # of each task, so that a batch is more than one chunk
    batch = client_data(PAIRS, size).collate([(pair.task, i) for pair in PAIRS for i in range(size)])
    mine, theirs = network(), network()
    total = [torch.zeros_like(parameter) for parameter in mine.trainable()]
    clipped = 0
    for example in split(batch, 1):
        mine.zero_grad(set_to_none=True)
        batch_loss(mine, example).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in mine.trainable()]
        norm = float(torch.stack([grad.square().sum() for grad in grads]).sum().sqrt())
        clipped += norm > 0.5
        for sum_, grad in zip(total, grads, strict=True):
            sum_ += grad * min(1.0, 0.5 / norm)
    assert clipped
    before = [parameter.detach().clone() for parameter in theirs.trainable()]
    train(theirs, [batch], [1.0], SGD, dp_sgd=dp_sgd(1e-12))
    for start, after, sum_ in zip(before, theirs.trainable(), total, strict=True):
        torch.testing.assert_close(after.detach(), start - sum_ / 10, rtol=1e-4, atol=1e-6)


def test_an_empty_batch_is_a_step_of_noise_alone_with_the_deviation_that_is_accounted_for() -> None:
    built = network()
    before = torch.cat([parameter.detach().flatten() for parameter in built.trainable()])
    train(built, [()], [1.0], SGD, dp_sgd=dp_sgd(2.0, clip=3.0))
    moved = torch.cat([parameter.detach().flatten() for parameter in built.trainable()]) - before
    assert float(moved.std()) == pytest.approx(2.0 * 3.0 / 10, rel=0.02)
    assert abs(float(moved.mean())) < 0.02


def test_examples_are_drawn_independently() -> None:
    data = client_data(PAIRS, {"digits": 30, "mood": 10})
    tasks = [pair.task for pair in PAIRS]

    def draw(rate: float, steps: int) -> list[int]:
        generator = torch.Generator().manual_seed(1)
        drawn = data.draw_independently(tasks, rate=rate, steps=steps, generator=generator, device=CPU)
        return [sum(len(part) for part in batch) for batch in drawn]

    assert draw(1.0, 3) == [40, 40, 40]
    sizes = draw(0.05, 400)
    assert 0 in sizes
    assert sum(sizes) / 400 == pytest.approx(2.0, abs=0.3)
    assert torch.tensor(sizes).float().var() == pytest.approx(40 * 0.05 * 0.95, rel=0.25)


def client(**settings: Any) -> LocalClient:
    return local_client(PAIRS, n={"digits": 30, "mood": 10}, privacy={**LOCAL, **settings})


def test_training_that_may_leave_is_private_and_training_that_stays_is_as_it_was() -> None:
    plain = local_client(PAIRS, n={"digits": 30, "mood": 10})
    start = plain.initial_state()
    exact = plain.train(start, 2, "federated").state
    private = client()
    noisy = private.train(start, 2, "federated").state
    assert not noisy.equal(exact)
    assert (private.private_steps, private.steps_taken) == (2, 2)
    assert client().train(start, 2, "federated", stays=True).state.equal(exact)
    assert private.sampling_rate == 8 / 40
    assert client().train(start, 2, "federated").state.equal(noisy)  # seeded
    secret = [client(noise_source="secret").train(start, 2, "federated").state for _ in range(2)]
    assert not secret[0].equal(secret[1])


def test_after_the_last_round_nothing_leaves_and_nothing_is_noised() -> None:
    ends = [
        local_client(PAIRS, round=5, **settings).train(build_network(PAIRS).initial_state(), 2, "alone").state
        for settings in ({}, {"privacy": LOCAL})
    ]
    assert ends[0].equal(ends[1])


def test_told_counts_are_blurred_and_set_the_sampling_rate() -> None:
    blurred = client(blur_counts=25)
    assert blurred.sampling_rate == 8 / 50
    assert set(blurred.counts().values()) == {25, 50}


UNCOVERED = {"apfl", "colora", "fedala", "perfedavg", "pfedme"}
"""Methods whose uploads come of more than training by the common rule."""
COMPARING = {"disentafl", "disentafl_ft", "tap_best"}
"""Methods whose loss compares the examples of a batch, of which DP-SGD sees one at a time."""
REFUSED = (
    ({"start": "received"}, {"tap_best"}, r"method.start=chosen .* set start=received"),
    ({"disentangle": 0}, COMPARING, r"privacy.local: DP-SGD .* compares the examples"),
)
"""What lifts a refusal, the methods that meet it, and its words, in the order in which they are met."""


@pytest.mark.parametrize("method", sorted(algorithms()))
def test_a_method_is_covered_or_refused(method: str) -> None:
    algorithm = make({}, method)
    pairs = PAIRS if algorithm.architecture else (*PAIRS, LAW)
    built = build_network(pairs, name=algorithm.architecture or "experts")
    at_work = local_client(pairs, network=built, round=1, local_steps=2, privacy=LOCAL)
    received = at_work.initial_state().select(algorithm.travels)
    if method in UNCOVERED:
        with pytest.raises(UserError, match=r"privacy.local: the method .* choose another"):
            algorithm.local_round(at_work, received, algorithm.start(at_work))
        return
    settings: dict[str, object] = {"name": method}
    for setting, methods, refusal in REFUSED:
        if method in methods:
            with pytest.raises(UserError, match=refusal):
                algorithm.local_round(at_work, received, algorithm.start(at_work))
            settings |= setting
            algorithm = make(settings)
    update, _ = algorithm.local_round(at_work, received, algorithm.start(at_work))
    sent = update.components.select(algorithm.travels)
    assert (at_work.private_steps > 0) == bool(sent)
    for key, name, tensor in sent.tensors():
        assert not torch.equal(tensor, received[key][name])  # noise is everywhere, reached by the batch or not
