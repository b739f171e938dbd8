"""The federations of the study of regimes: what they hold is what they are called, and what is asked for wrongly is refused."""

import pytest

from fedtap.data.dials.conflict import exchanged
from fedtap.runtime.errors import UserError
from fedtap.study.regimes.design import FULL, POINTS, QUICK, Point, cell_name, cells, chosen, federation


@pytest.mark.parametrize("point", [*POINTS, *cells()], ids=lambda point: point.name)
def test_every_point_is_a_federation(point: Point) -> None:
    scenario = federation(point, "experts", FULL)
    if point.shipped:
        assert scenario.name == point.shipped
        return
    assert (len(scenario.clients), scenario.clients_per_round, scenario.rounds) == (8, 4, 15)
    assert scenario.data.train == point.examples
    assert scenario.data.validation == min(24, (point.examples or 0) // 2)


def test_a_cell_has_its_conflict() -> None:
    by_name = {point.name: point for point in cells((0, 0.5, 1), (16,))}
    in_conflict = {
        name: {client for client, _ in exchanged(federation(point, "experts", QUICK), seed=0)}
        for name, point in by_name.items()
    }
    assert {name: len(found) for name, found in in_conflict.items() if name != cell_name(0.5, 16)} == {
        cell_name(0, 16): 0,
        cell_name(1, 16): 8,
    }
    assert {len(found) for found in in_conflict.values()} != {0}


def test_half_of_the_tasks_and_one_liar() -> None:
    by_name = {point.name: point for point in POINTS}
    tasks = {task for _, task in exchanged(federation(by_name["half-of-the-tasks"], "plain", QUICK), seed=3)}
    assert tasks == {"digits"}
    lied = exchanged(federation(by_name["one-liar"], "plain", QUICK), seed=3)
    assert sorted(task for _, task in lied) == ["answers", "digits"]  # of each task one client


def test_points_may_be_cells_and_are_taken_once() -> None:
    every = [point.name for point in chosen(["points", "map"], (0.0, 0.5, 1.0), (16, 48, 96))]
    assert len(every) == len(set(every)) == 8 + 9 - 3
    assert [point.name for point in chosen(["vendors", "vendors", "long"], (0.0,), (16,))] == ["vendors", "long"]
    assert {point.name for point in POINTS if point.is_cell} <= {point.name for point in cells()}
    with pytest.raises(UserError, match=r"--points vendor: unknown; did you mean 'vendors'"):
        chosen(["vendor"], (0.0,), (16,))
