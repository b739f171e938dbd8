"""Multi-label classification: losses, distillation, scores and the trivial baseline by hand and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from fedtap.evaluation.baselines import base_rates, common_labels
from fedtap.metrics.multilabel import MultilabelScores
from fedtap.network.initialisation import initialise
from fedtap.tasks.base import Fused
from fedtap.tasks.multilabel import MultilabelClassification
from tiny import CLASSES, generator, head_sizes

KIND = MultilabelClassification()
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 1.0], [-1.0, -1.0, -1.0]])
HELD = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def test_a_head_starts_at_even_chances_and_answers_no_label() -> None:
    head = KIND.build_head(head_sizes("text"))
    initialise(head, generator("head"))
    fused = Fused(torch.randn(2, 4, 16, generator=generator("fused")), torch.ones(2, 4, dtype=torch.bool))
    output = KIND.run(head, fused, torch.zeros(2, CLASSES), None)
    assert torch.equal(KIND.answers(head, fused, None, None), torch.full((2, CLASSES), 0.5))
    assert torch.equal(KIND.losses(output, HELD[:2], None).per_example(), torch.full((2,), math.log(2)))


def test_the_loss_is_the_mean_of_the_nats_of_each_label() -> None:
    chances = LOGITS.double().sigmoid().numpy()
    nats = -np.where(HELD.numpy() > 0, np.log(chances), np.log(1 - chances)).mean(axis=1)
    losses = KIND.losses(LOGITS, HELD, None)
    assert losses.per_example().tolist() == pytest.approx(nats.tolist(), abs=1e-6)
    assert losses.units.tolist() == [1, 1, 1]


def test_distillation_is_the_divergence_of_each_labels_chances() -> None:
    student, teacher, tau = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, -4.0]]), 2.0
    p, q = (1 / (1 + np.exp(-np.array(x.tolist()) / tau)) for x in (teacher, student))
    expected = tau**2 * float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean())
    assert float(KIND.distance(student, teacher, HELD, None, tau)) == pytest.approx(expected, abs=1e-6)
    assert float(KIND.distance(teacher, teacher, HELD, None, tau)) == 0.0
    far = torch.tensor([[200.0, -200.0]])  # where a chance is 0 in single precision
    assert torch.isfinite(KIND.distance(-far, far, HELD, None, 1.0))


def test_scores_are_those_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(60, 5, generator=draw).double()
    right = (torch.rand(60, 5, generator=draw) < torch.tensor([0.5, 0.2, 0.05, 0.9, 0.0])).double()
    scores = MultilabelScores(5, ("auroc", "balanced_accuracy"))
    for start in (0, 7, 40):
        end = {0: 7, 7: 40, 40: 60}[start]
        scores.update(logits[start:end], right[start:end])
    said, held, shares = (logits > 0).numpy(), right.numpy(), logits.sigmoid().numpy()
    there = [label for label in range(5) if held[:, label].any()]
    assert there == [0, 1, 2, 3]
    expected = {
        "example_f1": sklearn.f1_score(held, said, average="samples", zero_division=1.0),
        "micro_f1": sklearn.f1_score(held, said, average="micro"),
        "macro_f1": sklearn.f1_score(held[:, there], said[:, there], average="macro"),
        "average_precision": sklearn.average_precision_score(held[:, there], shares[:, there], average="macro"),
        "auroc": sklearn.roc_auc_score(held[:, there], shares[:, there], average="macro"),
        "balanced_accuracy": np.mean([sklearn.balanced_accuracy_score(held[:, i], said[:, i]) for i in there]),
        "cross_entropy": np.mean([sklearn.log_loss(held[:, i], shares[:, i], labels=[0, 1]) for i in range(5)]),
    }
    value = scores.value()
    assert {metric: n for metric, (_, n) in value.items()} == dict.fromkeys(expected, 60)
    assert {metric: found for metric, (found, _) in value.items()} == pytest.approx(expected, abs=1e-6)
    assert np.mean(scores.outcomes("example_f1")) == pytest.approx(value["example_f1"][0])
    with pytest.raises(KeyError):
        scores.outcomes("macro_f1")


def test_what_there_is_nothing_to_count_of_is_left_out() -> None:
    nothing = MultilabelScores(2, ("auroc", "balanced_accuracy"))
    nothing.update(torch.full((3, 2), -1.0), torch.zeros(3, 2))
    assert set(nothing.value()) == {"example_f1", "cross_entropy"}
    assert nothing.value()["example_f1"] == (1.0, 3)  # none is the right answer
    everything = MultilabelScores(1, ("auroc",))
    everything.update(torch.ones(2, 1), torch.ones(2, 1))
    assert "auroc" not in everything.value()
    diverged = MultilabelScores(1, ("auroc",))
    diverged.update(torch.tensor([[math.nan], [1.0]]), torch.tensor([[0.0], [1.0]]))
    assert math.isnan(diverged.value()["auroc"][0])
    assert math.isnan(diverged.value()["average_precision"][0])


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), "expected \\(n, 2\\) twice"),
        (torch.zeros(2, 2), torch.zeros(2), "expected \\(n, 2\\) twice"),
        (torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), "neither 0 nor 1"),
    ],
)
def test_what_does_not_fit_is_refused(logits: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultilabelScores(2).update(logits, target)
    with pytest.raises(ValueError, match="no example"):
        MultilabelScores(2).value()


def test_how_wrong_an_answer_is() -> None:
    # one of two said is right; of the two right ones one is said; none is right and none is said
    assert KIND.wrong(LOGITS, HELD, None).tolist() == pytest.approx([1 / 3, 1 / 3, 0.0])


def test_the_constant_answer_is_the_best_number_of_common_labels() -> None:
    train = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    # one label: 2/3 twice; two: 1 and 1/2; three: 4/5 twice; all four: 2/3 twice
    assert common_labels(train, train[:2]).tolist() == [True, True, True, False]
    assert common_labels(train, np.array([[1, 0, 0, 0], [1, 0, 1, 0]], dtype=bool)).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert not common_labels(train, np.zeros((3, 4), dtype=bool)).any()


def test_base_rates_by_hand() -> None:
    train = np.array([[1, 0], [1, 0], [0, 0]], dtype=bool)  # shares 3/5 and 1/5
    test = np.array([[1, 1]], dtype=bool)
    assert base_rates(train, test) == pytest.approx(-(math.log(3 / 5) + math.log(1 / 5)) / 2)
