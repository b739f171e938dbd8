"""Answers of single examples: heard batch after batch, kept as far as they are wanted, and no more."""

import pytest
import torch

from fedtap.evaluation.answers import Answers
from fedtap.pairs import Pair

DIGITS = Pair("digits", "classification", "image", "scans")
DRAW = Pair("draw", "reconstruction", "image", "scans")
ASK = Pair("ask", "text_generation", "image+text", "scans")


def test_of_a_classifier_the_likeliest_class_and_its_share_are_kept_over_batches() -> None:
    answers = Answers({"digits": None})
    answers.hear("federated", DIGITS, 0, torch.tensor([[0.75, 0.25], [0.125, 0.875]]))
    answers.hear("federated", DIGITS, 2, torch.tensor([[0.5, 0.5], [float("nan"), 0.0]]))
    assert [answers.to("federated", "digits", place) for place in range(3)] == [(0, 0.75), (1, 0.875), (0, 0.5)]
    best, share = answers.to("federated", "digits", 3)
    assert (best, share != share) == (0, True)  # of a model that has diverged there is no share


def test_models_and_tasks_are_kept_apart() -> None:
    answers = Answers({"digits": None, "ask": [1]})
    for model, text in (("federated", "red"), ("personal", "blue")):
        answers.hear(model, ASK, 0, ["none", text])
        answers.hear(model, DIGITS, 0, torch.eye(2))
    assert answers.to("federated", "ask", 1) == "red"
    assert answers.to("personal", "ask", 1) == "blue"
    assert answers.to("personal", "digits", 1) == (1, 1.0)


def test_only_what_is_wanted_is_kept_and_a_picture_without_its_batch() -> None:
    answers = Answers({"draw": [3, 0]})
    first, second = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    answers.hear("federated", DRAW, 0, first)
    answers.hear("federated", DRAW, 2, second)
    answers.hear("federated", DIGITS, 0, torch.eye(2))
    assert torch.equal(answers.to("federated", "draw", 0), first[0])
    kept = answers.to("federated", "draw", 3)
    assert torch.equal(kept, second[1])
    assert kept.untyped_storage().nbytes() == 3 * 4 * 4 * 4  # a view would hold on to all of the batch
    for task, place in (("draw", 1), ("digits", 0)):
        with pytest.raises(KeyError):
            answers.to("federated", task, place)
