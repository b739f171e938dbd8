"""What FedPer, FedRep and FedBN share: what a newcomer trains, what is finished, and what is left when nothing was."""

import pytest

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.partial import Partial
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, jittered, local_client
from two_layers import client as small_client
from two_layers import federate

METHODS = ["fedper", "fedrep", "fedbn"]
PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"lr": 0.01, "warmup_rounds": 1, "finetune_lr": 0.01, "select_every": 1}


def partial(method: str) -> Partial:
    algorithm = make({}, method)
    assert isinstance(algorithm, Partial)
    return algorithm


def final_client(finetune_steps: int = 6) -> LocalClient:
    return local_client(PAIRS, round=5, training={**FINISH, "finetune_steps": finetune_steps})


def received_by(algorithm: Partial, client: LocalClient) -> ComponentState:
    return jittered(client.initial_state(), seed=1, scale=0.05).select(algorithm.travels)


@pytest.mark.parametrize("method", METHODS)
def test_a_newcomer_trains_what_stays_at_home_on_a_frozen_body_as_long_as_a_participant_trains(method: str) -> None:
    algorithm, client = partial(method), final_client(finetune_steps=0)
    received, start = received_by(algorithm, client), algorithm.start(client)
    state = algorithm.personalise(client, received, start)
    personal = state.models["personal"]
    assert client.steps_taken == len(client.alone_rates) == 16  # four turns of four steps
    assert personal.select(algorithm.travels).equal(received)
    home, before = personal.select(algorithm.stays), start.models["home"]
    assert all(not home.slice([key]).equal(before.slice([key])) for key in home)
    losses, untrained = (client.mean_losses(model) for model in (personal, received.overlay(before)))
    assert all(losses[task] < untrained[task] for task in client.tasks)


@pytest.mark.parametrize("method", METHODS)
def test_a_newcomer_then_takes_the_finish_and_a_participant_takes_it_alone(method: str) -> None:
    algorithm, client, other = partial(method), final_client(), final_client()
    received, start = received_by(algorithm, client), algorithm.start(client)
    state = algorithm.personalise(client, received, start)
    assert client.steps_taken == len(client.alone_rates) + 6
    rates = other.alone_rates
    model = received.overlay(start.models["home"])
    trained = other.train(model, len(rates), "alone", rates=rates, only=algorithm.stays).state
    expected = other.finetune(trained, 6, "finish")
    assert state.models["personal"].equal(expected.state)
    assert state.facts == {"trained": True, "finetune_steps_kept": expected.kept_steps}

    client.steps_taken = 0
    home = jittered(start.models["home"], seed=2, scale=0.05)
    state = algorithm.personalise(client, received, ClientState({"home": home}, {"trained": True}))
    assert client.steps_taken == 6
    assert state.models["personal"].equal(final_client().finetune(received.overlay(home), 6, "finish").state)
    assert algorithm.models(received, state) == {"personal": state.models["personal"]}


@pytest.mark.parametrize("method", METHODS)
def test_one_round_makes_a_participant_of_a_newcomer_and_its_home_outlives_the_round(method: str) -> None:
    algorithm, client = partial(method), local_client(PAIRS)
    received = received_by(algorithm, client)
    _, once = algorithm.local_round(client, received, algorithm.start(client))
    assert once.facts == {"trained": True}
    later, same = (local_client(PAIRS, round=3) for _ in range(2))
    update, twice = algorithm.local_round(later, received, once)
    whole = algorithm.train(same, received.overlay(once.models["home"])).state
    assert update.components.equal(whole.select(algorithm.travels))
    assert twice.models["home"].equal(whole.select(algorithm.stays))


@pytest.mark.parametrize("method", METHODS)
def test_a_client_that_could_not_finish_uses_what_it_has(method: str) -> None:
    algorithm, client = partial(method), local_client(PAIRS)
    received = received_by(algorithm, client)
    _, state = algorithm.local_round(client, received, algorithm.start(client))
    (model,) = algorithm.models(received, state).values()
    assert frozenset(model) == client.plan
    assert model.select(algorithm.travels).equal(received)
    assert model.select(algorithm.stays).equal(state.models["home"])
    assert algorithm.models(received, ClientState()) == {}


@pytest.mark.parametrize("method", ["fedper", "fedbn"])
def test_a_federation_of_one_is_local_training_to_the_bit(method: str) -> None:
    algorithm, local = partial(method), make({}, "local")
    federated, alone = federate(algorithm, clients=["a"]), federate(local, clients=["a"])
    theirs = alone.states["a"].models["personal"]
    assert federated.server.overlay(federated.states["a"].models["home"]).equal(theirs)
    done = algorithm.personalise(small_client("a", 3), federated.server, federated.states["a"])
    finished = local.personalise(small_client("a", 3), ComponentState(), alone.states["a"])
    assert done.models["personal"].equal(finished.models["personal"])
