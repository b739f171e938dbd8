"""Comparisons of many methods, on results that fit in a hand."""

import json
from typing import Any

import pytest

from fedtap.runtime.errors import UserError
from fedtap.study.comparison import compare_runs
from fedtap.study.families import Entrant, baseline_rows, family_rows
from fedtap.study.statistics import Run
from synthetic_comparison import synthetic_comparison

PRIMARY = {"digits": "accuracy", "redraw": "mse", "vqa": "exact_match", "talk": "cross_entropy"}
FAMILY = {
    "digits": "image_classification",
    "redraw": "image_generation",
    "vqa": "text_generation",
    "talk": "text_generation",
}


def row(client: str, task: str, value: float, **changes: Any) -> dict[str, Any]:
    about = {"client": client, "task": task, "family": FAMILY[task], "model": "personal", "split": "test"}
    return {**about, "metric": PRIMARY[task], "value": value, "n": 10, **changes}


def runs(values: dict[str, list[dict[str, Any]]]) -> list[Run]:
    return [Run(method, seed, rows) for method, rows in values.items() for seed in (0, 1)]


def compare(values: dict[str, list[dict[str, Any]]], **options: Any) -> dict[str, Any]:
    serves = options.pop("serves", {})
    entrants = [Entrant(method, "personal", serves.get(method)) for method in values]
    return compare_runs(runs(values), entrants, primary=PRIMARY, base="local", **options)


LOCAL = [row("a", "digits", 0.5), row("b", "digits", 0.8), row("b", "redraw", 0.2)]


def test_gains_by_hand_with_and_without_reconstruction() -> None:
    better = [row("a", "digits", 0.6), row("b", "digits", 0.6), row("b", "redraw", 0.1)]
    found = compare({"local": LOCAL, "new": better})
    (delta,) = found["delta"]
    assert delta["delta_percent"] == pytest.approx((20 - 25 + 50) / 3)
    assert (delta["wins"], delta["losses"], delta["n"]) == (4, 2, 6)
    assert (delta["client_tasks"], delta["of"], delta["seeds"]) == (3, 3, 2)
    assert delta["worst_decile"] == pytest.approx(-25)
    (without,) = found["splits"]["test"]["without_reconstruction"]["delta"]
    assert without["delta_percent"] == pytest.approx((20 - 25) / 2)
    assert found["delta"] == found["splits"]["test"]["all"]["delta"]
    assert set(found["splits"]) == {"test"}


def test_means_per_family_by_hand() -> None:
    found = compare({"local": LOCAL})
    means = {(r["family"], r["metric"]): (r["mean"], r["client_tasks"]) for r in found["rows"]}
    assert means == {
        ("image_classification", "accuracy"): (pytest.approx(0.65), 2),
        ("image_generation", "mse"): (pytest.approx(0.2), 1),
    }


def test_a_family_with_two_primary_metrics_has_two_means() -> None:
    rows = [
        row("a", "vqa", 0.5),
        row("a", "vqa", 2.0, metric="cross_entropy"),
        row("a", "talk", 4.0),
        row("b", "talk", 5.0),
    ]
    found = family_rows([Run("local", 0, rows)], [Entrant("local", "personal")], split="test", primary=PRIMARY)
    assert [(r["metric"], r["primary"], r["mean"], r["tasks"]) for r in found] == [
        ("cross_entropy", True, 4.5, ["talk"]),
        ("exact_match", True, 0.5, ["vqa"]),
        ("cross_entropy", False, 2.0, ["vqa"]),
    ]


def test_a_method_that_serves_some_tasks_is_compared_on_them_and_says_so() -> None:
    probe = [row("a", "digits", 0.9), row("b", "digits", 0.8)]
    full = [row("a", "digits", 0.55), row("b", "digits", 0.8), row("b", "redraw", 0.2)]
    served = {("a", "digits"), ("b", "digits")}
    found = compare({"local": LOCAL, "probe": probe, "full": full}, serves={"probe": served})
    delta = {each["method"]: each for each in found["delta"]}
    assert (delta["probe"]["client_tasks"], delta["probe"]["of"]) == (2, 3)
    assert delta["probe"]["delta_percent"] == pytest.approx(40)
    assert found["against"] == "full"  # though probe's gain is higher: it is over fewer tasks
    families = {each["family"] for each in found["rows"] if each["method"] == "probe"}
    assert families == {"image_classification"}
    (test,) = [each for each in found["splits"]["test"]["all"]["against"] if each["method"] == "probe"]
    assert test["n"] == 4
    assert test["difference"] == pytest.approx((80 - 10 + 0) / 2)


def test_silence_about_a_task_that_could_be_served_is_refused() -> None:
    with pytest.raises(UserError, match="'new' has no result for seed 0, client 'b', task 'redraw'"):
        compare({"local": LOCAL, "new": LOCAL[:2]})


def test_the_baseline_is_the_strongest_of_each_client_task() -> None:
    rows = [
        *LOCAL,
        row("a", "digits", 0.3, model="majority"),
        row("b", "digits", 0.1, model="majority"),
        row("b", "digits", 0.2, model="question_only"),
        row("b", "redraw", 0.4, model="mean_picture"),
    ]
    names = ("majority", "question_only")
    found = baseline_rows([Run("local", 0, rows)], base="local", names=names, split="test", primary=PRIMARY)
    assert found == [{"family": "image_classification", "metric": "accuracy", "mean": pytest.approx(0.25)}]


def test_who_all_are_tested_against_can_be_named() -> None:
    values = {"local": LOCAL, "x": LOCAL, "y": LOCAL}
    found = compare(values, against="x")
    assert found["against"] == "x"
    assert [each["method"] for each in found["splits"]["test"]["all"]["against"]] == ["local", "y"]
    with pytest.raises(UserError, match="against 'z': it is not compared; known: local, x, y"):
        compare(values, against="z")


def test_every_pair_is_tested_once_and_all_count_in_the_correction() -> None:
    found, _ = synthetic_comparison(["local", "fedavg", "tap", "probe"], spread=0.003)
    pairs = found["pairs"]
    assert [(p["method"], p["against"]) for p in pairs] == [
        ("local", "fedavg"),
        ("local", "tap"),
        ("local", "probe"),
        ("fedavg", "tap"),
        ("fedavg", "probe"),
        ("tap", "probe"),
    ]
    smallest = min(pairs, key=lambda p: p["p"])
    assert smallest["p"] < 1 / 6
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"])
    json.dumps(found, allow_nan=False)


def test_the_order_of_runs_does_not_matter() -> None:
    better = [row("a", "digits", 0.6), row("b", "digits", 0.7), row("b", "redraw", 0.1)]
    values = {"local": LOCAL, "new": better}
    entrants = [Entrant(method, "personal") for method in values]
    there = compare_runs(runs(values), entrants, primary=PRIMARY, base="local")
    back = compare_runs(runs(values)[::-1], entrants, primary=PRIMARY, base="local")
    assert json.dumps(there) == json.dumps(back)
