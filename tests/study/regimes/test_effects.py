"""What the study of regimes says of rows that are made up: every number by hand."""

import math

import pytest

from fedtap.study.regimes.effects import (
    FEDERATED,
    Ran,
    gains_of,
    hurt,
    over_points,
    point_rows,
    points,
    with_holm,
)
from fedtap.study.statistics import Gain, Run


def row(client: str, task: str, model: str, value: float, metric: str = "accuracy") -> dict[str, object]:
    return {
        "client": client,
        "task": task,
        "family": "family",
        "model": model,
        "split": "test",
        "metric": metric,
        "value": value,
        "n": 10,
    }


def run(method: str, seed: int, deployed: float, federated: float = 0.0) -> Run:
    rows = [row(client, "digits", "personal", deployed) for client in "ab"]
    return Run(method, seed, [*rows, *(row(client, "digits", FEDERATED, federated) for client in "ab")])


def gain(client: str, percent: float | None, *, seed: int = 0, task: str = "digits") -> Gain:
    return Gain(seed, client, task, "family", "accuracy", 0.5, 0.5, percent, 0)


def test_shares_differ_in_points_and_losses_in_percent() -> None:
    share = Gain(0, "a", "t", "f", "accuracy", 0.3, 0.1, 200.0, 1)
    loss = Gain(0, "a", "t", "f", "mse", 0.3, 0.1, -200.0, -1)
    chrf = Gain(0, "a", "t", "f", "chrf", 30.0, 10.0, 200.0, 1)
    assert points(share).percent == pytest.approx(20.0)
    assert points(loss).percent == -200.0
    assert points(chrf).percent == 200.0  # its range is no share
    assert points(Gain(0, "a", "t", "f", "accuracy", 0.3, 0.0, None, 1)).percent == pytest.approx(
        30.0
    )  # over chance of 0


def test_the_averaged_model_is_compared_too_and_what_is_left_out_is() -> None:
    ran = Ran(
        "here",
        [run("local", 0, 0.5), run("fedavg_ft", 0, 0.7, federated=0.4)],
        {"local": "personal", "fedavg_ft": "personal"},
        {"digits": "accuracy"},
        frozenset({(0, "a", "digits")}),
    )
    gains = gains_of(ran)
    assert list(gains) == ["local", "fedavg_ft", FEDERATED]
    assert {label: [each.client for each in its] for label, its in gains.items()} == {key: ["b"] for key in gains}
    assert gains["fedavg_ft"][0].percent == pytest.approx(20)
    assert gains[FEDERATED][0].percent == pytest.approx(-10)


def test_a_point_by_hand() -> None:
    clients = "abcdef"
    gains = {
        "local": [gain(client, 0.0) for client in clients],
        "fedavg_ft": [gain(client, value) for client, value in zip(clients, (1, 2, 3, 4, -5, 1), strict=True)],
        "mine": [gain(client, value) for client, value in zip(clients, (2, 3, 4, 5, -4, -1), strict=True)],
    }
    rows = {each["method"]: each for each in point_rows(gains, ("local", "fedavg_ft", "elsewhere"))}
    assert rows["mine"]["gain"] == pytest.approx(9 / 6)
    assert {each["better"] for each in rows.values()} == {"fedavg_ft"}  # 1 on the mean, above 0
    assert rows["mine"]["against"]["fedavg_ft"]["difference"] == pytest.approx(3 / 6)
    assert rows["mine"]["against"]["better single"] == rows["mine"]["against"]["fedavg_ft"]
    assert set(rows["mine"]["against"]) == {"local", "fedavg_ft", "better single"}
    assert set(rows["fedavg_ft"]["against"]) == {"local"}  # it is the better single itself
    assert rows["mine"]["hurt"] == {"local": pytest.approx(2 / 6)}
    assert rows["mine"]["ci95"][0] < 1.5 < rows["mine"]["ci95"][1]


def test_local_is_the_better_single_where_the_other_loses() -> None:
    gains = {"local": [gain("a", 0.0)], "fedavg_ft": [gain("a", -1.0)]}
    assert {row["better"] for row in point_rows(gains, ())} == {"local"}


def test_who_is_hurt_is_asked_of_clients() -> None:
    mine = [gain("a", 5.0), gain("a", -6.0, task="other"), gain("b", 1.0), gain("b", 1.0, seed=1), gain("c", None)]
    theirs = [gain(each.client, 0.0, seed=each.seed, task=each.task) for each in mine]
    assert hurt(mine, theirs) == pytest.approx(1 / 2)  # a on the mean; of c nothing is known


def test_every_point_counts_alike() -> None:
    clients = "abcde"
    small = {"local": [gain(c, 0.0) for c in clients], "mine": [gain(c, 4.0) for c in clients]}
    tasks = [f"t{number}" for number in range(9)]
    large = {
        "local": [gain(c, 0.0, task=task) for c in clients for task in tasks],
        "mine": [gain(c, -2.0, task=task) for c in clients for task in tasks],
    }
    (row,) = over_points({"small": small, "large": large}, ("local",))
    assert (row["method"], row["against"]) == ("mine", "local")
    assert row["difference"] == pytest.approx(1.0)  # and not (5 * 4 - 45 * 2) / 50
    assert (row["worst"], row["worst_at"]) == (-2.0, "large")
    same = {name: {"local": its["local"], "mine": small["mine"]} for name, its in {"x": small, "y": small}.items()}
    (alike,) = over_points(same, ("local",))
    assert alike["difference"] == pytest.approx(4.0)
    assert alike["ci95"] == pytest.approx([4.0, 4.0])


def test_what_is_not_everywhere_is_not_averaged() -> None:
    one = {"local": [gain("a", 0.0)], "mine": [gain("a", 1.0)]}
    assert over_points({"one": one, "other": {"local": one["local"]}}, ("local",)) == []
    assert over_points({}, ("local",)) == []


def test_holm_is_over_the_points_of_one_question() -> None:
    def test(p: float | None) -> dict[str, object]:
        return {"difference": 1.0, "p": p}

    points_ = {
        "one": [{"method": "mine", "against": {"local": test(0.01), "choice": test(0.2)}}],
        "two": [{"method": "mine", "against": {"local": test(0.04)}}],
        "three": [{"method": "mine", "against": {"local": test(None)}}],
    }
    with_holm(points_)
    found = [points_[name][0]["against"]["local"]["p_holm"] for name in points_]
    assert found[:2] == [pytest.approx(0.02), pytest.approx(0.04)]
    assert found[2] is None
    assert math.isclose(points_["one"][0]["against"]["choice"]["p_holm"], 0.2)
