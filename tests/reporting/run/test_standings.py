"""Result rows gathered: which number, which is best, which means are comparable."""

import pytest

from fedtap.reporting.run.standings import better, family_standings, model_order, standings
from synthetic_run import config

CONFIG = config(clients=3, unseen=0)  # c0: digits; c1: sentiment; c2: shapes, vqa


def row(client: str, task: str, model: str, value: float | None, metric: str, split: str = "test") -> dict[str, object]:
    return {
        "client": client, "task": task, "family": f"family of {task}", "model": model, "split": split, "metric": metric,
        "value": value, "n": 7,
    }  # fmt: skip


def test_lower_is_better_for_errors_and_higher_for_scores() -> None:
    assert better("accuracy", 0.6, 0.5)
    assert better("mse", 0.5, 0.6)
    assert not better("mse", 0.5, 0.5)


def test_models_come_in_the_order_in_which_they_are_made() -> None:
    assert model_order(["zeta", "personal", "alpha", "federated", "personal"]) == [
        "federated",
        "personal",
        "alpha",
        "zeta",
    ]


def test_only_the_primary_metric_of_the_split_stands() -> None:
    rows = [
        row("c2", "shapes", "personal", 0.04, "mse"),
        row("c2", "shapes", "federated", 0.05, "mse"),
        row("c2", "shapes", "federated", 99.0, "psnr"),
        row("c2", "shapes", "federated", 0.01, "mse", split="cross"),
        row("c2", "shapes", "finetuned", None, "mse"),
        row("c2", "shapes", "mean_picture", 0.09, "mse"),
        row("c2", "nobody's task", "federated", 0.5, "mse"),
    ]
    (standing,) = standings(rows, CONFIG)
    assert (standing.client, standing.task, standing.metric, standing.n) == ("c2", "shapes", "mse", 7)
    assert list(standing.values.items()) == [("federated", 0.05), ("personal", 0.04)]
    assert standing.best == {"personal"}
    assert standing.baseline == ("mean_picture", 0.09)


def test_the_strongest_of_several_baselines_counts() -> None:
    rows = [
        row("c2", "vqa", "majority", 0.36, "exact_match"),
        row("c2", "vqa", "question_only", 0.61, "exact_match"),
        row("c2", "vqa", "federated", 0.6, "exact_match"),
    ]
    assert standings(rows, CONFIG)[0].baseline == ("question_only", 0.61)


def test_clients_stand_in_the_scenario_s_order() -> None:
    rows = [
        row("c2", "vqa", "federated", 0.6, "exact_match"),
        row("c1", "sentiment", "federated", 0.7, "accuracy"),
        row("c2", "shapes", "federated", 0.1, "mse"),
    ]
    assert [(s.client, s.task) for s in standings(rows, CONFIG)] == [
        ("c1", "sentiment"),
        ("c2", "shapes"),
        ("c2", "vqa"),
    ]


def test_a_cross_row_needs_no_such_task_at_that_client() -> None:
    (standing,) = standings([row("c1", "digits", "personal", 0.3, "accuracy", split="cross")], CONFIG, "cross")
    assert standing.values == {"personal": 0.3}


def test_a_family_mean_is_given_only_over_all_its_client_tasks() -> None:
    rows = [
        row("c0", "digits", "federated", 0.5, "accuracy"),
        row("c0", "digits", "personal", 0.7, "accuracy"),
        row("c0", "digits", "majority", 0.1, "accuracy"),
        row("c1", "sentiment", "federated", 0.9, "accuracy"),
    ]
    for made in rows:
        made["family"] = "one family"
    (family,) = family_standings(standings(rows, CONFIG))
    assert family.client_tasks == 2
    assert family.values == {"federated": pytest.approx(0.7)}
    assert family.baseline is None  # sentiment has none here


def test_metrics_of_one_family_are_not_averaged_together() -> None:
    rows = [row("c1", "sentiment", "federated", 0.9, "accuracy"), row("c2", "shapes", "federated", 0.1, "mse")]
    for made in rows:
        made["family"] = "one family"
    families = family_standings(standings(rows, CONFIG))
    assert [(family.metric, family.values["federated"]) for family in families] == [("accuracy", 0.9), ("mse", 0.1)]
