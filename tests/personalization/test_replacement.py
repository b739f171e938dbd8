"""Hard and soft replacement, and the ways of TAP that are built on them."""

import math
from functools import cache

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState, towards
from fedtap.personalization.replacement import FACTORS, replace_hard, replace_soft
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)


@cache
def learned() -> ComponentState:
    """Return a model that has learned all tasks."""
    client = local_client(PAIRS)
    return client.train(client.initial_state(), 40, "learn", rates=[0.02] * 40).state


def spoilt(*tasks: str) -> ComponentState:
    """Return the learned model with the heads of these tasks thrown off."""
    heads = [ComponentKey("head", (task,)) for task in tasks]
    return learned().merge(jittered(learned().slice(heads), scale=3.0))


def relative(client: LocalClient, state: ComponentState, base: ComponentState) -> float:
    losses, before = client.mean_losses(state), client.mean_losses(base)
    return sum(losses[task] / before[task] for task in before) / len(before)


def test_soft_replacement_takes_all_of_what_is_better_and_none_of_what_is_worse() -> None:
    client = local_client(PAIRS)
    mine, theirs = spoilt("digits"), spoilt("law")
    after, decisions = replace_soft(client, theirs, mine, scope=client.exclusive)
    assert {d.task: d.outcome for d in decisions} == {"digits": "replaced", "mood": "kept", "law": "kept"}
    assert after.equal(learned())
    losses = client.mean_losses(mine)
    assert all(d.personal_loss == pytest.approx(losses[d.task]) for d in decisions)


def test_soft_replacement_finds_the_best_of_its_factors_by_hand() -> None:
    client = local_client((MOOD,))
    head = ComponentKey("head", ("mood",))
    mine = learned().slice(client.plan)
    noise = jittered(mine.slice([head]), scale=1.0)
    # mine lies on one side of the good head, theirs on the other: the best is between
    far = mine.merge(towards(mine.slice([head]), noise, -1.0))
    near = mine.merge(towards(mine.slice([head]), noise, 1.0))
    scores = {a: relative(client, towards(far, near, {head: a}), far) for a in (0.0, *FACTORS)}
    best = min(scores, key=lambda a: scores[a])
    assert 0 < best < 1
    after, (decision,) = replace_soft(client, near, far, scope=lambda task: frozenset([head]))
    assert decision.outcome == "mixed"
    assert decision.rule.startswith(f"soft: {best:g} of the way")
    assert after.equal(towards(far, near, {head: best}))


def test_soft_replacement_never_leaves_validation_worse() -> None:
    client = local_client(PAIRS)
    for seed in range(3):
        mine, theirs = (jittered(learned(), seed=seed + shift, scale=0.3) for shift in (0, 100))
        after, _ = replace_soft(client, theirs, mine, scope=client.path)
        assert relative(client, after, mine) <= 1.0


def test_without_losses_of_training_the_margin_is_taken_on_validation() -> None:
    client = local_client(PAIRS)
    mine, theirs = spoilt("digits"), learned()
    gap = client.mean_losses(mine)["digits"] - client.mean_losses(theirs)["digits"]
    for margin, outcome in ((0.9 * gap, "replaced"), (1.1 * gap, "kept")):
        _, decisions = replace_hard(
            client,
            theirs,
            mine,
            gate="margin",
            margins=dict.fromkeys(client.tasks, margin),
            alpha=0.1,
            scope=client.exclusive,
            history=None,
        )
        assert {d.task: d.outcome for d in decisions} == {"digits": outcome, "mood": "kept", "law": "kept"}


def took_part(personal: ComponentState) -> ClientState:
    return ClientState({"personal": personal}, {"personal_losses": {}, "took_part": True})


@pytest.mark.parametrize("replace", ["hard", "soft"])
def test_a_shared_personal_model_takes_no_steps_and_leaves_them_all_to_the_federated_one(replace: str) -> None:
    method = make({"name": "tap", "personal": "shared", "replace": replace, "scope": "exclusive", "margin": 0.0})
    client = local_client(PAIRS, local_steps=4)
    received, mine = spoilt("law"), spoilt("digits")
    update, state = method.local_round(client, received, took_part(mine))
    assert client.steps_taken == 4
    assert update.components.equal(local_client(PAIRS).train(received, 4, "federated").state)
    assert update.personal_losses == {}
    expected_client = local_client(PAIRS)
    if replace == "soft":
        expected, _ = replace_soft(expected_client, update.components, mine, scope=expected_client.exclusive)
    else:
        theirs, own = (expected_client.mean_losses(s) for s in (update.components, mine))
        expected = mine
        for task in client.tasks:
            if theirs[task] < own[task]:
                expected = expected.merge(update.components.slice(expected_client.exclusive(task)))
    assert state.models["personal"].equal(expected)
    assert not expected.equal(mine)


def test_a_shared_personal_model_starts_where_the_first_participation_ends() -> None:
    method = make({"name": "tap", "personal": "shared"})
    client = local_client(PAIRS, local_steps=2)
    update, state = method.local_round(client, learned(), method.start(client))
    assert state.models["personal"].equal(update.components)
    assert {d.rule for d in update.decisions} == {"first participation"}


def test_a_late_personal_model_follows_the_federated_one_until_its_round() -> None:
    method = make({"name": "tap", "personal_from": 3})
    mine = spoilt("digits")
    early = local_client(PAIRS, local_steps=4, round=2)
    update, state = method.local_round(early, learned(), took_part(mine))
    assert early.steps_taken == 4
    assert state.models["personal"].equal(update.components)
    assert {d.rule for d in update.decisions} == {"follows until round 3"}
    late = local_client(PAIRS, local_steps=4, round=3)
    update, state = method.local_round(late, learned(), took_part(mine))
    assert update.components.equal(local_client(PAIRS, round=3).train(learned(), 2, "federated").state)
    assert not state.models["personal"].equal(update.components)


def test_mixing_brings_the_teacher_in_before_the_finish() -> None:
    settings = {"finetune_steps": 4, "finetune_lr": 1e-9, "select_every": 1}
    method = make({"name": "tap", "mix": "start", "distil": False, "scope": "exclusive"})
    client = local_client(PAIRS, round=5, training=settings)
    mine, received = spoilt("digits"), spoilt("law")
    state = method.personalise(client, received, took_part(mine))
    losses, good = client.mean_losses(state.models["personal"]), client.mean_losses(learned())
    assert all(math.isclose(losses[task], good[task], rel_tol=1e-3) for task in losses)
    assert {d.task for d in state.decisions if d.outcome == "replaced"} == {"digits"}


def test_mixing_at_the_end_keeps_what_is_better_of_the_personal_model() -> None:
    settings = {"finetune_steps": 4, "finetune_lr": 1e-9, "select_every": 1}
    method = make({"name": "tap", "mix": "end", "distil": False, "scope": "exclusive"})
    client = local_client(PAIRS, round=5, training=settings)
    mine, received = spoilt("digits"), spoilt("law")
    state = method.personalise(client, received, took_part(mine))
    assert client.steps_taken == 4  # all of them the fine-tuned slice's
    tuned = local_client(PAIRS, round=5, training=settings).finetune(received, 4, "finish").state
    assert state.models["finetuned"].equal(tuned)
    losses, good = client.mean_losses(state.models["personal"]), client.mean_losses(learned())
    assert all(math.isclose(losses[task], good[task], rel_tol=1e-3) for task in losses)
    kept = {d.task: (d.kind, d.outcome, d.federated_loss, d.personal_loss) for d in state.decisions}
    of_tuned, of_mine = client.mean_losses(tuned), client.mean_losses(mine)
    assert kept["law"] == ("distil", "kept", pytest.approx(of_tuned["law"]), pytest.approx(of_mine["law"]))
    assert kept["digits"][1] == "reverted"
    with pytest.raises(UserError, match="no student"):
        make({"name": "tap", "mix": "end"})


def test_an_average_is_the_mean_over_time_of_what_the_client_trained() -> None:
    method = make({"name": "tap", "personal": "shared", "replace": "average", "pace": 0.25})
    first, second = (local_client(PAIRS, local_steps=2, round=number) for number in (1, 2))
    update, state = method.local_round(first, learned(), method.start(first))
    assert state.models["personal"].equal(update.components)
    later, state = method.local_round(second, spoilt("mood"), state)
    for key, name, tensor in state.models["personal"].tensors():
        torch.testing.assert_close(tensor, 0.75 * update.components[key][name] + 0.25 * later.components[key][name])
    assert later.decisions == []
    assert second.steps_taken == 2


def test_a_shared_model_that_may_not_replace_is_refused() -> None:
    with pytest.raises(UserError, match="learns by replacement alone"):
        make({"name": "tap", "personal": "shared", "replace": False})


def test_on_and_off_are_hard_and_off() -> None:
    ways = [make({"name": "tap", "replace": value}).params.replace for value in (True, False, "soft")]  # type: ignore[attr-defined]
    assert ways == ["hard", "off", "soft"]
    mixes = [make({"name": "tap", "mix": value}).params.mix for value in (True, False)]  # type: ignore[attr-defined]
    assert mixes == ["start", "off"]


def adopted(client: LocalClient, theirs: ComponentState, mine: ComponentState, **more: object):  # type: ignore[no-untyped-def]
    given = {"gate": "validation", "margins": {}, "alpha": 0.1, "scope": client.path, "history": None, **more}
    return replace_hard(client, theirs, mine, **given)  # type: ignore[arg-type]


def test_the_gate_on_validation_lets_in_what_is_better_at_all_and_counts_its_verdicts() -> None:
    client = local_client(PAIRS)
    mine = spoilt("digits")
    after, decisions = adopted(client, learned(), mine, scope=client.exclusive, verdicts=4)
    assert {d.task: d.outcome for d in decisions} == {"digits": "replaced", "mood": "kept", "law": "kept"}
    assert after.equal(learned())
    assert [d.rule for d in decisions] == [f"validation: margin 0; verdict {n} on this split" for n in (5, 6, 7)]
    _, (paired, *_) = adopted(client, learned(), mine, gate="paired", verdicts=1)
    assert paired.rule.endswith("alpha = 0.1; verdict 2 on this split")


def test_a_guarded_adoption_leaves_no_task_worse_where_an_open_gate_alone_does() -> None:
    """What digits gains brings along a shared part that mood and law were not made for (Proposition 1 c and d)."""
    client = local_client(PAIRS)
    shared = ComponentKey("shared")
    mine = spoilt("digits")
    moved = learned().merge(jittered(learned().slice([shared]), scale=2.0))
    theirs = moved.merge(client.train(moved, 40, "repair", rates=[0.02] * 40).state.slice(client.exclusive("digits")))
    before = client.mean_losses(mine)
    loose, decisions = adopted(client, theirs, mine)
    assert decisions[0].outcome == "replaced"
    harmed = client.mean_losses(loose)
    assert any(harmed[task] > before[task] for task in ("mood", "law"))
    safe, decisions = adopted(client, theirs, mine, guarded=True)
    assert decisions[0].outcome == "kept"
    assert decisions[0].rule.endswith("; guard: a task would be worse on validation")
    now = client.mean_losses(safe)
    assert all(now[task] <= before[task] for task in client.tasks)
    gladly, decisions = adopted(client, learned(), spoilt("digits", "mood"), guarded=True)  # where nothing is worse
    assert {d.task: d.outcome for d in decisions} == {"digits": "replaced", "mood": "replaced", "law": "kept"}
    assert gladly.equal(learned())
    assert decisions[0].rule.endswith("; guard: no task is worse on validation")


def test_tap_takes_the_gate_the_guard_and_remembers_its_verdicts() -> None:
    method = make({"name": "tap", "gate": "validation", "guard_adoption": True})
    client = local_client(PAIRS)
    received = learned().slice(client.plan)
    state, rules = method.start(client), []
    for _ in range(3):
        update, state = method.local_round(client, received, state)
        rules.append([d.rule for d in update.decisions])
    taken = [rule for each in rules[1:] for rule in each]  # none in the first round, which adopts what it is sent
    assert state.facts["verdicts"] == sum(1 + ("guard:" in rule) for rule in taken)  # the guard asks once more
    assert "verdict 1 on" in taken[0]
    first = sum(1 + ("guard:" in rule) for rule in rules[1])
    assert f"verdict {first + 1} on" in rules[2][0]
    assert "verdicts" not in make({"name": "tap"}).local_round(client, received, method.start(client))[1].facts
    with pytest.raises(UserError, match="guard_adoption judges what is adopted whole"):
        make({"name": "tap", "guard_adoption": True, "replace": "soft"})
