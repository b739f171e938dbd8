"""DisentAFL: FedAvg's round with the term between latents, and where it cannot be trained."""

from pathlib import Path

import pytest
import torch

from fedtap import run
from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario
from fedtap.tasks import TASK_TYPES
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MEDICINE, MOOD, REDRAW, jittered, local_client
from tiny_federation import write_scenario

PAIRS = (DIGITS, MOOD)


def round_of(
    method: str, pairs: tuple[Pair, ...], *, steps: int = 4, training: dict[str, object] | None = None, **params: object
) -> tuple[LocalClient, ComponentState, ComponentState]:
    """Return the client, what it received and what it sent."""
    settings = {"lr": 0.01, "warmup_rounds": 0, **(training or {})}
    client = local_client(pairs, local_steps=steps, training=settings)
    received = jittered(client.initial_state(), scale=0.3)
    update, state = make({"name": method, **params}).local_round(client, received, ClientState())
    assert state == ClientState()
    return client, received, update.components


def test_one_step_is_down_the_slope_of_the_loss_and_half_the_mean_squared_cosine() -> None:
    plain_sgd = {"optimizer": "sgd", "weight_decay": 0.0, "clip": 1e9}
    client, received, sent = round_of("disentafl", PAIRS, steps=1, training=plain_sgd)
    network = client.network
    network.load(received)
    network.train()
    network.zero_grad()
    (batch,) = client.batches(1, "federated")
    outputs = network(batch)
    digits, mood = (stream.tokens[2] for output in outputs for stream in output.streams)
    mask = batch[1].text_mask
    pooled = [digits.mean(dim=1), (mood * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)]
    cosines = torch.stack([torch.cosine_similarity(a, b, dim=0) for a in pooled[0] for b in pooled[1]])
    loss = 0.5 * cosines.square().mean()
    size = sum(len(part) for part in batch)
    for part, output in zip(batch, outputs, strict=True):
        mean = TASK_TYPES[part.pair.type].losses(output.output, part.target, None).mean()
        loss = loss + mean * len(part) / size
    torch.autograd.backward(loss)
    for key, name, parameter in network.named():
        slope = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(sent[key][name], parameter.detach() - client.rate * slope, atol=1e-6, rtol=1e-4)


def test_latents_of_two_pairs_end_further_apart_than_under_fedavg() -> None:
    def cosine(method: str) -> float:
        client, _, sent = round_of(method, PAIRS, steps=20)
        client.network.load(sent)
        (batch,) = client.batches(1, "fresh")
        with torch.no_grad():
            first, second = (output.streams[0].path("modality-task").pooled() for output in client.network(batch))
        return float(torch.cosine_similarity(first[:, None], second[None], dim=2).square().mean())

    assert cosine("disentafl") < 0.8 * cosine("fedavg")


@pytest.mark.parametrize("pairs", [(DIGITS,), (LAW, MEDICINE)], ids=["one pair", "one family"])
def test_with_nothing_to_keep_apart_it_is_fedavg_to_the_bit(pairs: tuple[Pair, ...]) -> None:
    assert round_of("disentafl", pairs)[2].equal(round_of("fedavg", pairs)[2])


def test_without_weight_it_is_fedavg_to_the_bit_and_with_it_is_not() -> None:
    pairs = (DIGITS, MOOD, REDRAW)
    fedavg = round_of("fedavg", pairs)[2]
    assert round_of("disentafl", pairs, disentangle=0.0)[2].equal(fedavg)
    assert not round_of("disentafl", pairs, disentangle=1e-3)[2].equal(fedavg)


def test_the_losses_that_are_reported_are_the_tasks_alone() -> None:
    client = local_client(PAIRS, local_steps=1)
    received = jittered(client.initial_state())
    losses = [
        make({}, method).local_round(client, received, ClientState())[0].losses for method in ("fedavg", "disentafl")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("method", ["disentafl", "disentafl_ft"])
@pytest.mark.parametrize("network", ["plain", "probe"])
def test_an_architecture_without_the_paths_is_refused_before_anything_runs(
    method: str, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("nothing may run")

    for name in ("partition", "load_backbone", "FederatedDataset"):
        monkeypatch.setattr(f"fedtap.experiment.setup.{name}", touched)
    scenario = load_scenario(write_scenario(tmp_path, network={"name": network}), ())
    with pytest.raises(UserError, match=rf"method '{method}' needs .* network\.name=experts .* it is '{network}'") as e:
        run(scenario, method=method, out=tmp_path / "run", device="cpu")
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "run").glob("*"))
    with pytest.raises(AssertionError, match="nothing may run"):
        run(scenario, method="fedavg", out=tmp_path / "other", device="cpu")
