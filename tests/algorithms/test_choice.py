"""The control: two models that are local's and fedavg_ft's to the bit, half the steps each, and for each task the better."""

import pytest

from fedtap.algorithms.base import ByTask, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.personalization.choice import choose_by_task
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
TRAINING = {"finetune_steps": 4, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01}


def client_in(round_number: int, steps: int) -> LocalClient:
    training = {**TRAINING, "finetune_steps": steps}
    return local_client(PAIRS, round=round_number, local_steps=steps, training=training)


def end_of(method: str, steps: int, *, rounds: int = 2, **params: object) -> tuple[ClientState, int]:
    """Return a client's state after the last round, and the steps that it took; what it is sent depends on nothing."""
    algorithm, state, taken = make({"name": method, **params}), None, 0
    for number in range(1, rounds + 1):
        client = client_in(number, steps)
        received = jittered(client.initial_state(), seed=number, scale=0.05)
        _, state = algorithm.local_round(client, received, state or algorithm.start(client))
        taken += client.steps_taken
    last = client_in(3, steps)
    received = jittered(last.initial_state(), seed=3, scale=0.05)
    state = algorithm.personalise(last, received, state or algorithm.start(last))
    return state, taken + last.steps_taken


@pytest.mark.parametrize(("compute", "steps", "alone"), [("paper", 4, 4), ("equal", 8, 4)])
def test_its_models_are_those_of_local_and_of_fedavg_with_fine_tuning(compute: str, steps: int, alone: int) -> None:
    state, taken = end_of("choice", steps, compute=compute)
    personal, _ = end_of("local", alone)
    finetuned, _ = end_of("fedavg_ft", alone)
    assert state.models["personal"].equal(personal.models["personal"])
    assert state.models["finetuned"].equal(finetuned.models["finetuned"])
    assert taken == 3 * 2 * alone


def test_what_is_sent_is_the_federated_model_alone() -> None:
    method, client = make({"name": "choice"}), client_in(2, 4)
    received = jittered(client.initial_state(), seed=1, scale=0.05)
    update, state = method.local_round(client, received, method.start(client))
    assert update.components.equal(client_in(2, 4).train(received, 2, "federated").state)
    assert state.models["personal"].equal(client_in(2, 4).train(client.initial_state(), 2, "federated").state)
    assert client.steps_taken == 4
    single = client_in(2, 1)
    _, untrained = method.local_round(single, received, method.start(single))
    assert untrained.facts == {"trained": False}


def test_each_task_uses_the_model_that_is_better_on_validation() -> None:
    client = local_client(PAIRS)
    good = client.train(client.initial_state(), 40, "learn", rates=[0.02] * 40).state

    def spoilt(*tasks: str) -> ComponentState:
        heads = [ComponentKey("head", (task,)) for task in tasks]
        return good.merge(jittered(good.slice(heads), scale=3.0))

    mine, theirs = spoilt("digits"), spoilt("mood")
    chosen, decisions = choose_by_task(client, {"finetuned": theirs, "personal": mine})
    assert chosen == {"digits": "finetuned", "mood": "personal", "law": "finetuned"}  # of equals the first
    losses = {name: client.mean_losses(model) for name, model in (("mine", mine), ("theirs", theirs))}
    for decision in decisions:
        assert decision.outcome == ("kept" if chosen[decision.task] == "personal" else "reverted")
        assert decision.personal_loss == losses["mine"][decision.task]
        assert decision.federated_loss == losses["theirs"][decision.task]
        assert decision.rule == f"choice: {chosen[decision.task]}, best of finetuned, personal on validation"


def test_the_choice_names_its_models_once_there_is_one() -> None:
    method = make({"name": "choice"})
    state, _ = end_of("choice", 4)
    received = ComponentState()
    models = method.models(received, state)
    assert models["chosen"] == ByTask(state.facts["chosen"])
    assert state.facts["chosen"].keys() == {"digits", "mood", "law"}
    assert set(models) == method.model_names
    assert "chosen" not in method.models(received, method.start(client_in(1, 4)))


@pytest.mark.parametrize(("compute", "share"), [("equal", 0.5), ("paper", 1.0)])
def test_a_newcomer_trains_alone_for_as_many_steps_as_a_participants_personal_model(compute: str, share: float) -> None:
    _, taken = end_of("choice", 4, rounds=0, compute=compute)
    alone = len(client_in(3, 4).alone_rates)
    assert taken == share * alone + 2 * share * 4
