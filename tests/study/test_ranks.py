"""Ranks by hand, with ties, errors that are better when lower, and who serves only a part."""

from typing import Any

import pytest

from fedtap.study.ranks import client_gains, mean_ranks
from fedtap.study.statistics import Gain


def gain(client: str, task: str, value: float, *, metric: str = "accuracy", percent: float | None = 0.0) -> Gain:
    return Gain(0, client, task, "family", metric, value, 0.5, percent, 0)


GAINS = {
    "local": [gain("a", "t", 0.5), gain("b", "t", 0.5), gain("b", "e", 0.5, metric="mse")],
    "x": [gain("a", "t", 0.6, percent=20.0), gain("b", "t", 0.5), gain("b", "e", 0.4, metric="mse", percent=20.0)],
    "y": [gain("a", "t", 0.6, percent=None), gain("b", "t", 0.4, percent=-20.0), gain("b", "e", 0.6, metric="mse")],
    "part": [gain("a", "t", 0.9, percent=80.0)],
}


def test_the_mean_rank_of_each_method_that_serves_all() -> None:
    rows = mean_ranks(GAINS, "local")
    # a, t: x and y share 1 and 2, local is 3; b, t: local and x share 1 and 2; b, e (an error): x, local, y
    assert [(row["method"], row["rank"]) for row in rows] == [
        ("x", pytest.approx((1.5 + 1.5 + 1) / 3)),
        ("local", pytest.approx((3 + 1.5 + 2) / 3)),
        ("y", pytest.approx((1.5 + 3 + 3) / 3)),
    ]
    assert {(row["ci95"], row["of"]) for row in rows} == {(None, 3)}  # two clients are too few


def test_what_each_client_gains_by_each_method() -> None:
    rows: list[dict[str, Any]] = client_gains(GAINS, "local")
    assert rows == [
        {"client": "a", "tasks": 1, "gains": {"x": 20.0, "y": None, "part": 80.0}},
        {"client": "b", "tasks": 2, "gains": {"x": 10.0, "y": -10.0, "part": None}},
    ]
