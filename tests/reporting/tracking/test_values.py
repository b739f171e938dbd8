"""What trackers are told: numbers by hand, names that every tracker takes, and no place of the machine."""

import re
from pathlib import Path

import pytest

from fedtap.reporting.run.record import read_run
from fedtap.reporting.tracking.values import HIDDEN, complete_rounds, final_values, parameters, round_values
from synthetic_run import config, write_run

EVENTS = [
    {"event": "round_started", "round": 1, "time": 10.0, "clients": ["c0", "c1"]},
    {
        "event": "update", "round": 1, "client": "c0", "examples": 5, "losses": {"digits": 2.0},
        "personal_losses": {"digits": 1.0}, "bytes_down": 7, "bytes_up": 3,
    },
    {
        "event": "update", "round": 1, "client": "c5", "examples": 6, "losses": {"digits": 4.0, "sentiment": 9.0},
        "bytes_down": 1, "bytes_up": 1,
    },
    {
        "event": "decision", "round": 1, "client": "c0", "task": "digits", "kind": "replace", "outcome": "replaced",
        "federated_loss": 1.0, "personal_loss": 2.0,
    },
    {
        "event": "decision", "round": 1, "client": "c5", "task": "digits", "kind": "replace", "outcome": "replaced",
        "federated_loss": 1.0, "personal_loss": None,
    },
    {
        "event": "validation", "round": 1, "client": "c0",
        "rows": [
            {"task": "digits", "model": "personal", "metric": "accuracy", "value": 0.75, "n": 4},
            {"task": "digits", "model": "personal", "metric": "macro_f1", "value": 0.5, "n": 4},
        ],
    },
    {"event": "failed", "round": 1, "client": "c1", "why": "gone"},
    {"event": "round_finished", "round": 1, "time": 14.0},
    {"event": "round_started", "round": 2, "time": 15.0},
]  # fmt: skip


def test_a_round_in_numbers() -> None:
    assert complete_rounds(EVENTS) == [1]
    values, at = round_values(EVENTS, config(), 1)
    assert at == 14.0
    assert values == {
        "loss/image_classification/federated": 3.0, "loss/image_classification/personal": 1.0,
        "loss/text_classification/federated": 9.0, "validation/image_classification/accuracy/personal": 0.75,
        "client/c0/digits/loss/federated": 2.0,
        "client/c0/digits/loss/personal": 1.0, "client/c5/digits/loss/federated": 4.0,
        "client/c5/sentiment/loss/federated": 9.0, "client/c0/digits/replaced": 1.0, "replaced/count": 1.0,
        "replaced/weighed": 1.0, "replaced/share": 1.0, "clients/answered": 2.0, "clients/lost": 1.0, "examples": 11.0,
        "bytes/down": 8.0, "bytes/up": 4.0, "seconds/round": 4.0,
    }  # fmt: skip


def test_results_gains_sizes_and_costs(tmp_path: Path) -> None:
    record = read_run(write_run(tmp_path, outcomes=1))
    found = final_values(record)
    row = next(row for row in record.rows or () if row["model"] == "personal" and row["split"] == "test")
    assert found[f"test/{row['client']}/{row['task']}/{row['metric']}/personal"] == row["value"]
    base = next(
        other["value"] for other in record.rows or ()
        if other["model"] == "finetuned" and all(other[key] == row[key] for key in ("client", "task", "metric", "split"))
    )  # fmt: skip
    gain = 100 * (row["value"] - base) / base  # of an accuracy
    assert row["metric"] == "accuracy"
    assert found[f"gain/personal/over/finetuned/{row['client']}/{row['task']}"] == pytest.approx(gain)
    low, mean, high = (found[f"gain/personal/over/finetuned/{name}"] for name in ("low", "mean", "high"))
    assert low < mean < high
    assert found["data/c0/digits/train"] == 120
    assert found["cost/seconds"] == 243.7
    assert all(re.fullmatch("[A-Za-z0-9_./ -]{1,240}", name) for name in found)


def test_parameters_tell_no_place_and_no_address() -> None:
    run = {
        "seed": 3, "method": "tap", "fedtap": "0.1.0", "environment": {"torch": "2", "platform": "Linux-of-mine"},
        "config": {
            **config(clients=2), "backbone": {"path": "/home/me/weights", "vision": "~/w", "text": "models/small"},
            "data": {"size": {"train": 3}, "from": ["http://me:secret@host/x", "plain"]},
        },
    }  # fmt: skip
    found = parameters(run)
    assert found["backbone.path"] == found["backbone.vision"] == HIDDEN
    assert found["backbone.text"] == "models/small"
    assert found["data.size.train"] == "3"
    assert found["data.from"] == f"{HIDDEN}, plain"
    assert found["client.c2"] == "shapes (reconstruction, image), vqa (text_generation, image+text); unseen"
    assert found["clients"] == "3"
    assert "Linux-of-mine" not in str(found)
    assert "secret" not in str(found)
