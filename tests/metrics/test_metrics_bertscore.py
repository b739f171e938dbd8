"""BERTScore's greedy matching by hand, on vectors that say what comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fedtap.metrics import bertscore
from fedtap.metrics.bertscore import BertScore, f1


class Table:
    """An encoder that looks texts up, and counts."""

    name = "table"

    def __init__(self, **vectors: Sequence[Sequence[float]]) -> None:
        self.vectors = vectors
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        self.asked.append(list(texts))
        return [np.array(self.vectors[text], dtype=np.float32).reshape(-1, 2) for text in texts]


EAST, NORTH, NORTHEAST, WEST = [2.0, 0.0], [0.0, 0.5], [3.0, 3.0], [-1.0, 0.0]


@pytest.mark.parametrize(
    ("prediction", "reference", "precision", "recall"),
    [
        ([EAST, NORTH], [NORTH, EAST], 1, 1),  # order and length of vectors play no part
        ([EAST], [NORTHEAST], 0.5**0.5, 0.5**0.5),
        ([EAST, NORTH], [NORTHEAST, NORTH], (0.5**0.5 + 1) / 2, (0.5**0.5 + 1) / 2),
        ([EAST, WEST], [EAST], (1 - 1) / 2 + 0, 1),
        ([EAST, EAST, NORTH], [EAST], 2 / 3, 1),  # one token may serve several
        ([NORTHEAST], [EAST, NORTH, WEST], 0.5**0.5, (2 * 0.5**0.5 - 0.5**0.5) / 3),
        ([EAST], [WEST], -1, -1),
        ([], [EAST], 0, 0),
        ([EAST], [], 0, 0),
        ([], [], 0, 0),
    ],
)
def test_greedy_matching_by_hand(
    prediction: list[list[float]], reference: list[list[float]], precision: float, recall: float
) -> None:
    positive = precision > 0 and recall > 0
    expected = 2 / (1 / precision + 1 / recall) if positive else 0
    vectors = (np.array(each, dtype=np.float32).reshape(-1, 2) for each in (prediction, reference))
    assert f1(*vectors) == pytest.approx(expected, abs=1e-7)


def test_a_vector_of_zeros_is_near_nothing() -> None:
    assert f1(np.zeros((1, 2), np.float32), np.array([EAST], np.float32)) == 0


def test_it_is_the_mean_over_examples_and_each_text_is_embedded_once() -> None:
    encoder = Table(yes=[EAST], no=[NORTH], maybe=[NORTHEAST])
    metric = BertScore(encoder)
    assert metric.name == "bertscore_f1[table]"
    value = metric(["yes", "yes", "maybe", "yes"], ["yes", "no", "no", "yes"])
    assert value == pytest.approx((1 + 0 + 0.5**0.5 + 1) / 4)
    assert encoder.asked == [["maybe", "no", "yes"]]


def test_many_examples_are_embedded_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bertscore, "_AT_ONCE", 2)
    encoder = Table(yes=[EAST], no=[NORTH], maybe=[NORTHEAST])
    assert BertScore(encoder)(["yes"] * 2 + ["maybe"], ["no"] * 2 + ["yes"]) == pytest.approx(0.5**0.5 / 3)
    assert encoder.asked == [["no", "yes"], ["maybe", "yes"]]
