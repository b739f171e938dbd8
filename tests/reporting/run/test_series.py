"""What the log says round by round, against sums by hand."""

import pytest

from fedtap.pairs import Pair
from fedtap.reporting.run.decisions import timelines
from fedtap.reporting.run.series import Traffic, loss_curves, round_seconds, traffic, validation_curves

PAIRS = {
    ("a", "digits"): Pair("digits", "classification", "image", "d"),
    ("b", "faces"): Pair("faces", "classification", "image", "d"),
}
EVENTS = [
    {"event": "round_started", "round": 1, "time": 10.0},
    {"event": "update", "round": 1, "client": "a", "losses": {"digits": 1.0}, "personal_losses": {"digits": 0.5},
     "bytes_down": 10, "bytes_up": 7},
    {"event": "update", "round": 1, "client": "b", "losses": {"faces": 2.0}, "bytes_down": 5, "bytes_up": 4},
    {"event": "round_finished", "round": 1, "time": 12.5},
    {"event": "round_started", "round": 2, "time": 20.0},
    {"event": "update", "round": 2, "client": "b", "losses": {"faces": None}, "bytes_down": 5, "bytes_up": 4},
]  # fmt: skip


def test_losses_are_means_over_the_clients_of_a_family() -> None:
    assert loss_curves(EVENTS, PAIRS) == {"image_classification": {"federated": {1: 1.5}, "personal": {1: 0.5}}}


def test_a_model_that_is_not_sent_is_called_local() -> None:
    update = {"event": "update", "round": 1, "client": "a", "losses": {"digits": 1.0}, "bytes_up": 0}
    assert loss_curves([update], PAIRS) == {"image_classification": {"local": {1: 1.0}}}


def test_scores_are_means_of_the_metric_that_counts_over_the_clients_of_a_family() -> None:
    def told(number: int, client: str, task: str, **values: float | None) -> dict[str, object]:
        rows = [
            {"task": task, "model": "personal", "metric": metric, "value": value, "n": 4}
            for metric, value in values.items()
        ]
        return {"event": "validation", "round": number, "client": client, "rows": rows}

    events = [
        told(2, "a", "digits", accuracy=0.5, macro_f1=0.1),
        told(2, "b", "faces", accuracy=1.0, macro_f1=0.2),
        told(4, "a", "digits", accuracy=0.25),
        told(4, "b", "faces", accuracy=None),  # that model has diverged
        told(4, "b", "nothing that it has", accuracy=0.9),
    ]
    found = validation_curves(events, PAIRS)
    assert found == {("image_classification", "accuracy"): {"personal": {2: 0.75, 4: 0.25}}}


def test_bytes_are_sums_over_the_clients_of_a_round() -> None:
    assert traffic(EVENTS) == {1: Traffic(15, 11), 2: Traffic(5, 4)}


def test_an_unfinished_round_has_no_duration() -> None:
    assert round_seconds(EVENTS) == {1: pytest.approx(2.5)}


def test_first_participations_are_no_choice() -> None:
    events = [
        {"event": "decision", "kind": "replace", "round": number, "client": "a", "task": "t", "outcome": outcome,
         "personal_loss": personal}
        for number, outcome, personal in [(1, "replaced", None), (3, "kept", 0.4), (4, "replaced", 0.9)]
    ]  # fmt: skip
    (line,) = timelines(events)
    assert sorted(line.rounds) == [1, 3, 4]
    assert (line.replaced, len(line.weighed)) == (1, 2)
