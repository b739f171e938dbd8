"""Adoption by part: each candidate is tried on validation and scored on all tasks, and the best is taken."""

from functools import cache

import pytest

from fedtap.algorithms.base import ByTask, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.parts import PARTS, replace_parts
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from tiny import DIGITS, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD)
TRAINING = {"finetune_steps": 4, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01, "warmup_rounds": 1}


@cache
def learned() -> ComponentState:
    client = local_client(PAIRS)
    return client.train(client.initial_state(), 30, "learn", rates=[0.02] * 30).state


def spoilt(*keys: ComponentKey) -> ComponentState:
    return learned().merge(jittered(learned().slice(keys), scale=3.0))


def head(task: str) -> ComponentKey:
    return ComponentKey("head", (task,))


def trunk_of(client: LocalClient, task: str) -> ComponentKey:
    """Return a component of a task's trunk that no other task uses."""
    return next(key for key in sorted(client.exclusive(task)) if key.kind == "expert")


def test_each_task_takes_the_part_that_the_others_have_better() -> None:
    client = local_client(PAIRS)
    for broken, expected in (
        ((head("digits"),), {"digits": "head", "mood": "nothing"}),
        ((trunk_of(client, "mood"),), {"digits": "nothing", "mood": "trunk"}),
        ((head("digits"), trunk_of(client, "digits")), {"digits": "path", "mood": "nothing"}),
        ((), {"digits": "nothing", "mood": "nothing"}),
    ):
        after, decisions = replace_parts(client, learned(), spoilt(*broken), scope=client.path)
        assert {d.task: d.rule for d in decisions} == {
            task: f"parts: {part}, best by trial on validation" for task, part in expected.items()
        }
        assert {d.outcome for d in decisions if expected[d.task] == "nothing"} <= {"kept"}
        assert after.equal(learned())


def test_the_best_of_all_candidates_is_taken_by_hand() -> None:
    """One after another in the client's order, each on top of those before; the mean ratio over both tasks decides."""
    client = local_client(PAIRS)
    for seed in range(4):
        mine, theirs = (jittered(learned(), seed=seed + shift, scale=0.2) for shift in (0, 50))
        before = client.mean_losses(mine)

        def score(model: ComponentState, before: dict[str, float] = before) -> float:
            losses = client.mean_losses(model)
            return sum(losses[task] / before[task] for task in losses) / 2

        model = mine
        for task in ("digits", "mood"):
            path = client.path(task)
            heads = {key for key in path if key.kind == "head"}
            taken = (frozenset(), heads, path - heads, path)
            model = min((model.merge(theirs.slice(keys)) for keys in taken), key=score)
        after, decisions = replace_parts(client, theirs, mine, scope=client.path)
        assert after.equal(model)
        assert score(after) <= 1.0
        assert [(d.kind, d.personal_loss) for d in decisions] == [("replace", before[task]) for task in client.tasks]


@pytest.mark.parametrize("part", PARTS)
def test_a_round_by_parts_trains_what_was_taken(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step, which is the federated model's, X is after the round what was taken; with nothing it is local's."""
    client = local_client((DIGITS,), local_steps=1)
    received, mine = jittered(client.initial_state(), seed=1), jittered(client.initial_state(), seed=2)
    keep = {"nothing": set(), "path": client.path("digits"), "head": {head("digits")}}
    keep["trunk"] = client.path("digits") - keep["head"]
    update, _ = make({"name": "fedavg"}).local_round(client, received, ClientState())
    theirs, wanted = update.components, mine.merge(update.components.slice(keep[part]))

    def judged(self: LocalClient, state: ComponentState, **_: object) -> dict[str, float]:
        return {"digits": 0.5 if state.equal(wanted) else 1.0}

    monkeypatch.setattr(LocalClient, "judged", judged)
    state = ClientState({"personal": mine}, {"took_part": True})
    again, after = make({"name": "tap", "adopt": "parts"}).local_round(
        local_client((DIGITS,), local_steps=1), received, state
    )
    assert after.models["personal"].equal(wanted)
    assert again.components.equal(theirs)
    (decision,) = again.decisions
    assert decision.rule.startswith(f"parts: {part}, ")
    assert decision.outcome == {"nothing": "kept", "path": "replaced"}.get(part, "mixed")


def test_parts_are_adopted_hard_and_nothing_else() -> None:
    with pytest.raises(UserError, match="adopt=parts is a hard replacement; set replace=hard, not soft"):
        make({"name": "tap", "adopt": "parts", "replace": "soft"})


@pytest.mark.parametrize("distil", [True, False])
def test_with_choose_each_task_uses_the_best_of_slice_teacher_and_personal_model(distil: bool) -> None:
    client = local_client(PAIRS, training=TRAINING)
    received = spoilt(head("mood"))
    state = ClientState({"personal": spoilt(head("digits"))}, {"took_part": True})
    method = make({"name": "tap", "choose": True, "distil": distil})
    done = method.personalise(client, received, state)
    models = method.models(received, done)
    assert set(models) == method.model_names == {"federated", "finetuned", "personal", "chosen"}
    assert method.deployed == "chosen"
    losses = {name: client.mean_losses(model) for name, model in models.items() if isinstance(model, ComponentState)}
    best = {task: min(losses, key=lambda name, task=task: losses[name][task]) for task in client.tasks}
    assert models["chosen"] == ByTask(best)
    assert client.steps_taken == 4  # no more than without the choice
    plain = make({"name": "tap", "distil": distil})
    assert (plain.deployed, plain.model_names) == ("personal", {"federated", "finetuned", "personal"})
    assert "chosen" not in plain.models(
        received, plain.personalise(local_client(PAIRS, training=TRAINING), received, state)
    )
