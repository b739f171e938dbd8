"""Which federations a study has, and how long each trains."""

from pathlib import Path

import pytest

from fedtap.runtime.errors import UserError
from fedtap.study.pairs.design import FULL, LENGTHS, QUICK, Arm, arms, checked, checked_pairs, coverage, rounds_of
from fedtap.study.pairs.scenarios import UNLIKE, federation, runs, tasks_of


def test_equal_updates_and_equal_turns() -> None:
    """K = 8: 24 clients, 2 a round; 1 - (21 * 20) / (24 * 23) of rounds train a pair's own."""
    assert coverage(8) == pytest.approx(1 - 420 / 552)
    assert [rounds_of(length, 8, 100) for length in LENGTHS] == [100, round(100 / (1 - 420 / 552)), 800]
    assert {rounds_of(length, 1, 100) for length in LENGTHS} == {100}


def test_one_pair_has_one_arm_and_more_have_all() -> None:
    found = list(arms(["unlike"], [1, 4], ["T1", "T1/pi"]))
    assert found[0] == Arm("unlike", 1, "shared", "T1")
    assert len(found) == len({arm.key for arm in found}) == 5
    assert {(arm.trunk, arm.length) for arm in found[1:]} == {
        (trunk, length) for trunk in ("shared", "private") for length in ("T1", "T1/pi")
    }


def test_the_same_pairs_are_served_at_every_k() -> None:
    for pairs in (1, 2, 4, 8):
        served = [task.name for tasks in tasks_of("unlike", pairs) for task in tasks]
        assert served == [task.name for task in UNLIKE]
    assert [task.name for tasks in tasks_of("unlike", 2, 4) for task in tasks] == [task.name for task in UNLIKE[:4]]
    assert tasks_of("unlike", 8, 4) == []
    assert len({task.name for (tasks,) in [tasks_of("alike", 16)] for task in tasks}) == 16


@pytest.mark.parametrize("network", ["plain", "experts"])
def test_alike_pairs_share_all_but_their_heads_and_unlike_ones_no_head(network: str) -> None:
    from fedtap.algorithms.registry import make
    from fedtap.experiment.planning import architecture_of

    def parts(kind: str) -> list[set[str]]:
        scenario = federation(network, Arm(kind, 8, "shared", "T1"), tasks_of(kind, 8)[0], QUICK)
        architecture = architecture_of(scenario, make(scenario.method, None, "here"))
        return [set(map(str, architecture.plan(client.pairs))) for client in scenario.clients[::3]]

    alike, unlike = parts("alike"), parts("unlike")
    assert all(len(one - alike[0]) == 1 for one in alike[1:])
    common = set.intersection(*unlike)
    assert common
    assert not any(name.startswith("head/") for name in common)


def test_runs_are_named_apart_and_drawn_two_a_round(tmp_path: Path) -> None:
    found = list(
        runs(["plain"], ["unlike", "alike"], [1, 8], ["T1", "T1/pi"], size=FULL, seeds=[0, 1], folder=tmp_path)
    )
    assert len(found) == len({run.job.name for run in found}) == 2 * (8 + 4 + 1 + 4)
    longest = next(run.job.scenario for run in found if run.arm == Arm("unlike", 8, "private", "T1/pi"))
    assert (longest.rounds, longest.clients_per_round, len(longest.clients)) == (125, 2, 24)
    assert longest.method["name"] == "fedavg_grouped"


@pytest.mark.parametrize("given", [[], [1], [2, 4], [1, 3], [1, 32]])
def test_numbers_of_pairs_that_make_no_study_are_refused(given: list[int]) -> None:
    with pytest.raises(UserError, match="--pairs: give 1 and more of 2, 4, 8 and 16"):
        checked_pairs(given)


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(UserError, match="--lengths T2: unknown"):
        checked("--lengths", ["T1", "T2"], LENGTHS)
    with pytest.raises(UserError, match="--lengths: give one at least"):
        checked("--lengths", [], LENGTHS)
    assert checked("--lengths", ["T1K", "T1", "T1"], LENGTHS) == ("T1", "T1K")
