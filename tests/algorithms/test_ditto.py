"""Ditto: its two models, the anchor of its pull, and newcomers. Its steps by hand are in ``test_convex.py``."""

import pytest

from fedtap.algorithms.base import Algorithm, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from fedtap.training.terms import Proximal
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"finetune_steps": 6, "finetune_lr": 0.02, "select_every": 1}


def ditto(**params: object) -> Algorithm:
    return make({"name": "ditto", **params})


def states(client: LocalClient) -> tuple[ComponentState, ComponentState]:
    """Return a received slice and a personal model that differ everywhere."""
    return jittered(client.initial_state(), seed=1, scale=0.1), jittered(client.initial_state(), seed=2, scale=0.1)


def trained(personal: ComponentState) -> ClientState:
    return ClientState({"personal": personal}, {"trained": True})


def final_client() -> LocalClient:
    return local_client(PAIRS, round=5, training=FINISH)


def test_without_a_pull_the_personal_model_is_locals_and_the_sent_one_fedavgs_to_the_bit() -> None:
    method, local, fedavg = ditto(lam=0, compute="paper"), make({}, "local"), make({}, "fedavg")
    mine, theirs = method.start(local_client(PAIRS)), local.start(local_client(PAIRS))
    for number in (1, 2):
        settings = {"round": number, "batch_size": 2}  # most batches reach only some of the tasks
        received = jittered(local_client(PAIRS).initial_state(), seed=number, scale=0.1)
        update, mine = method.local_round(local_client(PAIRS, **settings), received, mine)
        _, theirs = local.local_round(local_client(PAIRS, **settings), ComponentState(), theirs)
        sent, _ = fedavg.local_round(local_client(PAIRS, **settings), received, ClientState())
        assert mine.models["personal"].equal(theirs.models["personal"])
        assert update.components.equal(sent.components)
        assert (update.losses, update.counts) == (sent.losses, sent.counts)
    done, alone = (m.personalise(final_client(), received, s) for m, s in ((method, mine), (local, theirs)))
    assert done.models["personal"].equal(alone.models["personal"])


def test_the_pull_is_towards_what_was_received_not_towards_what_is_sent() -> None:
    client, other = local_client(PAIRS), local_client(PAIRS)
    received, personal = states(client)
    update, state = ditto(lam=0.7).local_round(client, received, trained(personal))
    expected = other.train(personal, 2, "federated", terms=[Proximal(received, 0.7)])
    assert state.models["personal"].equal(expected.state)
    assert update.personal_losses == expected.losses
    towards_sent = other.train(personal, 2, "federated", terms=[Proximal(update.components, 0.7)])
    assert not state.models["personal"].equal(towards_sent.state)
    assert update.components.equal(other.train(received, 2, "federated").state)  # the sent one feels no pull


def test_the_personal_model_is_kept_and_never_sent() -> None:
    client = local_client(PAIRS)
    received, personal = states(client)
    updates = [ditto().local_round(local_client(PAIRS), received, trained(p))[0] for p in (personal, received)]
    assert updates[0].components.equal(updates[1].components)  # nothing in what is sent depends on it
    assert not updates[0].vectors
    _, state = ditto().local_round(client, received, trained(personal))
    assert state.models.keys() == {"personal"}
    assert not any(
        (tensor == updates[0].components[key][name]).all() for key, name, tensor in state.models["personal"].tensors()
    )


@pytest.mark.parametrize(("compute", "steps", "taken"), [("equal", 5, 5), ("equal", 4, 4), ("paper", 5, 10)])
def test_both_models_share_the_steps_unless_the_papers_compute_is_asked_for(
    compute: str, steps: int, taken: int
) -> None:
    client = local_client(PAIRS, local_steps=steps)
    ditto(compute=compute).local_round(
        client, *(state if i == 0 else trained(state) for i, state in enumerate(states(client)))
    )
    assert client.steps_taken == taken


def test_the_finish_is_pulled_towards_the_finished_slice() -> None:
    client = final_client()
    received, personal = states(client)
    done = ditto(lam=0.7).personalise(client, received, trained(personal))
    assert client.steps_taken == 6
    expected = final_client().finetune(personal, 6, "finish", terms=[Proximal(received, 0.7)])
    assert done.models["personal"].equal(expected.state)
    assert done.facts == {"trained": True, "finetune_steps_kept": expected.kept_steps}
    models = ditto().models(received, done)
    assert models["federated"].equal(received)
    assert models["personal"].equal(expected.state)


def test_a_newcomer_finishes_from_the_slice_as_fine_tuning_does() -> None:
    client = final_client()
    received, _ = states(client)
    newcomer = ditto().start(client)
    assert newcomer.models["personal"].equal(client.initial_state())
    done = ditto(lam=0.7).personalise(client, received, newcomer)
    expected = final_client().finetune(received, 6, "finish", terms=[Proximal(received, 0.7)])
    assert done.models["personal"].equal(expected.state)
    tuned = make({}, "fedavg_ft").personalise(final_client(), received, ClientState())
    unpulled = ditto(lam=0).personalise(final_client(), received, newcomer)
    assert unpulled.models["personal"].equal(tuned.models["finetuned"])


def test_a_personal_model_that_never_got_a_step_counts_as_a_newcomers() -> None:
    client = local_client(PAIRS, local_steps=1)
    received, _ = states(client)
    method = ditto()
    _, state = method.local_round(client, received, method.start(client))
    assert state.models["personal"].equal(client.initial_state())
    done = method.personalise(final_client(), received, state)
    assert done.models["personal"].equal(
        method.personalise(final_client(), received, method.start(client)).models["personal"]
    )


@pytest.mark.parametrize("lam", [-1, float("inf")])
def test_a_pull_must_be_a_number_from_zero(lam: float) -> None:
    with pytest.raises(UserError, match="method 'ditto': 'lam'"):
        ditto(lam=lam)
