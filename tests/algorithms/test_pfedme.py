"""pFedMe: a round and the server's step by hand, the envelope at the end, and what is left of it without its parts."""

import pytest
import torch

from fedtap.algorithms.base import Algorithm, ClientState, ServerState, Update
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from fedtap.training.terms import Proximal
from softmax_by_hand import assert_same, each, gradient, probe_client, random_model, state_of
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"finetune_steps": 6, "finetune_lr": 0.02, "select_every": 1}


def pfedme(**params: object) -> Algorithm:
    return make({"name": "pfedme", **params})


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_round_by_hand(share: float) -> None:
    client = probe_client(local_steps=7)
    w = random_model(1)
    method = pfedme(strength=0.8, inner_steps=3, share=share)
    update, state = method.local_round(client, state_of(w), ClientState())
    for batch, steps in zip(probe_client().batches(3, "federated"), (3, 3, 1), strict=True):
        theta = w
        for _ in range(steps):
            theta = each(lambda t, g, c: t - client.rate * (g + 0.8 * (t - c)), theta, gradient(theta, batch), w)
        w = each(lambda c, t: c - share * (c - t), w, theta)
    assert_same(update.components, w)
    assert client.steps_taken == 7
    assert (state, update.counts) == (ClientState(), client.counts())


def test_losses_are_means_over_the_examples_of_the_batches_that_hold_the_task() -> None:
    client = probe_client(local_steps=3)
    w = state_of(random_model(1))
    update, _ = pfedme(inner_steps=1, share=1.0).local_round(client, w, ClientState())
    plain = probe_client().train(w, 3, "federated")  # the same three steps
    assert update.losses == pytest.approx(plain.losses, rel=1e-5)


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 4.0), (0.5, 2.5), (2.0, 7.0)])
def test_the_server_moves_by_beta_to_the_mean_or_beyond(beta: float, expected: float) -> None:
    a, b = (ComponentKey("head", (name,)) for name in "ab")
    server = ServerState(ComponentState({key: {"w": torch.tensor([1.0])} for key in (a, b)}))
    updates = {
        client: Update(ComponentState({a: {"w": torch.tensor([w])}}), {a: n})
        for client, w, n in (("one", 3.0, 3), ("two", 7.0, 1))
    }
    after = pfedme(beta=beta).aggregate(server, updates).components
    assert float(after[a]["w"]) == expected
    assert float(after[b]["w"]) == 1.0


def test_one_full_step_a_batch_of_plain_descent_is_fedavg_to_the_bit() -> None:
    training = {"optimizer": "sgd", "weight_decay": 0.0, "lr": 0.1}

    def client() -> LocalClient:
        return local_client(PAIRS, training=training)

    received = jittered(client().initial_state(), scale=0.1)
    # the pull is zero where it starts, and beyond one step nothing of an inner loop is left
    mine, _ = pfedme(inner_steps=1, share=1.0, strength=3.0).local_round(client(), received, ClientState())
    theirs, _ = make({}, "fedavg").local_round(client(), received, ClientState())
    assert mine.components.equal(theirs.components)
    server, updates = ServerState(received), {"c": mine}
    mixed, mean = (make({}, name).aggregate(server, updates).components for name in ("pfedme", "fedavg"))
    assert mixed.equal(mean)


def test_a_strong_pull_holds_the_personal_models_to_w() -> None:
    received = state_of(random_model(1))
    moved = []
    for strength in (0.0, 1.0, 1.9):  # with a rate of about 0.4 all of them contract
        update, _ = pfedme(strength=strength, share=1.0).local_round(
            probe_client(local_steps=5), received, ClientState()
        )
        away = update.components.zip(lambda a, b: (a - b).square().sum(), received)
        moved.append(sum(float(square) for _, _, square in away.tensors()))
    assert moved[0] > moved[1] > moved[2] > 0


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_the_finish_solves_the_inner_problem_at_the_finished_slice(strength: float) -> None:
    client, other = (local_client(PAIRS, round=5, training=FINISH) for _ in range(2))
    received = jittered(client.initial_state(), scale=0.1)
    done = pfedme(strength=strength).personalise(client, received, ClientState())
    expected = other.finetune(received, 6, "finish", terms=[Proximal(received, strength)] if strength else [])
    assert done.models["personal"].equal(expected.state)
    assert done.facts == {"finetune_steps_kept": expected.kept_steps}
    assert client.steps_taken == 6
    tuned = make({}, "fedavg_ft").personalise(local_client(PAIRS, round=5, training=FINISH), received, ClientState())
    assert done.models["personal"].equal(tuned.models["finetuned"]) == (strength == 0)
    assert pfedme().models(received, done)["federated"].equal(received)


@pytest.mark.parametrize(
    ("key", "value"),
    [("strength", -1), ("strength", float("inf")), ("inner_steps", 0), ("share", 0), ("share", 1.5), ("beta", 0)],
)
def test_values_that_make_no_sense_are_refused(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"method 'pfedme': '{key}'"):
        pfedme(**{key: value})
