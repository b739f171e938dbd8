"""The three effects by hand, their sum, and over what an error is."""

from math import exp, log, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.study.pairs.design import Arm
from fedtap.study.pairs.effects import Losses, contrast, summary

ARMS = {
    "alone": Arm("unlike", 1, "shared", "T1"),
    "private": Arm("unlike", 4, "private", "T1"),
    "matched": Arm("unlike", 4, "private", "T1/pi"),
    "shared": Arm("unlike", 4, "shared", "T1"),
    "both": Arm("unlike", 4, "shared", "T1/pi"),
}


def record(arm: Arm, value: float, *, seed: int = 0, pair: str = "a", outcome: str = "training") -> dict[str, Any]:
    about = {"kind": arm.kind, "pairs": arm.pairs, "trunk": arm.trunk, "length": arm.length}
    return {**about, "seed": seed, "pair": pair, "outcome": outcome, "value": value}


def test_effects_by_hand() -> None:
    values = {"alone": 1.0, "private": 8.0, "matched": 2.0, "shared": 4.0, "both": 3.0}
    found = Losses([record(ARMS[name], value) for name, value in values.items()]).effects("training", "unlike", 4)
    assert {name: effect.factor for name, effect in found.items()} == pytest.approx(
        {"coverage": 4.0, "averaging": 2.0, "sharing": 1.5, "sharing at T1": 0.5, "decline": 4.0}
    )


@given(st.lists(st.floats(0.01, 100), min_size=5, max_size=5))
def test_the_decline_is_the_sum_of_its_parts(values: list[float]) -> None:
    records = [record(arm, value) for arm, value in zip(ARMS.values(), values, strict=True)]
    found = Losses(records).effects("training", "unlike", 4)
    parts = sum(found[name].mean for name in ("coverage", "averaging", "sharing at T1"))
    assert found["decline"].mean == pytest.approx(parts, abs=1e-9)


def test_an_error_is_over_seeds_where_there_are_three_and_over_pairs_otherwise() -> None:
    """Seed means 1.5, 2.5, 3.5: sd 1; four values 1, 2, 2, 3 of two seeds: sd sqrt(2 / 3)."""
    three = contrast({(seed, pair): seed + 1.0 + at for seed in range(3) for at, pair in enumerate("ab")})
    assert (three.mean, three.over) == (2.5, "seeds")
    assert three.error == pytest.approx(1 / sqrt(3))
    two = contrast({(seed, pair): seed + 1.0 + at for seed in range(2) for at, pair in enumerate("ab")})
    assert (two.mean, two.over) == (2.0, "pairs")
    assert two.error == pytest.approx(sqrt(2 / 3) / 2)
    assert contrast({(0, "a"): 1.0}).error is None


def test_pairs_are_matched_by_name_and_alike_ones_by_the_mean_of_those_that_were_alone() -> None:
    like, alone = Arm("alike", 4, "shared", "T1"), Arm("alike", 1, "shared", "T1")
    losses = Losses([record(alone, exp(2.0)), record(like, exp(3.0)), record(like, exp(4.0), pair="b")])
    found = losses.relative("training", like)
    assert found is not None
    assert found.mean == pytest.approx(1.5)  # a: 3 - 2; b, which was never alone: 4 - 2
    unlike = Losses(
        [record(ARMS["alone"], 1.0), record(ARMS["shared"], exp(3.0)), record(ARMS["shared"], 9.0, pair="b")]
    )
    only = unlike.relative("training", ARMS["shared"])
    assert only is not None
    assert only.mean == pytest.approx(3.0)
    assert unlike.relative("test", ARMS["shared"]) is None


def test_what_personal_models_win_back_is_a_paired_difference() -> None:
    """Served declines by log 4 and log 2, personal by log 2 twice: log 2 less and nothing less, whatever the levels are."""
    values = {"a": {"test": (1.0, 4.0), "personal": (3.0, 6.0)}, "b": {"test": (5.0, 10.0), "personal": (1.0, 2.0)}}
    records = [
        record(arm, value, pair=pair, outcome=outcome)
        for pair, outcomes in values.items()
        for outcome, pair_of in outcomes.items()
        for arm, value in zip((ARMS["alone"], ARMS["shared"]), pair_of, strict=True)
    ]
    won = Losses(records).effects("personal over served", "unlike", 4)["decline"]
    assert won.mean == pytest.approx(-log(2) / 2)
    assert won.error == pytest.approx(log(2) / 2)  # -log 2 and 0: sd log(2) / sqrt 2, over two pairs
    told = summary(records, ["unlike"], [1, 4], ["T1"])["unlike"]
    assert told["alone"]["personal over served"] == pytest.approx(sqrt(3 / 5))
    (row,) = [row for row in told["effects"] if row["outcome"] == "personal over served"]
    assert row["factor"] == pytest.approx(2**-0.5)
    assert not Losses(records[:2]).effects("personal over served", "unlike", 4)  # nothing without personal models


def test_the_summary_leaves_out_what_is_not_there() -> None:
    records = [record(ARMS["alone"], 2.0), record(ARMS["shared"], 4.0)]
    records.append({**record(ARMS["shared"], 0.5, outcome="zeta2_pairs"), "pair": ""})
    told = summary(records, ["unlike", "alike"], [1, 4], ["T1", "T1/pi"])
    assert list(told) == ["unlike"]
    assert told["unlike"]["alone"] == {"training": pytest.approx(2.0)}
    assert [(level["trunk"], level["length"], level["factor"]) for level in told["unlike"]["levels"]] == [
        ("shared", "T1", pytest.approx(2.0))
    ]
    assert [effect["effect"] for effect in told["unlike"]["effects"]] == ["decline"]
    assert told["unlike"]["effects"][0]["mean"] == pytest.approx(log(2))
    assert told["unlike"]["zeta2_pairs"] == [{"pairs": 4, "trunk": "shared", "length": "T1", "mean": 0.5}]
