"""Trivial baselines against hand computation and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fedtap.evaluation.baselines import (
    UNIGRAM_WEIGHTS,
    majority,
    majority_text,
    mean_picture,
    most_frequent_text,
    question_only,
    unigram,
)
from fedtap.training.linear import ABSENT_BIAS, INVERSE_PENALTIES, Probe, fit_probe


def clusters(seed: int, n: int, classes: int, dim: int = 12, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(n, dim)`` around one centre a class, and labels; the centres do not depend on the seed."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * apart
    return 5 + centres[labels] + generator.normal(size=(n, dim)), labels


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class TestMajority:
    def test_by_hand(self) -> None:
        assert majority(np.array([3, 3, 1]), np.array([3, 1, 3, 3, 0])) == pytest.approx(3 / 5)

    def test_a_tie_goes_to_the_smallest_label(self) -> None:
        assert majority(np.array([2, 1, 2, 1]), np.array([1])) == 1

    def test_texts_are_compared_after_normalisation(self) -> None:
        assert majority_text(["No", "Yes.", "yes", "no", "YES"], ["yes!", "no", "perhaps"]) == pytest.approx(1 / 3)

    def test_a_tie_goes_to_the_first_text(self) -> None:
        assert majority_text(["b", "a"], ["b"]) == 1

    def test_nothing_to_learn_from_is_refused(self) -> None:
        with pytest.raises(ValueError, match="train_labels: no example"):
            majority(np.array([], dtype=int), np.array([1]))


class TestMeanPicture:
    def test_by_hand(self) -> None:
        train = np.stack([np.full((3, 4, 4), -1.0), np.full((3, 4, 4), 0.0)])
        test = np.stack([np.full((3, 4, 4), 0.5), np.full((3, 4, 4), -0.5)])
        assert mean_picture(train, test) == pytest.approx((1.0 + 0.0) / 2)

    def test_on_its_own_pictures_it_is_their_variance_around_each_pixel(self) -> None:
        train = np.random.default_rng(0).normal(size=(7, 3, 4, 4)).astype(np.float32)
        assert mean_picture(train, train) == pytest.approx(train.astype(np.float64).var(axis=0).mean())


class TestUnigram:
    def test_best_weight_on_validation_scored_on_test(self) -> None:
        train, validation, test = [[0, 0, 1], [0]], [[0, 1], [2]], [[0, 3], [1, 1]]

        def nats(weight: float, sequences: list[list[int]]) -> float:
            p = [weight * share + (1 - weight) / 5 for share in (3 / 4, 1 / 4, 0, 0, 0)]
            return float(np.mean([-np.log(p[token]) for sequence in sequences for token in sequence]))

        best = min(UNIGRAM_WEIGHTS, key=lambda weight: nats(weight, validation))
        assert 0 < best < max(UNIGRAM_WEIGHTS)  # neither end, so the choice is put to the test
        assert unigram(train, validation, test, 5) == pytest.approx(nats(best, test))

    def test_useless_counts_fall_back_to_uniform(self) -> None:
        assert unigram([[0]], [[1, 2]], [[1, 0, 3]], 8) == pytest.approx(np.log(8))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1))
    def test_never_worse_than_uniform_on_what_it_was_chosen_by(self, train: list[int], held: list[int]) -> None:
        assert unigram([train], [held], [held], 10) <= np.log(10) + 1e-12

    def test_cut_into_sequences_changes_nothing(self) -> None:
        assert unigram([[0, 1, 1]], [[1], [0]], [[1, 0]], 3) == unigram([[0], [1], [1]], [[1, 0]], [[1], [0]], 3)

    @pytest.mark.parametrize("test", [[[]], [[5]], [[-1]]])
    def test_tokens_outside_the_vocabulary_are_refused(self, test: list[list[int]]) -> None:
        with pytest.raises(ValueError, match=r"test: .*expected at least one token"):
            unigram([[0]], [[0]], test, 5)


class TestProbe:
    @pytest.mark.parametrize("classes", [2, 4])
    def test_it_is_the_logistic_regression_that_validates_best(self, classes: int) -> None:
        (train_x, train_y), (held_x, held_y) = (clusters(i, 60, classes, apart=0.5) for i in range(2))
        test_x, _ = clusters(2, 20, classes, apart=0.5)
        mean, scale = train_x.mean(0), train_x.std(0)
        models = [
            LogisticRegression(C=strength, max_iter=5000).fit((train_x - mean) / scale, train_y)
            for strength in INVERSE_PENALTIES
        ]
        losses = [log_loss(held_y, model.predict_proba((held_x - mean) / scale)) for model in models]
        best = int(np.argmin(losses))
        assert 0 < best < len(models) - 1
        probe = fit_probe(train_x, train_y, held_x, held_y, classes)
        expected = models[best].predict_proba((test_x - mean) / scale)
        np.testing.assert_allclose(softmax(probe.logits(test_x)), expected, atol=2e-3)

    def test_parts_are_what_they_are_called(self) -> None:
        train_x, train_y = clusters(0, 30, 3)
        weight, bias, mean, scale = fit_probe(train_x, train_y, train_x, train_y, 3)
        assert weight.shape == (3, 12)
        assert bias.shape == (3,)
        np.testing.assert_allclose(mean, train_x.mean(0), rtol=1e-6)
        np.testing.assert_allclose(scale, train_x.std(0), rtol=1e-6)
        logits = Probe(weight, bias, mean, scale).logits(train_x)
        np.testing.assert_allclose(logits, (train_x - mean) / scale @ weight.T + bias, rtol=1e-4, atol=1e-5)

    def test_folded_into_one_linear_layer_it_gives_the_same_logits(self) -> None:
        train_x, train_y = clusters(0, 30, 3)
        probe = fit_probe(train_x, train_y, train_x, train_y, 4)
        weight, bias = probe.folded()
        np.testing.assert_allclose(train_x @ weight.T + bias, probe.logits(train_x), atol=1e-4)

    @pytest.mark.parametrize("present", [[1, 4], [0, 2, 5]])
    def test_absent_classes_are_never_predicted(self, present: list[int]) -> None:
        train_x, labels = clusters(0, 30, len(present))
        train_y = np.array(present)[labels]
        held_x, held_labels = clusters(1, 30, 6)
        probe = fit_probe(train_x, train_y, held_x, held_labels, 6)
        absent = sorted(set(range(6)) - set(present))
        np.testing.assert_array_equal(probe.weight[absent], 0)
        np.testing.assert_array_equal(probe.bias[absent], ABSENT_BIAS)
        far = np.random.default_rng(0).normal(size=(200, 12)) * 50
        probabilities = softmax(probe.logits(far).astype(np.float64))
        assert set(probabilities.argmax(axis=1)) <= set(present)
        assert probabilities[:, absent].max() < 5e-5

    def test_held_out_examples_of_absent_classes_have_no_say(self) -> None:
        train_x, train_y = clusters(0, 30, 2)
        held_x, held_y = clusters(1, 20, 2)
        more_x, more_y = np.concatenate([held_x, held_x + 9]), np.concatenate([held_y, np.full(20, 2)])
        for a, b in zip(
            fit_probe(train_x, train_y, held_x, held_y, 3),
            fit_probe(train_x, train_y, more_x, more_y, 3),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)

    def test_one_class_is_always_predicted(self) -> None:
        train_x, _ = clusters(0, 10, 2)
        probe = fit_probe(train_x, np.full(10, 3), train_x, np.arange(10) % 4, 4)
        assert set(probe.logits(train_x).argmax(axis=1)) == {3}

    def test_single_example(self) -> None:
        probe = fit_probe(np.ones((1, 5)), np.array([1]), np.ones((1, 5)), np.array([1]), 2)
        np.testing.assert_array_equal(probe.logits(np.ones((1, 5))), [[ABSENT_BIAS, 0]])

    def test_few_examples_of_many_classes(self) -> None:
        train_x, train_y = clusters(0, 30, 25, apart=9)
        probe = fit_probe(train_x, train_y, train_x, train_y, 25)
        np.testing.assert_array_equal(probe.logits(train_x).argmax(axis=1), train_y)

    def test_constant_features_carry_no_weight(self) -> None:
        train_x, train_y = clusters(0, 30, 3)
        train_x[:, 4] = 0.1
        probe = fit_probe(train_x, train_y, train_x, train_y, 3)
        assert probe.scale[4] == 1
        np.testing.assert_allclose(probe.weight[:, 4], 0, atol=1e-8)

    def test_scale_of_a_feature_does_not_matter(self) -> None:
        (train_x, train_y), (held_x, held_y) = clusters(0, 30, 3), clusters(1, 30, 3)
        unit = np.geomspace(1e-3, 1e3, train_x.shape[1])
        plain = fit_probe(train_x, train_y, held_x, held_y, 3).logits(held_x)
        scaled = fit_probe(train_x * unit, train_y, held_x * unit, held_y, 3).logits(held_x * unit)
        np.testing.assert_allclose(scaled, plain, atol=2e-3)

    def test_without_validation_examples_it_still_learns(self) -> None:
        train_x, train_y = clusters(0, 60, 3, apart=3)
        test_x, test_y = clusters(1, 60, 3, apart=3)
        probe = fit_probe(train_x, train_y, np.zeros((0, 12)), np.zeros(0, dtype=int), 3)
        assert np.mean(probe.logits(test_x).argmax(axis=1) == test_y) > 0.95

    @pytest.mark.parametrize("label", [-1, 3])
    def test_labels_that_are_no_class_are_refused(self, label: int) -> None:
        with pytest.raises(ValueError, match="expected 0 to 2"):
            fit_probe(np.zeros((2, 4)), np.array([0, label]), np.zeros((2, 4)), np.array([0, 1]), 3)


class TestQuestionOnly:
    def test_answers_that_the_question_gives_away(self) -> None:
        names = np.array(["Yes", "no.", "two cats"])
        (train_x, train_y), (held_x, held_y), (test_x, test_y) = (clusters(i, 60, 3, apart=4) for i in range(3))
        answers = [list(names[labels]) for labels in (train_y, held_y, test_y)]
        answers[2] = [answer.upper() for answer in answers[2]]
        assert question_only(train_x, answers[0], held_x, answers[1], test_x, answers[2]) == 1

    def test_answers_never_seen_in_training_are_missed(self) -> None:
        (train_x, train_y), (test_x, _) = clusters(0, 40, 2, apart=4), clusters(1, 40, 2, apart=4)
        known = np.array(["yes", "no"])[train_y]
        asked = [*known[:30], *["perhaps"] * 10]
        assert question_only(train_x, list(known), test_x, asked, test_x, asked) == pytest.approx(30 / 40)

    def test_features_that_say_nothing_give_the_majority(self) -> None:
        answers = ["yes", "yes", "no"] * 10
        nothing = np.ones((30, 8))
        score = question_only(nothing, answers, nothing, answers, nothing, answers)
        assert score == pytest.approx(majority_text(answers, answers)) == pytest.approx(2 / 3)


class TestSeveralRightAnswers:
    def test_the_most_frequent_answer_is_right_for_the_most_examples(self) -> None:
        train = [["red", "Red."], ["crimson", "red"], "blue", "blue", ["blue", "navy"]]
        assert most_frequent_text(train) == "blue"  # of three examples; red is named four times, in two
        assert majority_text(train, ["blue", ["teal", "Blue!"], "red", ["red", "crimson"]]) == 0.5

    def test_the_blind_answer_is_trained_on_the_first_and_right_if_it_is_any(self) -> None:
        nothing = np.zeros((4, 2))
        train = [["no", "never"], "no", "no", "yes"]
        tested = [["never", "no"], "never", "no", ["yes", "no"]]
        assert question_only(nothing, train, nothing, train, nothing, tested) == 0.75
