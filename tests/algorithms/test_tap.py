"""TAP: what is replaced, what is trained, what is sent, and what the second stage makes of it."""

import math
from pathlib import Path

import pytest
import torch

from fedtap.algorithms.base import Algorithm, ClientState, Update
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.federation.store import ClientStore
from fedtap.pairs import ComponentKey, Pair
from fedtap.personalization.loss_history import LossHistory
from fedtap.training.client import LocalClient
from fedtap.training.terms import Teacher
from tiny import CONCEPTS, DIGITS, LAW, MEDICINE, MOOD, REDRAW_DIGITS, build_network, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
HISTORY = {"digits": 0.0, "mood": 0.0, "law": 0.0}
"""Losses that no federated model beats: nothing is replaced."""


def tap(**params: object):
    return make({"name": "tap", **params})


def states(client: LocalClient) -> tuple[ComponentState, ComponentState]:
    """Return a received slice and a personal model that differ everywhere."""
    return jittered(client.initial_state(), seed=1, scale=0.1), jittered(client.initial_state(), seed=2, scale=0.1)


def private(personal: ComponentState, **history: float) -> ClientState:
    return ClientState({"personal": personal}, {"personal_losses": {**HISTORY, **history}, "took_part": True})


def components_that_differ(left: ComponentState, right: ComponentState) -> set[ComponentKey]:
    return {key for key in left if not left.slice([key]).equal(right.slice([key]))}


# --- stage 1 -------------------------------------------------------------------------------------------------------------
# With one local step at equal compute the federated model takes it and the personal one takes none: what X is after the
# round is then what the replacement made of it, to the bit.


def test_the_first_participation_adopts_the_trained_slice() -> None:
    client = local_client(PAIRS, local_steps=1)
    method = tap()
    received, _ = states(client)
    update, state = method.local_round(client, received, method.start(client))
    assert state.models["personal"].equal(update.components)
    assert not update.components.equal(received)
    assert [(d.task, d.kind, d.outcome, d.personal_loss, d.rule) for d in update.decisions] == [
        (task, "replace", "replaced", None, "first participation") for task in client.tasks
    ]


def test_a_method_starts_at_the_common_start_with_no_history() -> None:
    client = local_client(PAIRS)
    state = tap().start(client)
    assert state.models["personal"].equal(client.initial_state())
    assert LossHistory.of(state.facts) == LossHistory()
    assert "took_part" not in state.facts


@pytest.mark.parametrize("scope", ["path", "exclusive"])
@pytest.mark.parametrize("replaced", [(), ("digits",), ("law",), ("mood", "law")])
def test_only_the_scope_of_the_replaced_tasks_changes(scope: str, replaced: tuple[str, ...]) -> None:
    client = local_client(PAIRS, local_steps=1)
    received, personal = states(client)
    update, state = tap(scope=scope).local_round(client, received, private(personal, **dict.fromkeys(replaced, 1e6)))
    after = state.models["personal"]
    reach = client.path if scope == "path" else client.exclusive
    expected = frozenset().union(*(reach(task) for task in replaced))
    assert components_that_differ(after, personal) == expected
    assert after.slice(expected).equal(update.components.slice(expected))
    assert {d.task for d in update.decisions if d.outcome == "replaced"} == set(replaced)
    assert {d.task for d in update.decisions} == set(client.tasks)


def test_replacing_an_image_task_leaves_the_text_components_alone() -> None:
    client = local_client((CONCEPTS, REDRAW_DIGITS), local_steps=1)
    received, personal = states(client)
    facts = {"personal_losses": {"concepts": 0.0, "redraw_digits": 1e6}, "took_part": True}
    history = ClientState({"personal": personal}, facts)
    _, state = tap().local_round(client, received, history)
    changed = components_that_differ(state.models["personal"], personal)
    assert changed == client.path("redraw_digits")
    assert not any({"text", "text_generation", "concepts"} & set(key.names) for key in changed)


def test_the_margin_decides_on_the_training_losses() -> None:
    client = local_client(PAIRS, local_steps=1)
    received, personal = states(client)
    loss = client.train(received, 1, "federated").losses
    history = {"digits": loss["digits"] + 0.3, "mood": loss["mood"] + 0.1, "law": loss["law"] - 0.1}
    for params, replaced in (
        ({"margin": 0.2}, {"digits"}),
        ({"margin": 0.05}, {"digits", "mood"}),
        ({"margin": 0.4}, set()),
        ({"margin": 0.2, "margins": {"text_classification": 0.05}}, {"digits", "mood"}),
        ({"margin": 0.05, "margins": {"image_classification": 5.0}}, {"mood"}),
    ):
        update, _ = tap(**params).local_round(
            local_client(PAIRS, local_steps=1), received, private(personal, **history)
        )
        assert {d.task for d in update.decisions if d.outcome == "replaced"} == replaced
        by_task = {d.task: d for d in update.decisions}
        assert by_task["mood"].federated_loss == loss["mood"]
        assert by_task["mood"].personal_loss == history["mood"]


def test_the_paired_gate_compares_both_models_on_the_same_validation_examples() -> None:
    client = local_client(PAIRS, local_steps=1)
    received, _ = states(client)
    trained = client.train(received, 1, "federated").state
    worse = trained.merge(jittered(trained.slice([ComponentKey("head", ("mood",))]), scale=5.0))
    # the history says the contrary of what validation says, and is not asked
    update, _ = tap(gate="paired").local_round(client, received, private(worse, digits=1e6, law=1e6))
    assert {d.task: d.outcome for d in update.decisions} == {"digits": "kept", "mood": "replaced", "law": "kept"}
    losses = client.mean_losses(worse)
    for decision in update.decisions:
        assert decision.personal_loss == pytest.approx(losses[decision.task])
        assert decision.rule.startswith("paired: p = ")


def test_history_is_the_personal_models_own_training_loss() -> None:
    client = local_client(PAIRS, local_steps=4)
    received, personal = states(client)
    update, state = tap().local_round(client, received, private(personal))
    alone = local_client(PAIRS).train(
        personal, 2, "federated"
    )  # nothing was replaced: the same draw as the federated model's
    assert state.models["personal"].equal(alone.state)
    assert state.facts["personal_losses"] == alone.losses
    assert (state.facts["took_part"], state.facts["adopted"]) == (True, [])
    assert update.personal_losses == alone.losses


def test_after_a_replacement_the_personal_model_trains_on_another_draw() -> None:
    client = local_client(PAIRS, local_steps=4)
    received, personal = states(client)
    update, state = tap().local_round(client, received, private(personal, mood=1e6))
    mixed = personal.merge(update.components.slice(client.path("mood")))
    other = local_client(PAIRS)
    assert state.models["personal"].equal(other.train(mixed, 2, "personal").state)
    assert not state.models["personal"].equal(other.train(mixed, 2, "federated").state)


def test_the_federated_model_is_sent_and_the_personal_one_is_not() -> None:
    client = local_client(PAIRS, local_steps=4)
    received, personal = states(client)
    for history in (private(personal), private(personal, digits=1e6, mood=1e6, law=1e6)):
        update, state = tap().local_round(client, received, history)
        assert update.components.equal(local_client(PAIRS).train(received, 2, "federated").state)
        assert frozenset(update.components) == client.plan
        assert update.counts == client.counts()
        mine = state.models["personal"]
        assert all(not torch.equal(tensor, mine[key][name]) for key, name, tensor in update.components.tensors())


@pytest.mark.parametrize(
    ("compute", "steps", "taken"), [("equal", 4, 4), ("equal", 5, 5), ("equal", 1, 1), ("paper", 4, 8), ("paper", 1, 2)]
)
def test_equal_compute_takes_the_steps_of_other_methods_and_the_papers_twice_as_many(
    compute: str, steps: int, taken: int
) -> None:
    client = local_client(PAIRS, local_steps=steps, training={"finetune_steps": steps})
    method = tap(compute=compute)
    received, personal = states(client)
    _, state = method.local_round(client, received, private(personal))
    assert client.steps_taken == taken
    client.steps_taken = 0
    method.personalise(client, received, state)
    assert client.steps_taken == taken


def test_without_replacement_the_personal_model_is_trained_alone() -> None:
    client = local_client(PAIRS, local_steps=4)
    method = tap(replace=False)
    received, _ = states(client)
    update, state = method.local_round(client, received, method.start(client))
    assert update.decisions == []
    alone = local_client(PAIRS)
    assert state.models["personal"].equal(alone.train(alone.initial_state(), 2, "federated").state)


# --- histories -----------------------------------------------------------------------------------------------------------
# Batches of two examples, of three tasks: in most rounds some task has no example.


def rounds(method: Algorithm, count: int = 12, **settings: object) -> list[tuple[Update, ClientState]]:
    """Return what a client sent and kept in each of some rounds, every one from another received slice."""
    network, done = build_network(PAIRS), []
    state = method.start(local_client(PAIRS, network=network))
    for number in range(1, count + 1):
        client = local_client(PAIRS, network=network, round=number, rounds=count, batch_size=2, **settings)
        update, state = method.local_round(client, jittered(client.initial_state(), seed=number, scale=0.1), state)
        done.append((update, state))
    return done


@pytest.mark.parametrize("local_steps", [1, 2, 3])
@pytest.mark.parametrize("compute", ["equal", "paper"])
def test_a_margin_that_nothing_passes_replaces_nothing_after_the_first_participation(
    local_steps: int, compute: str
) -> None:
    first, *later = rounds(tap(margin=1000, compute=compute), local_steps=local_steps)
    assert any(set(update.losses) < set(HISTORY) for update, _ in later), "every draw held every task"
    assert {d.outcome for d in first[0].decisions} == {"replaced"}
    assert {d.outcome for update, _ in later for d in update.decisions} == {"kept"}
    assert all(not d.rule.startswith("first") for update, _ in later for d in update.decisions)


@pytest.mark.parametrize("local_steps", [1, 2, 4])
def test_the_gate_goes_by_the_last_losses_that_there_were(local_steps: int) -> None:
    federated: dict[str, tuple[float, int]] = {}
    personal: dict[str, float] = {}
    seen = set()
    for number, (update, state) in enumerate(rounds(tap(margin=0.02), local_steps=local_steps), start=1):
        federated |= {task: (loss, number) for task, loss in update.losses.items()}
        for d in update.decisions:
            f, when = federated.get(d.task, (None, 0))
            p = personal.get(d.task)
            if number == 1:
                expected = ("replaced", "first participation")
            elif f is None or p is None:
                expected = ("kept", f"kept: no {'federated' if f is None else 'personal'} loss yet")
            else:
                old = "" if when == number else f", last known federated loss of round {when}"
                expected = ("replaced" if f + 0.02 < p else "kept", f"margin: 0.02{old}")
                assert (d.federated_loss, d.personal_loss) == (f, p)
            assert (d.outcome, d.rule.removesuffix(", personal loss of the model adopted")) == expected
            seen.add(expected)
            if f is not None and (d.outcome == "replaced" or p is None):
                personal[d.task] = f  # X is now what it adopted
        personal |= update.personal_losses
        assert state.facts["personal_losses"] == personal
        assert {
            t: (state.facts["federated_losses"][t], n) for t, n in state.facts["federated_rounds"].items()
        } == federated
    assert any("last known" in rule for _, rule in seen)
    assert {outcome for outcome, _ in seen} == {"kept", "replaced"}


def test_without_a_step_of_its_own_the_personal_model_is_the_best_federated_one_so_far() -> None:
    """It is not replaced in every round for ever, nor never again."""
    best: dict[str, float] = {}
    for number, (update, state) in enumerate(rounds(tap(margin=0.0), local_steps=1), start=1):
        assert update.personal_losses == {}
        for d in update.decisions:
            if number > 1 and d.task in best and d.task in update.losses:
                assert (d.outcome == "replaced") == (update.losses[d.task] < best[d.task])
        for task, loss in update.losses.items():
            best[task] = min(loss, best.get(task, loss))
        assert state.facts["personal_losses"] == best
        assert state.facts["adopted"] == sorted(best)


def test_a_task_that_had_no_example_is_not_decided_on_but_by_what_is_known() -> None:
    client = local_client(PAIRS, local_steps=2, batch_size=1)
    received, personal = states(client)
    known = {"federated_losses": {"digits": 0.5, "law": 0.5}, "federated_rounds": {"digits": 1, "law": 1}}
    facts = {**known, "personal_losses": {"digits": 9.0, "mood": 9.0, "law": 0.4}, "took_part": True, "apart": True}
    update, _ = tap().local_round(client, received, ClientState({"personal": personal}, facts))
    unseen = {d.task: d for d in update.decisions if d.task not in update.losses}
    assert unseen, "the draw held every task"
    says = {
        "digits": ("replaced", 0.5, "margin: 0.01, last known federated loss of round 1"),
        "mood": ("kept", None, "kept: no federated loss yet"),
        "law": ("kept", 0.5, "margin: 0.01, last known federated loss of round 1"),
    }
    assert {t: (d.outcome, d.federated_loss, d.rule) for t, d in unseen.items()} == {t: says[t] for t in unseen}


def test_the_paired_gate_needs_no_history() -> None:
    _, *later = rounds(tap(gate="paired"), 6, local_steps=1)
    assert all(d.rule.startswith("paired: p = ") for update, _ in later for d in update.decisions)
    assert all(d.federated_loss is not None for update, _ in later for d in update.decisions)


@pytest.mark.parametrize("local_steps", [1, 4])
@pytest.mark.parametrize("gate", ["margin", "paired"])
def test_a_late_personal_model_adopts_once_when_it_parts(local_steps: int, gate: str) -> None:
    method = tap(personal_from=3, margin=1000, alpha=1e-12, gate=gate)
    rules = [{d.rule for d in update.decisions} for update, _ in rounds(method, 6, local_steps=local_steps)]
    assert rules[:3] == [
        {"first participation"},
        {"follows until round 3"},
        {"first participation apart, from round 3"},
    ]
    assert all(rule.startswith(("margin", "paired", "kept")) for later in rules[3:] for rule in later)


@pytest.mark.parametrize(
    "way", [{"replace": "soft"}, {"replace": "average"}, {"personal": "shared"}, {"replace": "off"}]
)
def test_other_ways_have_at_most_one_first_participation(way: dict[str, str]) -> None:
    first, *later = rounds(tap(**way), 5, local_steps=2)
    assert {d.rule for d in first[0].decisions} == (set() if way == {"replace": "off"} else {"first participation"})
    assert all(not d.rule.startswith("first") for update, _ in later for d in update.decisions)


def test_a_state_stored_without_histories_goes_on(tmp_path: Path) -> None:
    client = local_client(PAIRS, local_steps=4)
    received, personal = states(client)
    store = ClientStore(tmp_path)
    store.save("c", 1, ClientState({"personal": personal}, {"personal_losses": {"digits": 1e6}, "took_part": True}))
    old = store.load("c", before=2)
    assert old is not None
    update, state = tap().local_round(client, received, old)
    assert {d.task: (d.outcome, d.rule) for d in update.decisions} == {
        "digits": ("replaced", "margin: 0.01"),
        "mood": ("kept", "kept: no personal loss yet"),
        "law": ("kept", "kept: no personal loss yet"),
    }
    store.save("c", 2, state)
    again = store.load("c", before=3)
    assert again is not None
    assert again.facts == state.facts


# --- stage 2 -------------------------------------------------------------------------------------------------------------


def final_client(pairs: tuple[Pair, ...] = PAIRS, **training: float) -> LocalClient:
    finish = {"finetune_steps": 8, "finetune_lr": 0.02, "select_every": 1}
    return local_client(pairs, round=5, training={**finish, **training})


def test_the_teacher_is_the_fine_tuned_slice_and_every_model_can_be_evaluated() -> None:
    client = final_client()
    method = tap(compute="paper")
    received, personal = states(client)
    state = method.personalise(client, received, private(personal))
    models = method.models(received, state)
    assert set(models) == {"federated", "finetuned", "personal"}
    assert models["federated"].equal(received)
    baseline = FedAvgFineTuning(FedAvgFineTuning.Params()).personalise(final_client(), received, ClientState())
    assert models["finetuned"].equal(baseline.models["finetuned"])
    assert models["personal"].keys() == models["finetuned"].keys() == client.plan
    assert {d.kind for d in state.decisions} == {"distil"}
    assert [d.task for d in state.decisions] == list(client.tasks)


def test_without_distillation_there_is_no_teacher() -> None:
    client = final_client()
    method = tap(distil=False)
    received, personal = states(client)
    state = method.personalise(client, received, private(personal))
    assert set(method.models(received, state)) == {"federated", "personal"}
    assert state.models["personal"].equal(final_client().finetune(personal, 8, "finish").state)
    assert state.decisions == ()


def test_the_weight_of_distillation_is_the_familys_where_it_has_one() -> None:
    pairs = (MOOD,)
    received, personal = states(final_client(pairs))
    history = ClientState({"personal": personal}, {"personal_losses": {"mood": 1.0}})

    def student(**params: object) -> ComponentState:
        state = tap(guard=False, **params).personalise(final_client(pairs), received, history)
        return state.models["personal"]

    assert student(weight=5.0, weights={"text_classification": 0.0}).equal(student(weight=0.0))
    assert student(weight=0.0, weights={"text_classification": 5.0}).equal(student(weight=5.0))
    assert student(weight=5.0, weights={"image_classification": 0.0}).equal(student(weight=5.0))
    assert not student(weight=5.0).equal(student(weight=0.0))
    assert not student(weight=5.0).equal(student(weight=5.0, temperature=3.0))


def test_the_guard_leaves_no_task_worse_and_can_be_switched_off() -> None:
    received, personal = states(final_client())
    wild = {"finetune_steps": 2, "finetune_lr": 1.0}
    unguarded = tap(guard=False, weight=0.0).personalise(final_client(**wild), received, private(personal))
    assert list(unguarded.decisions) == []
    for seed in range(3):
        client = final_client(finetune_lr=0.05)
        start = jittered(personal, seed=seed, scale=0.2)
        state = tap(weight=20.0).personalise(client, received, private(start))
        now, was = client.mean_losses(state.models["personal"]), client.mean_losses(start)
        assert all(now[task] <= was[task] for task in client.tasks)


def test_a_client_that_never_took_part_starts_from_the_finished_slice() -> None:
    client = final_client()
    received, _ = states(client)
    newcomer = tap().start(client)
    state = tap(distil=False).personalise(client, received, newcomer)
    assert state.models["personal"].equal(final_client().finetune(received, 8, "finish").state)
    alone = tap(distil=False, replace=False).personalise(final_client(), received, newcomer)
    assert alone.models["personal"].equal(final_client().finetune(client.initial_state(), 8, "finish").state)


def test_decisions_are_ready_for_json() -> None:
    client = local_client((LAW, MEDICINE), local_steps=2)
    method = tap()
    update, state = method.local_round(client, states(client)[0], method.start(client))
    for decision in update.decisions:
        assert decision.federated_loss is not None
        assert math.isfinite(decision.federated_loss)
        assert decision.personal_loss is None
    assert all(math.isfinite(loss) for loss in state.facts["personal_losses"].values())


def test_the_term_that_keeps_paths_apart_is_that_of_disentafl() -> None:
    def sent(method: dict[str, object]) -> ComponentState:
        client = local_client((DIGITS, MOOD), local_steps=3)
        algorithm = make(method)
        update, _ = algorithm.local_round(client, client.initial_state(), algorithm.start(client))
        return update.components

    shared = {"name": "tap", "personal": "shared", "replace": "average"}
    assert sent({**shared, "disentangle": 0.5}).equal(sent({"name": "disentafl"}))
    assert sent(shared).equal(sent({"name": "fedavg"}))
    assert not sent({**shared, "disentangle": 0.5}).equal(sent(shared))


def test_the_student_learns_from_the_fine_tuned_teacher_and_not_from_the_slice() -> None:
    received, personal = states(final_client())
    state = tap(compute="paper", guard=False, weight=5.0).personalise(final_client(), received, private(personal))
    by_hand = final_client()
    teacher = by_hand.finetune(received, 8, "finish").state
    assert not teacher.equal(received)
    weights = dict.fromkeys(by_hand.tasks, 5.0)
    assert state.models["personal"].equal(
        by_hand.finetune(personal, 8, "distil", terms=[Teacher(teacher, weights)]).state
    )
