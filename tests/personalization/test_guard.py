"""What distillation changed is kept only where no task is worse on validation."""

from functools import cache
from typing import ClassVar, cast

import torch

from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.personalization.guard import guard
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)


@cache
def prepared() -> tuple[LocalClient, ComponentState]:
    """Return a client and a model that has learned all its tasks."""
    client = local_client(PAIRS)
    return client, client.train(client.initial_state(), 40, "learn", rates=[0.02] * 40).state


def spoilt(state: ComponentState, *tasks: str) -> ComponentState:
    """Return a state with the heads of these tasks thrown off."""
    heads = [ComponentKey("head", (task,)) for task in tasks]
    return state.merge(jittered(state.slice(heads), scale=3.0))


def test_a_model_that_is_better_everywhere_is_kept_whole() -> None:
    client, good = prepared()
    before = spoilt(good, "digits", "mood", "law")
    kept, decisions = guard(client, before=before, after=good)
    assert kept.equal(good)
    assert [(d.task, d.kind, d.outcome) for d in decisions] == [(task, "distil", "kept") for task in client.tasks]
    reached, was = client.mean_losses(good), client.mean_losses(before)
    assert [(d.federated_loss, d.personal_loss) for d in decisions] == [
        (reached[task], was[task]) for task in client.tasks
    ]


def test_a_model_that_is_worse_everywhere_is_not_kept() -> None:
    client, good = prepared()
    kept, decisions = guard(client, before=good, after=spoilt(good, "digits", "mood", "law"))
    assert kept.equal(good)
    assert {decision.outcome for decision in decisions} == {"reverted"}


def test_one_path_is_reverted_and_the_others_are_kept() -> None:
    client, good = prepared()
    before = spoilt(good, "digits", "law")
    after = spoilt(good, "mood")
    kept, decisions = guard(client, before=before, after=after)
    assert {decision.task: decision.outcome for decision in decisions} == {
        "digits": "kept",
        "mood": "reverted",
        "law": "kept",
    }
    assert kept.equal(good)
    now, was = client.mean_losses(kept), client.mean_losses(before)
    assert all(now[task] <= was[task] for task in client.tasks)
    assert now["digits"] < was["digits"]


def test_a_path_that_helps_its_own_task_and_harms_another_is_reverted() -> None:
    """Tasks share components: each trial is judged on all of them."""
    client, good = prepared()
    shared = ComponentKey("shared")
    before = spoilt(good, "digits")
    after = good.merge(jittered(good.slice([shared]), scale=2.0))
    after = after.merge(client.train(after, 40, "repair", rates=[0.02] * 40).state.slice(client.exclusive("digits")))
    losses, was = client.mean_losses(before.merge(after.slice(client.path("digits")))), client.mean_losses(before)
    assert losses["digits"] < was["digits"]
    assert losses["mood"] > was["mood"]
    kept, decisions = guard(client, before=before, after=after)
    assert decisions[0].outcome == "reverted"
    assert "a task would be worse" in decisions[0].rule
    assert kept.slice([shared]).equal(good.slice([shared]))
    now = client.mean_losses(kept)
    assert all(now[task] <= was[task] for task in client.tasks)


def test_a_model_that_changes_nothing_is_kept() -> None:
    client, good = prepared()
    kept, decisions = guard(client, before=good, after=good.clone())
    assert kept.equal(good)
    assert {decision.outcome for decision in decisions} == {"kept"}
    assert all(torch.isfinite(torch.tensor(decision.federated_loss)) for decision in decisions)


class Scripted:
    """A client of three tasks, each with one component; losses are looked up by which components are the distilled ones."""

    tasks = ("a", "b", "c")
    on_validation = "on validation"
    losses: ClassVar[dict[str, dict[str, float]]] = {
        "": {"a": 1.0, "b": 1.0, "c": 1.0},
        "abc": {"a": 1.0, "b": 1.0, "c": 2.0},
        "a": {"a": 0.5, "b": 0.5, "c": 1.0},
        "ab": {"a": 0.8, "b": 0.8, "c": 1.0},  # better than at first, worse than with a alone
        "ac": {"a": 0.5, "b": 0.5, "c": 2.0},
    }

    def path(self, task: str) -> frozenset[ComponentKey]:
        return frozenset([ComponentKey("head", (task,))])

    def judged(self, state: ComponentState) -> dict[str, float]:
        return self.losses["".join(key.names[0] for key in sorted(state) if state[key]["w"] == 1)]


def test_a_path_is_judged_by_what_the_accepted_ones_before_it_reached() -> None:
    before, after = (
        ComponentState({ComponentKey("head", (task,)): {"w": torch.tensor(value)} for task in "abc"})
        for value in (0.0, 1.0)
    )
    kept, decisions = guard(cast("LocalClient", Scripted()), before=before, after=after)
    assert [decision.outcome for decision in decisions] == ["kept", "reverted", "reverted"]
    assert kept.equal(before.merge(after.slice([ComponentKey("head", ("a",))])))
