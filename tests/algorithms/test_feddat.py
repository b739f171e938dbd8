"""FedDAT: who teaches whom, what is sent, and what is made of the two halves of the teacher."""

import pytest
import torch
from torch.nn import functional as F

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.network.probe import probe_features
from fedtap.pairs import ComponentKey
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, REDRAW, build_network, jittered, local_client

PAIRS = (DIGITS, MOOD)
FINISH = {"finetune_steps": 4, "finetune_lr": 0.02, "select_every": 1}


def feddat(**params: object):
    return make({"name": "feddat", **params})


def states(client: LocalClient) -> tuple[ComponentState, ComponentState]:
    """Return a received slice and a local model that differ everywhere."""
    return jittered(client.initial_state(), seed=1, scale=0.1), jittered(client.initial_state(), seed=2, scale=0.1)


def test_two_steps_by_hand_on_a_linear_classifier() -> None:
    """Gradients of both losses, written out in float64 on logistic regression, one step of SGD for each model."""
    settings = {"optimizer": "sgd", "lr": 0.1, "warmup_rounds": 0, "weight_decay": 0.0, "clip": 1e9}
    network = build_network((DIGITS,), probe=True)
    client = local_client((DIGITS,), network=network, local_steps=2, training=settings)
    received, local = (jittered(client.initial_state(), seed=seed, scale=0.3) for seed in (1, 2))
    alpha, beta, tau = 0.7, 1.9, 2.0
    method = feddat(teach=alpha, learn=beta, temperature=tau)
    update, state = method.local_round(client, received, ClientState({"local": local}))

    (batch,) = client.batches(1, "federated")  # both models take the same first batch
    x = probe_features(batch[0]).double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    y = F.one_hot(batch[0].target, 3).double()
    key = ComponentKey("probe", ("image", "digits"))

    def folded(model: ComponentState) -> torch.Tensor:
        return torch.cat([model[key]["weight"], model[key]["bias"][:, None]], dim=1).double()

    def soft(logits: torch.Tensor, tau: float = 1.0) -> torch.Tensor:
        return (logits / tau).softmax(dim=1)

    frozen, w, v = folded(received), folded(received), folded(local)
    rate = client.rate
    teacher = (x @ v.T + x @ frozen.T) / 2
    # d/dz of CE is p - y; of tau^2 KL(teacher || student) at tau it is tau (q - p)
    slope = soft(x @ w.T) - y + alpha * tau * (soft(x @ w.T, tau) - soft(teacher, tau))
    w = w - rate * slope.T @ x / len(x)
    back = soft(teacher) - y + beta * tau * (soft(teacher, tau) - soft(x @ w.T, tau))
    v = v - rate * 0.5 * back.T @ x / len(x)

    torch.testing.assert_close(folded(update.components), w, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(folded(state.models["local"]), v, atol=1e-5, rtol=1e-4)


def test_only_the_shared_model_is_sent() -> None:
    client = local_client((DIGITS, MOOD, REDRAW, LAW))
    received, local = states(client)
    update, state = feddat().local_round(client, received, ClientState({"local": local}))
    mine = state.models["local"]
    assert frozenset(update.components) == frozenset(mine) == client.plan
    assert update.counts == client.counts()
    assert update.vectors == {}
    for key, name, sent in update.components.tensors():
        assert not torch.equal(sent, local[key][name])
        assert not torch.equal(sent, mine[key][name])
        assert not torch.equal(mine[key][name], local[key][name])


def test_without_distillation_the_shared_model_is_fedavgs_with_its_half_of_the_steps() -> None:
    client = local_client(PAIRS, local_steps=5)
    received, local = states(client)
    update, _ = feddat(teach=0, learn=0).local_round(client, received, ClientState({"local": local}))
    other = local_client(PAIRS, local_steps=3)
    fedavg, _ = make({}, "fedavg").local_round(other, received, ClientState())
    assert update.components.equal(fedavg.components)
    assert update.losses == fedavg.losses


def test_without_distillation_the_local_model_learns_beside_the_received_one() -> None:
    client = local_client(PAIRS)
    received, local = states(client)
    _, state = feddat(teach=0, learn=0).local_round(client, received, ClientState({"local": local}))
    beside = local_client(PAIRS).train(local, 2, "federated", ensemble_with=[received]).state
    alone = local_client(PAIRS).train(local, 2, "federated").state
    assert state.models["local"].equal(beside)
    assert not state.models["local"].equal(alone)


@pytest.mark.parametrize(
    ("compute", "steps", "taken"), [("equal", 4, 4), ("equal", 5, 5), ("equal", 1, 1), ("paper", 4, 8)]
)
def test_the_steps_are_split_or_each_models_own(compute: str, steps: int, taken: int) -> None:
    client = local_client(PAIRS, local_steps=steps, training=FINISH)
    received, local = states(client)
    method = feddat(compute=compute)
    _, state = method.local_round(client, received, ClientState({"local": local}))
    assert client.steps_taken == taken
    assert state.models["local"].equal(local) == (steps == 1)
    client.steps_taken = 0
    method.personalise(client, received, state)
    assert client.steps_taken == 4


def test_the_first_local_model_is_the_slice_received_then() -> None:
    client = local_client(PAIRS, local_steps=1)
    received, _ = states(client)
    method = feddat()
    assert method.start(client) == ClientState()
    _, state = method.local_round(client, received, method.start(client))
    assert state.models["local"].equal(received)


def test_the_finish_is_fine_tuning_of_the_slice_under_the_dual_teacher() -> None:
    def finished(local: ComponentState, **params: object) -> ClientState:
        client = local_client(PAIRS, training=FINISH)
        return feddat(**params).personalise(client, received, ClientState({"local": local}))

    received, local = states(local_client(PAIRS))
    untaught = make({}, "fedavg_ft").personalise(local_client(PAIRS, training=FINISH), received, ClientState())
    assert finished(local, teach=0).models["personal"].equal(untaught.models["finetuned"])
    taught = finished(local)
    assert not taught.models["personal"].equal(untaught.models["finetuned"])
    assert not taught.models["personal"].equal(finished(received).models["personal"])
    assert not taught.models["personal"].equal(finished(local, temperature=3.0).models["personal"])
    assert set(taught.models) == {"personal"}


def test_a_newcomer_has_no_local_half_and_half_a_teacher_is_not_evaluated() -> None:
    client = local_client((DIGITS, LAW), training=FINISH)
    received, local = states(client)
    method = feddat(teach=0)
    newcomer = method.personalise(client, received, method.start(client))
    tuned = make({}, "fedavg_ft").personalise(client, received, ClientState())
    assert newcomer.models["personal"].equal(tuned.models["finetuned"])
    assert set(method.models(received, ClientState({"local": local}))) == {"federated"}
    assert set(method.models(received, newcomer)) == {"federated", "personal"}
