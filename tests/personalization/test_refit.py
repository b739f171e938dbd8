"""Heads refitted in closed form: which change, by what, and when they stay as they are."""

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.refit import STRENGTHS, refit_heads
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, REDRAW_DIGITS, jittered, local_client

HEAD = ComponentKey("head", (REDRAW_DIGITS.head,))


def model(client: LocalClient) -> ComponentState:
    return jittered(client.initial_state(), seed=1, scale=0.05)


def test_only_picture_heads_change_and_no_step_is_taken() -> None:
    client = local_client((DIGITS, MOOD, LAW, REDRAW_DIGITS))
    before = model(client)
    after, decisions = refit_heads(client, before)
    changed = {(key, name) for key, name, tensor in after.tensors() if not torch.equal(tensor, before[key][name])}
    assert changed == {(HEAD, "sketch.weight"), (HEAD, "canvas")}
    assert [(made.task, made.kind, made.outcome) for made in decisions] == [(REDRAW_DIGITS.task, "distil", "kept")]
    assert client.steps_taken == 0


def test_the_pull_is_the_one_that_is_best_on_validation() -> None:
    client = local_client((REDRAW_DIGITS,))
    before = model(client)
    trials = list(client.refitted(before, REDRAW_DIGITS.head, STRENGTHS))
    losses = [client.mean_losses(trial)[REDRAW_DIGITS.task] for trial in trials]
    after, (decision,) = refit_heads(client, before)
    assert after.equal(trials[losses.index(min(losses))])
    assert (
        decision.federated_loss
        == min(losses)
        < client.mean_losses(before)[REDRAW_DIGITS.task]
        == decision.personal_loss
    )
    assert decision.rule == f"refit: pull {STRENGTHS[losses.index(min(losses))]:g}, chosen on validation"


def test_the_weaker_the_pull_the_better_the_training_examples_fit() -> None:
    client = local_client((REDRAW_DIGITS,))
    before = model(client)
    trials = client.refitted(before, REDRAW_DIGITS.head, STRENGTHS)
    losses = [client.mean_losses(state, "train")[REDRAW_DIGITS.task] for state in (before, *trials)]
    assert losses == sorted(losses, reverse=True)


def test_a_head_that_is_at_its_best_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    client = local_client((REDRAW_DIGITS, MOOD))
    before = model(client)
    monkeypatch.setattr(LocalClient, "refitted", lambda self, state, head, strengths: iter([state] * len(strengths)))
    after, decisions = refit_heads(client, before)
    assert after is before
    assert {made.outcome for made in decisions} == {"reverted"}


def test_heads_without_a_closed_form_give_nothing() -> None:
    client = local_client((DIGITS, MOOD, LAW))
    before = model(client)
    after, decisions = refit_heads(client, before)
    assert after.equal(before)
    assert decisions == []


@pytest.mark.parametrize(
    ("method", "deployed"),
    [({"name": "tap"}, "personal"), ({"name": "fedavg_ft"}, "finetuned"), ({"name": "disentafl_ft"}, "finetuned")],
)
def test_it_ends_what_a_method_does(method: dict[str, object], deployed: str) -> None:
    pairs = (DIGITS, REDRAW_DIGITS)

    def end(refit: bool) -> tuple[LocalClient, ClientState]:
        client = local_client(pairs, round=3, training={"finetune_steps": 4, "select_every": 1})
        algorithm = make({**method, "refit": refit})
        return client, algorithm.personalise(client, model(client), algorithm.start(client))

    (client, without), (_, with_it) = end(False), end(True)
    expected, decisions = refit_heads(client, without.models[deployed])
    assert with_it.models[deployed].equal(expected)
    assert list(with_it.decisions) == [*without.decisions, *decisions]
    assert decisions
