"""A run's models against each other: gains by hand, what is more than chance, who is hurt, which marks a table has."""

import math

import pytest
from scipy import stats

from fedtap.reporting.run.gains import compare, family_marks, marks
from fedtap.reporting.run.headline import sentences
from fedtap.reporting.run.standings import Standing, family_standings

RIGHT = [1.0] * 90 + [0.0] * 10
WORSE = [1.0] * 70 + [0.0] * 30  # wrong on 20 that the other has right, on none the other way round


def standing(client: str, task: str = "t", metric: str = "accuracy", **values: float) -> Standing:
    return Standing(client, task, "text_classification", metric, 100, values, {"majority": 0.5})


def kept(metric: str = "accuracy", **values: list[float]) -> dict[str, object]:
    return {"metric": metric, "values": values, "sizes": {"test": 100}, "shown": []}


def test_a_gain_is_relative_and_says_who_is_ahead_whatever_the_metric() -> None:
    table = [standing("a", personal=0.9, finetuned=0.6), standing("b", metric="mse", personal=0.3, finetuned=0.2)]
    found = compare(table, "personal", "finetuned", {})
    assert [cell.percent for cell in found.cells] == pytest.approx([50.0, -50.0])
    assert [cell.order for cell in found.cells] == [1, -1]
    assert found.mean == pytest.approx(0.0)
    assert (found.count(1), found.count(-1), found.count(0)) == (1, 1, 0)


def test_nothing_gains_over_nothing() -> None:
    found = compare([standing("a", personal=0.9, finetuned=0.0)], "personal", "finetuned", {})
    assert found.cells[0].percent is None
    assert found.cells[0].order == 1
    assert found.mean is None


def test_the_test_is_paired_where_outcomes_are_there_and_corrected_for_how_many_there_are() -> None:
    table = [standing(client, personal=0.9, finetuned=0.7) for client in "ab"]
    outcomes = {"a": {"t": kept(personal=RIGHT, finetuned=WORSE)}, "b": {"t": kept(personal=RIGHT, finetuned=RIGHT)}}
    found = compare(table, "personal", "finetuned", outcomes)
    assert found.paired
    assert found.cells[0].p == pytest.approx(2 * 2 * 0.5**20)  # McNemar's 2 / 2^20, twice for two cells
    assert found.cells[1].p == 1.0
    assert [cell.beyond_noise for cell in found.cells] == [True, False]
    assert found.count(1, beyond=True) == 1


def test_without_outcomes_shares_are_tested_and_of_errors_nothing_is_said() -> None:
    table = [standing("a", personal=0.9, finetuned=0.7), standing("b", metric="mse", personal=0.1, finetuned=0.7)]
    found = compare(table, "personal", "finetuned", {"a": {"t": kept("exact_match", personal=RIGHT, finetuned=WORSE)}})
    assert not found.paired
    assert found.cells[0].p == pytest.approx(2 * stats.norm.sf(0.2 / math.sqrt(2 * 0.8 * 0.2 / 100)))
    assert found.cells[1].p is None
    assert not found.cells[1].beyond_noise


def test_the_interval_is_that_of_the_clients_means() -> None:
    gains = [1.0, 2.0, 4.0, -3.0, 6.0]
    table = [standing(str(n), personal=1 + g / 100, finetuned=1.0) for n, g in enumerate(gains)]
    found = compare(table, "personal", "finetuned", {})
    low, high = stats.t.interval(0.95, 4, loc=2.0, scale=stats.sem(gains))
    assert found.interval == pytest.approx((low, high))
    assert compare(table[:4], "personal", "finetuned", {}).interval is None


def test_tasks_of_one_client_are_not_taken_for_independent() -> None:
    table = [standing(str(n), f"t{k}", personal=1 + n / 100, finetuned=1.0) for n in range(5) for k in range(3)]
    found = compare(table, "personal", "finetuned", {})
    low, high = stats.t.interval(0.95, 4, loc=2.0, scale=stats.sem([0, 1, 2, 3, 4]))
    assert found.interval == pytest.approx((low, high))


def test_who_is_hurt_is_told_by_clients_and_by_the_worst_tenth() -> None:
    values = {"a": (0.5, 0.4), "b": (1.0, 1.0), "c": (1.5, 0.9)}  # means of -55 %, 0 % and +20 %
    table = [standing(c, f"t{k}", personal=v, finetuned=1.0) for c, both in values.items() for k, v in enumerate(both)]
    found = compare(table, "personal", "finetuned", {})
    assert found.hurt == [("a", pytest.approx(-55.0))]
    assert [(cell.client, cell.task) for cell in found.worst] == [("a", "t1")]
    many = [standing(str(n), personal=n / 100, finetuned=1.0) for n in range(1, 22)]
    assert [cell.client for cell in compare(many, "personal", "finetuned", {}).worst] == ["1", "2", "3"]


def test_the_best_is_marked_only_beyond_noise() -> None:
    close = [1.0] * 89 + [0.0] * 10 + [1.0]
    row = standing("a", personal=0.9, finetuned=0.9, federated=0.7)
    found = marks(row, {"a": {"t": kept(personal=RIGHT, finetuned=close, federated=WORSE)}})
    assert found is not None
    assert found.best is None
    assert found.level == {"personal", "finetuned"}
    row = standing("a", personal=0.9, federated=0.7)
    found = marks(row, {"a": {"t": kept(personal=RIGHT, federated=WORSE)}})
    assert found is not None
    assert found.best == "personal"
    assert found.level == frozenset()


def test_a_row_without_outcomes_of_errors_or_with_one_model_has_no_mark() -> None:
    assert marks(standing("a", metric="mse", personal=0.1, federated=0.9), {}) is None
    assert marks(standing("a", personal=0.9), {}) is None


def test_a_family_has_a_best_if_its_client_tasks_agree() -> None:
    table = [standing(str(n), personal=0.8 + n / 100, federated=0.7 + n / 99) for n in range(6)]
    (family,) = family_standings(table)
    found = family_marks(family, table)
    assert found is not None
    assert found.best == "personal"
    assert family_marks(family_standings(table[:4])[0], table[:4]) is None


def test_the_headline_gives_the_rival_its_due() -> None:
    table = [standing(str(n), personal=0.8, finetuned=0.8 + (n - 2) / 100, federated=0.5) for n in range(6)]
    against = [compare(table, "personal", other, {}) for other in ("finetuned", "federated")]
    first, second = sentences(against, "personal", table)
    assert first.startswith(
        "On average personal models cannot be told from fine-tuned models: -0.6 % (95 % interval over clients "
    )
    assert first.endswith("; better on 2 (0 beyond noise) and worse on 3 (0 beyond noise) of 6 client tasks.")
    assert second.startswith("Over the federated model +60.0 % on average")
    assert second.endswith(", more than chance.")
    (turned, _) = sentences(against[::-1], "personal", table)
    assert turned.startswith("On average personal models are better than the federated model: +60.0 % (95 %")
    (few,) = sentences([compare(table[:4], "personal", "finetuned", {})], "personal", table)
    assert " %, of too few clients to say how surely; better on 2" in few
    assert sentences([], "personal", table) == [
        "Personal models against the strongest trivial baseline: better on 6 of 6 client tasks; the run has no other model to "
        "be held against."
    ]
