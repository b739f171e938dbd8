"""By what models are judged on validation: each judge by hand, and that every decision asks the one that the method names."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fedtap.algorithms.registry import make
from fedtap.batch import NO_TOKEN
from fedtap.components import ComponentState
from fedtap.personalization.choice import choose_by_task
from fedtap.personalization.guard import guard
from fedtap.personalization.replacement import replace_hard, replace_soft
from fedtap.tasks import TASK_TYPES
from fedtap.training.client import LocalClient
from fedtap.training.judge import BLUNTEST, SHARPEST, best_sharpness, judgements, scored
from fedtap.training.model_selection import mean_ratio
from fedtap.training.schedule import finetune_rates
from tiny import CLASSES, DIGITS, LAW, REDRAW, VOCABULARY, VQA, build_network, examples, jittered, local_client, words

TWO = torch.tensor([0, 1, 1, 0])
SURE = torch.tensor([[9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0], [-9.0, 9.0]])
"""Three right, and one wrong beyond measure."""
CHANCE = torch.zeros(4, 2)


def test_an_overconfident_model_is_judged_by_what_it_knows() -> None:
    def mean(judge, output):
        return float(judgements(judge, DIGITS, [(output, TWO)], None).mean())

    assert mean("cross_entropy", SURE) == pytest.approx(18 / 4, abs=1e-6)
    assert mean("cross_entropy", SURE) > mean("cross_entropy", CHANCE) == pytest.approx(math.log(2))
    # three of four right: at the best temperature sigma(18 b) = 3/4, and the loss is the entropy of (3/4, 1/4)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert mean("calibrated", SURE) == pytest.approx(entropy, abs=1e-5)
    assert mean("calibrated", CHANCE) == pytest.approx(math.log(2))
    assert mean("metric", SURE) == pytest.approx(1 / 4 + 1 / 4)
    assert mean("metric", SURE[:, [1, 0]]) == pytest.approx(3 / 4 + 1 / 4)


@given(st.integers(0, 2**31), st.integers(2, 30), st.floats(0.1, 30))
def test_the_temperature_is_the_one_that_scipy_finds(seed: int, n: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, 4, generator=draw, dtype=torch.float64)
    target = torch.randint(4, (n,), generator=draw)
    halves = [(logits[: n // 2], target[: n // 2]), (logits[n // 2 :], target[n // 2 :])]
    mine = float(judgements("calibrated", DIGITS, halves, None).mean())

    def loss(log_b: float) -> float:
        return float(torch.nn.functional.cross_entropy(math.exp(log_b) * logits, target))

    bounds = (math.log(BLUNTEST), math.log(SHARPEST))
    theirs = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).fun
    assert mine == pytest.approx(min(theirs, loss(bounds[0]), loss(bounds[1])), rel=1e-3, abs=1e-4)


def test_the_best_sharpness_stays_within_its_bounds() -> None:
    assert best_sharpness(lambda b: b) == pytest.approx(BLUNTEST, rel=1e-2)
    assert best_sharpness(lambda b: -b) == pytest.approx(SHARPEST, rel=1e-2)


def test_an_answer_in_words_is_right_if_greedy_generation_writes_it() -> None:
    """Word 0 is padding, and however likely it may not be written."""
    tied = words()
    target = torch.tensor([[7, 3, NO_TOKEN], [8, 9, 3]])
    # hidden vectors that point at a word: the pseudo-inverse of the embedding gives it the only logit of one
    point = torch.linalg.pinv(tied.embedding.T) if tied.embedding.shape[1] >= VOCABULARY else tied.embedding
    hidden = 50 * point[target]
    said = (hidden @ tied.embedding.T).index_fill(-1, torch.tensor([tied.pad_id]), -torch.inf).argmax(-1)
    wrong = judgements("metric", VQA, [(hidden, target)], tied) - 1 / 2
    expected = ((said != target) & (target != NO_TOKEN)).any(dim=1)
    assert wrong.tolist() == expected.to(torch.float64).tolist()
    elsewhere = hidden.clone()
    elsewhere[0, 0] = 50 * point[5] - hidden[0, 0]
    assert (judgements("metric", VQA, [(elsewhere, target)], tied) - 1 / 2)[0] == 1.0


def test_what_is_neither_right_nor_wrong_is_judged_by_its_loss() -> None:
    """Pictures by all judges; free text, whose reported metric is its cross-entropy, by `metric`."""
    clients = {judge: judged_by(judge, (LAW, REDRAW)) for judge in ("cross_entropy", "calibrated", "metric")}
    state = clients["metric"].initial_state()
    found = {judge: client.judged(state) for judge, client in clients.items()}
    plain = clients["metric"].mean_losses(state)
    assert found["cross_entropy"] == plain
    assert found["metric"] == plain
    assert found["calibrated"]["redraw"] == plain["redraw"]
    assert found["calibrated"]["law"] < plain["law"]


def judged_by(judge: str, pairs=(DIGITS,), **settings: object) -> LocalClient:
    client = local_client(pairs, network=build_network(pairs), **settings)
    client.judge = judge
    return client


def overconfident() -> tuple[ComponentState, ComponentState]:
    """Return a model that knows its tasks and shouts, and one that knows nothing and says so."""
    client = judged_by("cross_entropy")
    nothing = client.initial_state()
    known = client.train(nothing, 30, "learn", rates=[0.02] * 30).state
    loud = known.merge(known.select(lambda key, _: key.kind == "head").map(lambda tensor: 10 * tensor))
    return loud, nothing


@pytest.mark.parametrize("judge", ["cross_entropy", "calibrated", "metric"])
def test_every_decision_is_taken_by_the_methods_judge(judge: str) -> None:
    """What knows is chosen over what knows nothing, unless raw cross-entropy is asked; by the guard, all gates and the choice."""
    loud, nothing = overconfident()
    client = judged_by(judge)
    raw = client.mean_losses(loud)
    assert all(raw[task] > math.log(CLASSES) for task in raw), raw  # it is punished for shouting
    knows_better = judge != "cross_entropy"

    kept, decisions = guard(client, before=loud, after=nothing)
    assert kept.equal(loud if knows_better else nothing)
    assert all(("(" + judge + ")" in decision.rule) == knows_better for decision in decisions)
    for gate in ("paired", "margin"):
        settings = {"margins": dict.fromkeys(client.tasks, 0.0), "alpha": 0.4, "scope": client.path, "history": None}
        replaced, decisions = replace_hard(client, nothing, loud, gate=gate, **settings)
        assert {decision.outcome for decision in decisions} == {"kept" if knows_better else "replaced"}
        assert replaced.equal(loud if knows_better else nothing)
    _, decisions = replace_soft(client, nothing, loud, scope=client.path, factors=[1.0])
    assert ("replaced" in {decision.outcome for decision in decisions}) != knows_better
    chosen, _ = choose_by_task(client, {"finetuned": nothing, "personal": loud})
    assert set(chosen.values()) == {"personal" if knows_better else "finetuned"}


def test_the_finish_keeps_the_state_that_the_judge_likes_best() -> None:
    training = {"finetune_steps": 5, "finetune_lr": 0.03, "select_every": 1, "lr": 0.01}
    kept: dict[str, int] = {}
    for judge in ("cross_entropy", "metric"):
        client = judged_by(judge, training=training)
        start = client.train(client.initial_state(), 2, "learn", rates=[0.02] * 2).state
        rates = finetune_rates(client.scenario.training, 5)
        states = [start, *(client.train(start, k, "finish", rates=rates[:k]).state for k in range(1, 6))]
        ratios = [mean_ratio(client.judged(state), client.judged(start)) for state in states]
        done = client.finetune(start, 5, "finish")
        kept[judge] = done.kept_steps
        assert done.kept_steps == ratios.index(min(ratios))
        assert done.state.equal(states[done.kept_steps])
    assert kept["metric"] == 0 < kept["cross_entropy"], kept  # surer, but no more often right


def test_a_method_names_its_judge_and_an_unknown_one_is_refused() -> None:
    assert make({"name": "tap"}).params.judge == "cross_entropy"
    assert make({"name": "fedavg_ft", "judge": "metric"}).params.judge == "metric"
    with pytest.raises(Exception, match="method 'tap': 'judge'"):
        make({"name": "tap", "judge": "guess"})


@pytest.mark.parametrize("judge", ["cross_entropy", "metric"])
def test_what_is_trained_with_weights_is_judged_with_them_but_not_by_the_metric(judge: str) -> None:
    network, held = build_network((DIGITS,)), examples(DIGITS, 3)
    network.load(network.initial_state())
    weights = torch.tensor([2.0, 0.5, 0.25])
    plain = scored(network, {"digits": held}, judge)["digits"]
    found = scored(network, {"digits": replace(held, weights=weights)}, judge)["digits"]
    torch.testing.assert_close(found, plain * weights if judge == "cross_entropy" else plain)


def test_where_several_answers_are_right_what_is_written_is_held_against_all() -> None:
    """Also where the first of them is not what the model writes."""
    network = build_network((VQA,)).eval()
    held = examples(VQA, 4, split="validation")
    network.load(jittered(network.initial_state()))
    (out,) = network(next(iter(held.batches(4, torch.device("cpu")))))
    said = TASK_TYPES[VQA.type].answers(out.head, out.fused, None, network.words)
    none = replace(held, also=((), ("never said",), (), ()))
    any_of = replace(held, also=((), (said[1].upper(),), (), ("w0", said[3])))
    before, after = (scored(network, {"vqa": each}, "metric")["vqa"] for each in (none, any_of))
    assert (before - 1 / 4).tolist() == [float(text != right) for text, right in zip(said, held.written, strict=True)]
    assert (after - 1 / 4).tolist()[1::2] == [0.0, 0.0]
    assert before[::2].tolist() == after[::2].tolist()
    losses = [scored(network, {"vqa": each}, "cross_entropy")["vqa"] for each in (any_of, held)]
    assert torch.equal(*losses)
