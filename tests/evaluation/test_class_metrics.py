"""Balanced accuracy and AUROC where they are asked for: in rows of models and of the trivial baseline, and at the server."""

import pytest
import torch

from fedtap.data.loader import ClientData
from fedtap.evaluation.evaluate import score
from fedtap.evaluation.trivial import trivial_rows
from fedtap.federation.result_validation import result_complaint
from fedtap.tasks.base import ScoreSettings
from tiny import CLASSES, LAW, MOOD, build_network, client_data, examples

ASKED = ("balanced_accuracy", "auroc")


def test_a_model_is_scored_by_them_where_they_are_asked_for() -> None:
    network, data = build_network((MOOD,)), examples(MOOD, 9)
    network.load(network.initial_state())
    usual = score(network, [data], ScoreSettings(CLASSES))
    more = score(network, [data], ScoreSettings(CLASSES, class_metrics=ASKED))
    assert more.keys() - usual.keys() == set(ASKED)
    assert more["auroc"] == (0.5, 9)  # it starts at zero logits: all examples alike
    present = len(set(data.labels().tolist()))
    assert more["balanced_accuracy"] == (
        pytest.approx((more["accuracy"][0] > 0) / present),
        9,
    )  # and all get one answer


@pytest.mark.parametrize(
    ("test", "expected"),
    [([1, 1, 1, 0], {"accuracy": 0.75, "balanced_accuracy": 0.5, "auroc": 0.5}), ([0, 0, 0, 0], {"accuracy": 0.0})],
)
def test_who_always_says_the_common_class_is_balanced_to_its_share(test: list[int], expected: dict[str, float]) -> None:
    splits = dict(client_data([MOOD], 4).tasks[MOOD.task])
    splits["train"].labels()[:] = torch.tensor([1, 1, 1, 0])
    splits["test"] = examples(MOOD, 4)
    splits["test"].labels()[:] = torch.tensor(test)
    about = {"client": "c", "pairs": [MOOD], "data": ClientData({MOOD.task: splits}), "words": None, "unseen": False}
    found = {row["metric"]: row["value"] for row in trivial_rows(**about, class_metrics=ASKED)}
    assert found == {"balanced_accuracy": 0.0, **expected}
    assert {row["metric"] for row in trivial_rows(**about)} == {"accuracy"}


@pytest.mark.parametrize("metric", ASKED)
def test_a_server_takes_them_of_classifiers_within_their_range(metric: str) -> None:
    def said(value: float, pair: object = MOOD) -> str | None:
        row = {"client": "c", "task": pair.task, "family": pair.family, "model": "personal", "split": "test"}
        return result_complaint([{**row, "metric": metric, "value": value, "n": 3}], "c", [pair], "test", {"personal"})

    assert said(0.5) is None
    assert "it is from 0 to 1" in str(said(1.5))
    assert "which is text_generation" in str(said(0.5, LAW))
