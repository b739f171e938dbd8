"""Where local training starts: the better head of two, task by task, by hand; and TAP that starts so."""

from pathlib import Path

import pytest

import fedtap as package
from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey, Pair
from fedtap.personalization.start import chosen_start
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from tiny import DIGITS, LAW, MOOD, build_network, jittered, local_client
from tiny_federation import write_scenario

PAIRS = (DIGITS, MOOD, LAW)
TRAINING = {"finetune_steps": 4, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01, "warmup_rounds": 1}
ADAPTIVE = {"name": "tap", "start": "chosen", "personal": "shared", "distil": "off"}


def head(task: str) -> ComponentKey:
    return ComponentKey("head", (task,))


def client(**settings: object) -> LocalClient:
    return local_client(PAIRS, training=TRAINING, **settings)


def two_models(at_work: LocalClient, spoilt: str) -> tuple[ComponentState, ComponentState]:
    """Return a received and a personal model: of one task the received head is useless, of the others the own."""
    good = at_work.train(at_work.initial_state(), 20, "learn", rates=[0.02] * 20).state
    broken = jittered(good, seed=3, scale=3.0)
    keys = {True: [head(spoilt)], False: [head(task) for task in at_work.tasks if task != spoilt]}
    return good.merge(broken.slice(keys[True])), jittered(good, scale=0.01).merge(broken.slice(keys[False]))


@pytest.mark.parametrize("spoilt", ["digits", "law"])
def test_each_task_starts_under_the_head_that_is_better_there(spoilt: str) -> None:
    at_work = client()
    received, personal = two_models(at_work, spoilt)
    start, decisions = chosen_start(at_work, received, personal)
    assert start.equal(received.merge(personal.slice([head(spoilt)])))
    own = received.merge(personal.slice([head(task) for task in at_work.tasks]))
    theirs, mine = at_work.mean_losses(received), at_work.mean_losses(own)
    for decision in decisions:
        kept = decision.task == spoilt
        assert (mine[decision.task] < theirs[decision.task]) == kept
        assert decision.outcome == ("kept" if kept else "replaced")
        assert decision.rule == f"start: {'own' if kept else 'received'} head, the better on validation"
        assert (decision.federated_loss, decision.personal_loss) == (theirs[decision.task], mine[decision.task])
    assert at_work.steps_taken == 20  # no step of its own


def test_the_own_head_has_to_be_better_by_the_margin() -> None:
    at_work = client()
    personal = at_work.train(at_work.initial_state(), 20, "learn", rates=[0.02] * 20).state
    received = personal.merge(jittered(personal, seed=3, scale=0.3).slice([head("digits")]))
    theirs, mine = at_work.mean_losses(received), at_work.mean_losses(personal)
    gained = 1 - mine["digits"] / theirs["digits"]
    assert 0.05 < gained < 0.95
    for margin, head_of in ((gained - 0.01, personal), (gained + 0.01, received)):
        start, decisions = chosen_start(at_work, received, personal, margin=margin)
        assert start.equal(received.merge(head_of.slice([head("digits")])))
        (digits,) = [decision for decision in decisions if decision.task == "digits"]
        assert digits.rule.endswith(f"head, the better by {margin:.0%} on validation")


def test_of_equals_the_received_head_is_taken() -> None:
    at_work = client()
    state = jittered(at_work.initial_state(), scale=0.1)
    start, decisions = chosen_start(at_work, state, state)
    assert start is state
    assert {decision.outcome for decision in decisions} == {"replaced"}


def test_tasks_that_share_a_head_are_asked_together() -> None:
    twins = tuple(Pair(name, "classification", "text", name, head="both") for name in ("left", "right"))
    at_work = local_client(twins, network=build_network(twins), training=TRAINING)
    received = jittered(at_work.initial_state(), scale=0.1)
    personal = jittered(received, seed=1, scale=0.5)
    start, decisions = chosen_start(at_work, received, personal)
    own = received.merge(personal.slice([head("both")]))
    theirs, mine = at_work.mean_losses(received), at_work.mean_losses(own)
    better = sum(mine[task] / theirs[task] for task in at_work.tasks) / 2 < 1
    assert start.equal(own if better else received)
    assert len({decision.outcome for decision in decisions}) == 1


def test_tap_trains_and_sends_what_it_started_from_and_the_end_starts_alike() -> None:
    method, at_work, other = make(ADAPTIVE), client(), client()
    received, personal = two_models(at_work, "mood")
    state = ClientState({"personal": personal}, {**method.start(at_work).facts, "took_part": True})
    update, _ = method.local_round(at_work, received, state)
    start = received.merge(personal.slice([head("mood")]))
    assert update.components.equal(other.train(start, 4, "federated").state)
    assert {d.task for d in update.decisions if "start: own head" in d.rule} == {"mood"}
    done = method.personalise(at_work, received, state)
    assert done.models["personal"].equal(client().finetune(start, 4, "finish").state)
    teacher = make({**ADAPTIVE, "distil": "on", "compute": "paper"}).personalise(client(), received, state)
    assert teacher.models["finetuned"].equal(client().finetune(start, 4, "finish").state)


def test_who_never_took_part_has_no_head_of_its_own_to_start_from() -> None:
    method, at_work = make(ADAPTIVE), client()
    received = jittered(at_work.initial_state(), scale=0.05)
    update, _ = method.local_round(at_work, received, method.start(at_work))
    assert update.components.equal(client().train(received, 4, "federated").state)
    assert not any("start:" in decision.rule for decision in update.decisions)


def test_it_does_not_go_with_private_training() -> None:
    method, at_work = make(ADAPTIVE), client(privacy={"local": {"clip": 0.5, "noise": 1.0}, "noise_source": "seeded"})
    with pytest.raises(UserError, match=r"method.start=chosen .* set start=received"):
        method.local_round(at_work, at_work.initial_state(), method.start(at_work))


def test_a_whole_run_says_what_each_task_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
    given = [f"method.{key}={value}" for key, value in ADAPTIVE.items() if key != "name"]
    out = tmp_path / "run"
    package.run(write_scenario(tmp_path), method="tap", out=out, overrides=given)
    log = (out / "events.jsonl").read_text(encoding="utf-8")
    assert "start: own head, the better on validation" in log or "start: received head, the better on validation" in log
    assert '"failed"' not in log
