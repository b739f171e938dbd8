"""APFL: two rounds by hand with a mixture by component, its two ends, and what never leaves."""

import numpy as np
import pytest

from fedtap.algorithms.base import Algorithm, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from softmax_by_hand import KEYS, assert_same, gradient, probe_client, random_model, state_of
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"finetune_steps": 6, "finetune_lr": 0.02, "select_every": 1}


def apfl(**params: object) -> Algorithm:
    return make({"name": "apfl", **params})


def states(client: LocalClient) -> tuple[ComponentState, ComponentState]:
    """Return a received slice and a private model that differ everywhere."""
    return jittered(client.initial_state(), seed=1, scale=0.1), jittered(client.initial_state(), seed=2, scale=0.1)


def final_client() -> LocalClient:
    return local_client(PAIRS, round=5, training=FINISH)


def test_two_rounds_by_hand() -> None:
    method, state, rate = apfl(mix=0.3, mix_rate=0.05), ClientState(), 0.05
    private, mix = random_model(1), dict.fromkeys(KEYS, 0.3)  # v starts where the first w is received
    for number in (2, 3):
        w = random_model(number - 1)
        client = probe_client(local_steps=7, round=number)
        update, state = method.local_round(client, state_of(w), state)
        for step, batch in enumerate(probe_client(round=number).batches(4, "federated")):
            plain = gradient(w, batch)
            if step < 3:  # the odd step is w's
                mixed = gradient({task: mix[task] * private[task] + (1 - mix[task]) * w[task] for task in w}, batch)
                slopes = {task: float(((private[task] - w[task]) * mixed[task]).sum()) for task in w}
                private = {task: private[task] - client.rate * mix[task] * mixed[task] for task in w}
                mix = {task: min(1.0, max(0.0, mix[task] - rate * slopes[task])) for task in w}
            w = {task: w[task] - client.rate * plain[task] for task in w}
        assert client.steps_taken == 7
        assert_same(update.components, w)
        assert_same(state.models["private"], private)
        assert state.facts["mix"] == pytest.approx({str(KEYS[task]): a for task, a in mix.items()}, abs=1e-5)
    assert 0 < mix["digits"] < 1
    assert mix["digits"] != pytest.approx(mix["mood"], abs=1e-3)  # each component has its own


def test_the_personal_model_is_the_mixture_with_the_finished_slice() -> None:
    private, finished, mix = random_model(1), random_model(2), {"digits": 0.25, "mood": 0.9}
    client = probe_client(training={"finetune_steps": 0})
    facts = {"mix": {str(KEYS[task]): a for task, a in mix.items()}}
    done = apfl().personalise(client, state_of(finished), ClientState({"private": state_of(private)}, facts))
    expected = {task: mix[task] * private[task] + (1 - mix[task]) * finished[task] for task in mix}
    assert_same(done.models["personal"], expected)
    models = apfl().models(state_of(finished), done)
    assert models.keys() == {"federated", "personal"}
    assert models["federated"].equal(state_of(finished))


def test_the_mixture_takes_the_common_finish() -> None:
    client, other = final_client(), final_client()
    received, private = states(client)
    done = apfl(mix=0.5).personalise(client, received, ClientState({"private": private}))
    middle = received.zip(lambda a, b: a.lerp(b, 0.5), private)
    expected = other.finetune(middle, 6, "finish")
    assert done.models["personal"].equal(expected.state)
    assert done.facts["finetune_steps_kept"] == expected.kept_steps
    assert client.steps_taken == 6


def test_all_private_it_trains_v_alone_and_all_common_it_is_fine_tuning() -> None:
    client, other = local_client(PAIRS), local_client(PAIRS)
    received, private = states(client)
    _, state = apfl(mix=1.0, mix_rate=0).local_round(client, received, ClientState({"private": private}))
    assert state.models["private"].equal(other.train(private, 2, "federated").state)
    done = apfl(mix=1.0).personalise(final_client(), received, state)
    assert done.models["personal"].equal(final_client().finetune(state.models["private"], 6, "finish").state)
    tuned = make({}, "fedavg_ft").personalise(final_client(), received, ClientState())
    common = apfl(mix=0.0).personalise(final_client(), received, ClientState({"private": private}))
    assert common.models["personal"].equal(tuned.models["finetuned"])


@pytest.mark.parametrize(("compute", "common", "both"), [("equal", 3, 5), ("paper", 5, 10)])
def test_what_is_sent_is_fedavgs_and_knows_nothing_of_v(compute: str, common: int, both: int) -> None:
    clients = [local_client(PAIRS, local_steps=5) for _ in range(3)]
    received, private = states(clients[0])
    method = apfl(compute=compute)
    facts = {"mix": dict.fromkeys(map(str, received), 0.8)}
    update, state = method.local_round(clients[0], received, ClientState({"private": private}, facts))
    without, _ = method.local_round(clients[1], received, ClientState())
    trained = clients[2].train(received, common, "federated")
    assert update.components.equal(trained.state)
    assert update.components.equal(without.components)
    assert (update.losses, update.counts) == (trained.losses, clients[2].counts())
    assert not update.vectors
    assert not state.models["private"].equal(private)
    assert clients[0].steps_taken == both


def test_shares_stay_between_none_and_all() -> None:
    client = probe_client(local_steps=20)
    _, state = apfl(mix_rate=1e6).local_round(
        client, state_of(random_model(2)), ClientState({"private": state_of(random_model(1))})
    )
    assert set(state.facts["mix"].values()) <= {0.0, 1.0}


def test_a_private_model_that_knows_more_gets_the_larger_share() -> None:
    good = probe_client().train(state_of(random_model(1)), 60, "good").state
    bad = state_of(random_model(2, scale=1.0))

    def share(private: ComponentState, received: ComponentState) -> float:
        method = apfl(mix_rate=0.2)
        state = ClientState({"private": private})
        _, state = method.local_round(probe_client(local_steps=6), received, state)
        return float(np.mean(list(state.facts["mix"].values())))

    assert share(private=good, received=bad) > 0.5 > share(private=bad, received=good)


def test_a_newcomer_is_served_as_by_fine_tuning() -> None:
    received, _ = states(final_client())
    done = apfl().personalise(final_client(), received, apfl().start(final_client()))
    tuned = make({}, "fedavg_ft").personalise(final_client(), received, ClientState())
    assert done.models["personal"].equal(tuned.models["finetuned"])


@pytest.mark.parametrize(("key", "value"), [("mix", 1.1), ("mix", -0.1), ("mix_rate", -1), ("compute", "half")])
def test_values_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"method 'apfl': '{key}'"):
        apfl(**{key: value})
