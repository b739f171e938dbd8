"""Metrics against scikit-learn, SciPy, rouge-score and hand computation; and that the cut into batches changes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from scipy.ndimage import gaussian_filter
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score, roc_auc_score

from fedtap.metrics import HIGHER_IS_BETTER, PRIMARY, primary, primary_metrics
from fedtap.metrics.bertscore import BertScore
from fedtap.metrics.classification import ClassificationScores
from fedtap.metrics.meteor import Meteor
from fedtap.metrics.multilabel import MultilabelScores
from fedtap.metrics.reconstruction import PSNR_CAP, ReconstructionScores
from fedtap.metrics.regression import errors_of
from fedtap.metrics.text import TextScores, each_of, normalise_answer, token_values
from fedtap.pairs import Pair


def random_classification(seed: int, n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(0, classes, (n,), generator=generator)


def random_pictures(seed: int, n: int, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, (n, 3, side, side), generator=generator).float() / 127.5 - 1
    return target + 0.4 * torch.randn(target.shape, generator=generator), target


def pieces(n: int, cuts: set[int]) -> list[slice]:
    """Return consecutive slices of ``range(n)``, cut at the given places."""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < n), n]
    return [slice(a, b) for a, b in pairwise(edges)]


def scored(make: Callable[[], Any], n: int, cuts: set[int], *examples: Sequence[Any]) -> dict[str, tuple[float, int]]:
    scores = make()
    for piece in pieces(n, cuts):
        scores.update(*(part[piece] for part in examples))
    return scores.value()


def assert_same(a: dict[str, tuple[float, int]], b: dict[str, tuple[float, int]]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name][0] == pytest.approx(b[name][0], rel=1e-9, abs=1e-9)
        assert a[name][1] == b[name][1]


CUTS = st.sets(st.integers(1, 39))
WORDS = st.sampled_from(["red", "Blue", "two cats", "don't", "", "yes.", "a man, a plan"])


class TestClassification:
    @pytest.mark.parametrize(("seed", "n", "classes"), [(0, 50, 3), (1, 7, 10), (2, 1, 4)])
    def test_agrees_with_scikit_learn(self, seed: int, n: int, classes: int) -> None:
        logits, target = random_classification(seed, n, classes)
        scores = ClassificationScores(classes)
        scores.update(logits, target)
        value = scores.value()
        predicted = logits.argmax(1).numpy()
        probabilities = logits.double().softmax(1).numpy()
        present = np.unique(target.numpy())
        assert value["accuracy"] == (pytest.approx(accuracy_score(target, predicted)), n)
        f1 = f1_score(target, predicted, labels=present, average="macro", zero_division=0)
        assert value["macro_f1"] == (pytest.approx(f1), n)
        nats = log_loss(target, probabilities, labels=range(classes))
        assert value["cross_entropy"] == (pytest.approx(nats), n)

    def test_class_absent_from_the_targets_has_no_share_in_macro_f1(self) -> None:
        scores = ClassificationScores(3)
        # class 0: one hit, one miss that went to class 2, which no target has
        scores.update(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]), torch.tensor([0, 0]))
        assert scores.value()["macro_f1"][0] == pytest.approx(2 / 3)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 99), CUTS)
    def test_cut_into_batches_changes_nothing(self, seed: int, cuts: set[int]) -> None:
        logits, target = random_classification(seed, 40, 5)
        whole = scored(lambda: ClassificationScores(5), 40, set(), logits, target)
        assert_same(scored(lambda: ClassificationScores(5), 40, cuts, logits, target), whole)

    @pytest.mark.parametrize("target", [[0, 3], [-1, 0], [0, 1, 2]])
    def test_wrong_targets_are_refused(self, target: list[int]) -> None:
        with pytest.raises(ValueError, match="expected"):
            ClassificationScores(3).update(torch.zeros(2, 3), torch.tensor(target))

    def test_no_example_has_no_value(self) -> None:
        scores = ClassificationScores(3)
        scores.update(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
        with pytest.raises(ValueError, match="no example"):
            scores.value()


class TestReconstruction:
    def test_mse_and_psnr_by_hand(self) -> None:
        scores = ReconstructionScores()
        target = torch.zeros(2, 3, 16, 16)
        output = torch.stack([torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 3.0)])
        scores.update(output, target)
        value = scores.value()
        assert value["mse"] == (pytest.approx((0.04 + 9) / 2), 2)  # not clipped: as in the loss
        # 4 / 0.04 = 100 is 20 dB; 3 is clipped to 1, and 4 / 1 is 6.02 dB
        assert value["psnr"] == (pytest.approx((20 + 10 * math.log10(4)) / 2, abs=1e-5), 2)

    def test_identical_pictures_score_as_if_rounded_to_eight_bits(self) -> None:
        scores = ReconstructionScores()
        _, target = random_pictures(0, 3)
        scores.update(target, target)
        value = scores.value()
        assert value["mse"][0] == 0
        # rounding error is uniform over one grey level: 255 / sqrt(1/12) grey levels of peak over error
        assert value["psnr"][0] == pytest.approx(20 * math.log10(255 * math.sqrt(12))) == pytest.approx(PSNR_CAP)
        assert value["ssim"][0] == pytest.approx(1)

    def test_ssim_is_that_of_the_pictures_as_grey_levels(self) -> None:
        output, target = random_pictures(1, 3)
        scores = ReconstructionScores()
        scores.update(output, target)
        expected = [
            np.mean([ssim(a, b) for a, b in zip(levels(x), levels(y), strict=True)])
            for x, y in zip(output, target, strict=True)
        ]
        assert scores.value()["ssim"] == (pytest.approx(np.mean(expected), abs=1e-6), 3)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 99), CUTS)
    def test_cut_into_batches_changes_nothing(self, seed: int, cuts: set[int]) -> None:
        output, target = random_pictures(seed, 40, side=12)
        whole = scored(ReconstructionScores, 40, set(), output, target)
        assert_same(scored(ReconstructionScores, 40, cuts, output, target), whole)

    @pytest.mark.parametrize("shape", [(2, 3, 16, 15), (2, 3, 10, 10)])
    def test_wrong_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        output = torch.zeros(2, 3, 16, 16) if shape[2] == 16 else torch.zeros(shape)
        with pytest.raises(ValueError, match="expected"):
            ReconstructionScores().update(output, torch.zeros(shape))

    def test_no_picture_has_no_value(self) -> None:
        scores = ReconstructionScores()
        scores.update(torch.zeros(0, 3, 16, 16), torch.zeros(0, 3, 16, 16))
        with pytest.raises(ValueError, match="no picture"):
            scores.value()


def levels(picture: torch.Tensor) -> np.ndarray:
    """Return grey levels from 0 to 255."""
    return (picture.double().clamp(-1, 1).numpy() + 1) * 127.5


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return the structural similarity of two planes of grey levels, by Wang et al. (2004), borders mirrored."""

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5, mode="mirror")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


class TestText:
    def test_cross_entropy_is_per_token(self) -> None:
        scores = TextScores()
        scores.update(torch.tensor([1.0, 9.0]), torch.tensor([1, 3]), ["a", "b"], ["a", "c"])
        scores.update(torch.tensor([2.0]), torch.tensor([8]), ["d"], ["d"])
        value = scores.value()
        assert value["cross_entropy"] == (pytest.approx(12 / 12), 12)  # a mean of batch means would be 1.375
        assert value["exact_match"] == (pytest.approx(2 / 3), 3)

    @pytest.mark.parametrize(
        ("a", "b", "same"),
        [
            ("Yes.", " yes ", True),
            ("don't", "don ' t", True),
            ("two  cats", "two cats", True),
            ("well-known", "well - known", True),
            ("\u201cred\u201d", "red", True),
            ("c + +", "C++", True),
            ("C++", "C", False),
            ("yes", "no", False),
            ("twocats", "two cats", False),
            ("?", "!", False),
            ("?", "", False),
        ],
    )
    def test_normalised_answers(self, a: str, b: str, same: bool) -> None:
        assert (normalise_answer(a) == normalise_answer(b)) is same

    @given(st.text(max_size=20))
    def test_normalising_twice_is_normalising_once(self, text: str) -> None:
        assert normalise_answer(normalise_answer(text)) == normalise_answer(text)

    def test_chrf_by_its_definition(self) -> None:
        predictions, references = ["the cat sat", "blue"], ["the cats sit on", "light blue"]
        scores = TextScores()
        scores.update(torch.ones(2), torch.ones(2), predictions, references)
        assert scores.value()["chrf"] == (pytest.approx(chrf(predictions, references)), 2)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(*[st.text(alphabet="ab cB'.1", max_size=15)] * 2), min_size=1, max_size=4))
    def test_rouge_l_agrees_with_the_reference_implementation(self, texts: list[tuple[str, str]]) -> None:
        scores = TextScores()
        predictions, references = [a for a, _ in texts], [b for _, b in texts]
        scores.update(torch.ones(len(texts)), torch.ones(len(texts)), predictions, references)
        scorer = RougeScorer(["rougeL"])
        expected = np.mean([scorer.score(target=b, prediction=a)["rougeL"].fmeasure for a, b in texts])
        assert scores.value()["rouge_l"] == (pytest.approx(expected, abs=1e-6), len(texts))

    def test_rouge_l_reads_other_scripts(self) -> None:
        scores = TextScores()
        scores.update(torch.ones(1), torch.ones(1), ["красный дом"], ["красный кот"])
        assert scores.value()["rouge_l"][0] == pytest.approx(0.5)

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.tuples(WORDS, WORDS), min_size=40, max_size=40), CUTS)
    def test_cut_into_batches_changes_nothing(self, texts: list[tuple[str, str]], cuts: set[int]) -> None:
        predictions, references = [a for a, _ in texts], [b for _, b in texts]
        nll, tokens = torch.linspace(0.1, 9, 40), torch.arange(1, 41)
        whole = scored(TextScores, 40, set(), nll, tokens, predictions, references)
        assert_same(scored(TextScores, 40, cuts, nll, tokens, predictions, references), whole)

    def test_perplexity_is_the_number_of_equally_likely_tokens(self) -> None:
        scores = TextScores()
        # a choice among 8, three times, and among 2, once: 8^3 * 2 = 1024, whose fourth root is 2^2.5
        scores.update(
            torch.tensor([3 * math.log(8), math.log(2)]).double(), torch.tensor([3, 1]), ["a", "b"], ["a", "c"]
        )
        assert scores.value()["perplexity"] == (pytest.approx(2**2.5), 4)

    def test_a_perplexity_beyond_all_numbers_is_left_out(self) -> None:
        assert token_values(709.0, 2)["perplexity"] == (pytest.approx(math.e**709), 2)
        for nats in (709.8, 1e6, math.inf, math.nan):
            assert set(token_values(nats, 2)) == {"cross_entropy"}

    def test_further_metrics_are_reported_under_their_names(self) -> None:
        plain, more = TextScores(), TextScores([SameLength()])
        for scores in (plain, more):
            scores.update(torch.ones(2), torch.ones(2), ["a", "b"], ["a", "bb"])
            scores.update(torch.ones(2), torch.ones(2), ["c", "d"], ["c", "d"])
        assert more.value() == plain.value() | {"same-length": (0.75, 4)}

    def test_of_several_references_the_nearest_counts(self) -> None:
        """By hand from metrics of single references; the corpus chrF sums over the nearest ones."""
        predictions = ["crimson", "the cat sat", "blue"]
        references = [["red", "Crimson."], "the cats sit on", ("green", "light blue", "teal")]
        nearest = ["Crimson.", "the cats sit on", "light blue"]
        several, one = (
            TextScores([Meteor(None), BertScore(Letters())]),
            TextScores([Meteor(None), BertScore(Letters())]),
        )
        several.update(torch.ones(3), torch.ones(3), predictions, references)
        one.update(torch.ones(3), torch.ones(3), predictions, nearest)
        assert several.value() == one.value()
        assert several.value()["exact_match"] == (pytest.approx(1 / 3), 3)
        assert several.outcomes("exact_match") == [1.0, 0.0, 0.0]
        assert several.value()["chrf"][0] == pytest.approx(chrf(predictions, nearest))
        scorer = RougeScorer(["rougeL"])
        best = [
            max(scorer.score(target=each, prediction=said)["rougeL"].fmeasure for each in each_of(reference))
            for said, reference in zip(predictions, references, strict=True)
        ]
        assert several.value()["rouge_l"][0] == pytest.approx(np.mean(best), abs=1e-6)

    def test_different_lengths_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1 predictions and 2 references"):
            TextScores().update(torch.ones(2), torch.ones(2), ["a"], ["a", "b"])

    def test_no_token_has_no_value(self) -> None:
        with pytest.raises(ValueError, match="no token"):
            TextScores().value()


class SameLength:
    """How many predictions are as long as their references."""

    name = "same-length"

    def __call__(self, predictions: Sequence[str], references: Sequence[str]) -> float:
        return float(np.mean([len(a) == len(b) for a, b in zip(predictions, references, strict=True)]))


def chrf(predictions: Sequence[str], references: Sequence[str], order: int = 6, beta: float = 2) -> float:
    """Return corpus chrF: n-gram precision and recall, each averaged over the orders that occur, then F-beta."""
    precisions, recalls = [], []
    for n in range(1, order + 1):
        given = right = hits = 0
        for prediction, reference in zip(predictions, references, strict=True):
            a, b = (ngrams("".join(text.split()), n) for text in (prediction, reference))
            given, right, hits = given + a.total(), right + b.total(), hits + (a & b).total()
        if given and right:
            precisions.append(hits / given)
            recalls.append(hits / right)
    p, r = np.mean(precisions), np.mean(recalls)
    return float(100 * (1 + beta**2) * p * r / (beta**2 * p + r))


def ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


class NoWordNet:
    """A WordNet without words."""

    def synsets(self, word: str) -> list[Any]:
        return []


class Letters:
    """An encoder that tells letters apart and knows nothing of their context."""

    name = "letters"

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.eye(256)[[ord(letter) for letter in text]] for text in texts]


def all_scores(
    logits: torch.Tensor, output: torch.Tensor, nll: float, prediction: str, target: torch.Tensor
) -> tuple[dict[str, tuple[float, int]], ...]:
    """Return the scores of one example of each type, whose right answers are class 0, ``target`` and "red"."""
    classification, reconstruction = ClassificationScores(2), ReconstructionScores()
    text = TextScores([Meteor(None), Meteor(NoWordNet()), BertScore(Letters())])
    classification.update(logits, torch.tensor([0]))
    reconstruction.update(output, target)
    text.update(torch.tensor([nll]), torch.ones(1), [prediction], ["red"])
    return classification.value(), reconstruction.value(), text.value()


class TestTable:
    def test_primary_metrics_are_reported_by_their_type(self) -> None:
        _, target = random_pictures(0, 1)
        classification, reconstruction, text = all_scores(torch.zeros(1, 2), target, 1.0, "a", target)
        assert PRIMARY["classification"] in classification
        assert PRIMARY["reconstruction"] in reconstruction
        assert {PRIMARY["text_generation"], primary("text_generation", "image+text")} <= text.keys()

    def test_a_better_model_scores_in_the_direction_of_the_table(self) -> None:
        noisy, target = random_pictures(0, 1)
        better = [*all_scores(torch.tensor([[5.0, 0.0]]), target, 0.1, "red", target)]
        worse = [*all_scores(torch.tensor([[0.0, 5.0]]), noisy, 4.0, "cat", target)]
        compared = {
            metric.partition("[")[0]: good[metric][0] > bad[metric][0]
            for good, bad in zip(better, worse, strict=True)
            for metric in good
        }
        for make, targets in (
            (lambda: ClassificationScores(2, ("balanced_accuracy", "auroc")), torch.tensor([0, 1])),
            (lambda: MultilabelScores(2, ("balanced_accuracy", "auroc")), torch.eye(2)),
        ):
            right, wrong = make(), make()
            for scores, sign in ((right, 5.0), (wrong, -5.0)):
                scores.update(sign * (2 * torch.eye(2) - 1), targets)
            good, bad = right.value(), wrong.value()
            compared |= {metric: good[metric][0] > bad[metric][0] for metric in good}
        near, far = (errors_of(torch.tensor([0.0, said]), torch.tensor([0.0, 1.0])) for said in (0.9, 3.0))
        assert compared | {metric: near[metric][0] > far[metric][0] for metric in near} == HIGHER_IS_BETTER

    def test_primary_metrics_by_task(self) -> None:
        pairs = [
            Pair("digits", "classification", "image", "scans"),
            Pair("vqa", "text_generation", "image+text", "scenes"),
            Pair("trivia", "text_generation", "text", "quiz"),
            Pair("pictures", "reconstruction", "image", "scenes"),
            Pair("vqa", "text_generation", "image+text", "scenes"),
        ]
        expected = {"digits": "accuracy", "vqa": "exact_match", "trivia": "cross_entropy", "pictures": "mse"}
        assert primary_metrics(pairs) == expected

    def test_one_name_for_two_kinds_of_task_is_refused(self) -> None:
        pairs = [Pair("a", "classification", "image", "x"), Pair("a", "reconstruction", "image", "x")]
        with pytest.raises(ValueError, match="different names"):
            primary_metrics(pairs)


def test_outcomes_of_single_examples_are_in_their_order_and_make_up_the_metric() -> None:
    right = ClassificationScores(2)
    for logits, target in (([[2.0, 0.0], [0.0, 1.0]], [0, 0]), ([[0.0, 3.0]], [1])):
        right.update(torch.tensor(logits), torch.tensor(target))
    assert right.outcomes("accuracy") == [1.0, 0.0, 1.0]
    text = TextScores()
    text.update(torch.tensor([1.0, 5.0]), torch.tensor([1, 2]), ["Yes.", "blue"], ["yes", "red"])
    assert text.outcomes("cross_entropy") == [1.0, 5.0]  # nats, over three tokens
    assert text.outcomes("exact_match") == [1.0, 0.0]
    assert sum(text.outcomes("cross_entropy")) / 3 == text.value()["cross_entropy"][0]
    drawn = ReconstructionScores()
    drawn.update(torch.zeros(2, 3, 16, 16), torch.stack([torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.5)]))
    assert drawn.outcomes("mse") == [0.0, 0.25]
    for scores, metric in ((right, "mse"), (text, "accuracy"), (drawn, "psnr")):
        with pytest.raises(KeyError):
            scores.outcomes(metric)


BESIDE = ("balanced_accuracy", "auroc")


@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (2, 1), (4, 2), (9, 3)])
def test_balanced_accuracy_and_auroc_are_scikit_learns(classes: int, seed: int) -> None:
    logits, target = random_classification(seed, 40, classes)
    target[target == classes - 1] = 0 if classes > 2 else classes - 1  # of more than two, one has no example
    logits[:6] = logits[0]  # ties
    found = scored(lambda: ClassificationScores(classes, BESIDE), 40, {7, 20}, logits, target)
    shares, present = logits.double().softmax(dim=1).numpy(), sorted(set(target.tolist()))
    recall = recall_score(target, shares.argmax(axis=1), labels=present, average="macro")
    assert found["balanced_accuracy"] == (pytest.approx(recall), 40)
    areas = [roc_auc_score(target.numpy() == each, shares[:, each]) for each in present]
    assert found["auroc"] == (pytest.approx(np.mean(areas), abs=1e-6), 40)
    usual = scored(lambda: ClassificationScores(classes), 40, {7, 20}, logits, target)
    assert usual.keys() == {"accuracy", "macro_f1", "cross_entropy"}
    assert {name: found[name] for name in usual} == usual


def test_auroc_by_hand_and_where_there_is_none() -> None:
    shares = torch.tensor([0.9, 0.6, 0.6, 0.2])  # of class 1; of four pairs three are in order, one is a tie
    logits, target = torch.stack([1 - shares, shares], dim=1).log(), torch.tensor([1, 0, 1, 0])
    scores = ClassificationScores(2, ["auroc"])
    scores.update(logits, target)
    assert scores.value()["auroc"] == (pytest.approx(3.5 / 4), 4)
    alone = ClassificationScores(2, BESIDE)
    alone.update(logits, torch.ones(4, dtype=torch.long))
    assert "auroc" not in alone.value()
    assert alone.value()["balanced_accuracy"] == (0.75, 4)
    lost = ClassificationScores(2, ["auroc"])
    lost.update(logits * float("nan"), target)
    assert math.isnan(lost.value()["auroc"][0])
