"""Per-FedAvg: a round by hand, which batches its two gradients see, and what is left of it without its look-ahead."""

from itertools import islice

import pytest

from fedtap.algorithms.base import Algorithm, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.runtime.errors import UserError
from softmax_by_hand import assert_same, each, gradient, probe_client, random_model, state_of
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"finetune_steps": 6, "finetune_lr": 0.02, "select_every": 1}


def perfedavg(**params: object) -> Algorithm:
    return make({"name": "perfedavg", **params})


def received_by(**settings: object) -> ComponentState:
    return jittered(local_client(PAIRS, **settings).initial_state(), scale=0.1)


@pytest.mark.parametrize("clip", [0.2, 1e9])
def test_a_round_by_hand(clip: float) -> None:
    client = probe_client(local_steps=5, clip=clip)
    w = random_model(1)
    update, state = perfedavg(inner_rate=0.7).local_round(client, state_of(w), ClientState())
    batches = list(probe_client().batches(5, "federated"))
    for batch, other in ((batches[0], batches[1]), (batches[2], batches[3])):
        ahead = each(lambda v, g: v - 0.7 * g, w, gradient(w, other, clip))
        w = each(lambda v, g: v - client.rate * g, w, gradient(ahead, batch, clip))
    w = each(lambda v, g: v - client.rate * g, w, gradient(w, batches[4], clip))  # the odd step is a plain one
    assert_same(update.components, w)
    assert (state, update.counts) == (ClientState(), client.counts())


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
def test_each_of_the_two_gradients_costs_a_step(steps: int) -> None:
    client = local_client(PAIRS, local_steps=steps)
    perfedavg().local_round(client, received_by(), ClientState())
    assert client.steps_taken == steps


def test_looking_nowhere_it_trains_on_every_other_batch() -> None:
    client, other = local_client(PAIRS, local_steps=6), local_client(PAIRS, local_steps=6)
    update, _ = perfedavg(inner_rate=0).local_round(client, received_by(), ClientState())
    plain = other.train(received_by(), 3, islice(other.batches(6, "federated"), 0, None, 2))
    assert update.components.equal(plain.state)
    looking, _ = perfedavg().local_round(local_client(PAIRS, local_steps=6), received_by(), ClientState())
    assert not looking.components.equal(plain.state)


def test_a_single_step_is_fedavgs() -> None:
    mine, theirs = (
        make({}, name).local_round(local_client(PAIRS, local_steps=1), received_by(), ClientState())[0]
        for name in ("perfedavg", "fedavg")
    )
    assert mine.components.equal(theirs.components)
    assert mine.losses == theirs.losses


def test_a_client_personalises_by_fine_tuning_from_the_average() -> None:
    mine, theirs = (
        make({}, name).personalise(local_client(PAIRS, round=5, training=FINISH), received_by(), ClientState())
        for name in ("perfedavg", "fedavg_ft")
    )
    assert mine.models["finetuned"].equal(theirs.models["finetuned"])
    assert mine.facts == theirs.facts
    assert perfedavg().models(received_by(), mine).keys() == {"federated", "finetuned"}


@pytest.mark.parametrize("rate", [-0.1, float("nan"), True])
def test_the_rate_must_be_a_number_from_zero(rate: float) -> None:
    with pytest.raises(UserError, match="method 'perfedavg': 'inner_rate'"):
        perfedavg(inner_rate=rate)
