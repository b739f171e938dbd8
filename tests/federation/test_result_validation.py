"""Rows that a client sends of its own models: what is sound passes, everything else is named and refused."""

from typing import Any

import pytest

from builders import DIGITS, MOOD, VQA, scenario_of
from fedtap.experiment.run import most_behind_a_value
from fedtap.federation.result_validation import MAX_ROWS, result_complaint

ROW = {
    "client": "a",
    "task": "digits",
    "family": "image_classification",
    "model": "personal",
    "split": "test",
    "metric": "accuracy",
    "value": 0.5,
    "n": 12,
}
MODELS = {"personal", "federated", "majority"}


def complaint(rows: Any) -> str | None:
    return result_complaint(rows, "a", (DIGITS, MOOD), "test", MODELS, {"digits": 40})


def test_sound_rows_pass() -> None:
    other = {**ROW, "task": "mood", "family": "text_classification", "value": 1}
    lost = {**other, "metric": "cross_entropy", "value": None}
    assert complaint([ROW, {**ROW, "model": "federated"}, {**ROW, "metric": "macro_f1"}, other, lost]) is None
    text = {**ROW, "task": "vqa", "family": "text_generation", "metric": "bertscore_f1[minilm-l6]", "value": 1.0000002}
    assert result_complaint([text], "a", (VQA,), "test", MODELS) is None
    assert complaint([]) is None


BAD: dict[str, tuple[Any, str]] = {
    "no list": ({"rows": []}, "no list"),
    "without end": ([ROW] * (MAX_ROWS + 1), "no list of"),
    "a number": ([3], "fields"),
    "a field too few": ([{key: value for key, value in ROW.items() if key != "n"}], "fields"),
    "a field too many": ([{**ROW, "note": "hi"}], "fields"),
    "another client": ([{**ROW, "client": "b"}], "client 'b'"),
    "another task": ([{**ROW, "task": "vqa"}], "task 'vqa'"),
    "another family": ([{**ROW, "family": "text_generation"}], "family"),
    "another split": ([{**ROW, "split": "cross"}], "split"),
    "a new metric": ([{**ROW, "metric": "glory"}], "unknown metric 'glory'"),
    "a metric that is a number": ([{**ROW, "metric": 3}], "'metric'"),
    "a model of lines": ([{**ROW, "model": "a\nb"}], "'model'"),
    "a model without a name": ([{**ROW, "model": ""}], "'model'"),
    "a model with a long name": ([{**ROW, "model": "m" * 100}], "too long"),
    "not a number": ([{**ROW, "value": float("nan")}], "no finite number"),
    "infinite": ([{**ROW, "value": float("inf")}], "no finite number"),
    "beyond floats": ([{**ROW, "value": 10**400}], "no finite number"),
    "a switch": ([{**ROW, "value": True}], "no finite number"),
    "beyond its range": ([{**ROW, "value": 1e300}], "the accuracy of task 'digits' is 1e+300; it is from 0 to 1"),
    "absurd": ([{**ROW, "metric": "cross_entropy", "value": 1.7e308}], "it is from 0 to 1e+06"),
    "a metric of other tasks": ([{**ROW, "metric": "chrf"}], "the metric 'chrf' of task 'digits'"),
    "a metric that is a list": ([{**ROW, "metric": ["accuracy"]}], "'metric'"),
    "a task that is a list": ([{**ROW, "task": ["digits"]}], "'task'"),
    "invented models": ([{**ROW, "model": f"m{i}"} for i in range(1900)], "model 'm0', which the method does not have"),
    "one invented model": ([ROW, {**ROW, "model": "teacher"}], "model 'teacher', which the method does not have"),
    "over more than there are": ([{**ROW, "n": 41}], "over 41 examples; there can be 40"),
    "over no examples": ([{**ROW, "n": 0}], "sensible number"),
    "over half an example": ([{**ROW, "n": 0.5}], "sensible number"),
    "over endless examples": ([{**ROW, "n": 10**30}], "sensible number"),
    "twice": ([ROW, {**ROW, "value": 0.9}], "two rows"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_sound_is_named(what: str) -> None:
    rows, why = BAD[what]
    told = complaint(rows)
    assert told is not None
    assert why in told
    assert "\n" not in told


def test_a_value_is_over_the_test_examples_or_the_tokens_of_their_texts() -> None:
    scenario = scenario_of(data={"test": 20}, network={"answer_tokens": 8})
    found = {client.id: most_behind_a_value(scenario, client) for client in scenario.clients}
    assert found == {
        "a": {"digits": 20, "mood": 20},
        "b": {"digits": 20},
        "c": {"vqa": 180},
        "d": {"mood": 20, "redraw": 20},
    }
