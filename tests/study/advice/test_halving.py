"""Who is out, who runs on, and when it ends: by hand on made-up outcomes, and what must hold for any."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedtap.study.advice.halving import Rung, Terms, halve, judge
from fedtap.study.paired import compare_pair
from study.advice.made_up import World, by_client, gains_of, noisy

EIGHT = tuple(range(8))


def terms(seeds: tuple[int, ...] = EIGHT, **given: float) -> Terms:
    return Terms("local", seeds, **given)  # type: ignore[arg-type]


def test_what_is_far_behind_is_out_at_once_and_one_that_is_left_ends_it() -> None:
    world = World({"good": noisy(40, 1, 1), "fair": noisy(20, 1, 2)})
    race = halve(["fair", "local", "good"], terms(), world.play)
    (look,) = race.looks
    assert (race.stop, race.spent, look.leader, look.kept) == ("one", 9, "good", ("good",))
    assert look.out == ("fair", "local")  # the better one first
    assert look.rung == Rung(("fair", "good", "local"), "local", (0, 1, 2), 3)


def test_noise_throws_nobody_out_and_the_seeds_grow_until_there_are_none() -> None:
    world = World({"a": noisy(40, 9, 1), "b": noisy(40, 9, 2)})
    race = halve(["local", "a", "b"], terms(), world.play)
    assert (race.stop, set(race.looks[-1].kept)) == ("seeds", {"a", "b"})
    # `local` is out after the first rung, and runs on, since gains are over it
    assert [(rung.methods, rung.seeds, rung.runs) for rung in world.played] == [
        (("a", "b", "local"), (0, 1, 2), 9),
        (("a", "b"), (0, 1, 2, 3, 4, 5), 9),
        (("a", "b"), EIGHT, 6),
    ]
    assert race.spent == 24
    assert race.looks[0].out == ("local",)


def test_methods_that_surely_differ_by_less_than_the_tolerance_are_level() -> None:
    world = World({"a": noisy(40, 5, 1), "b": lambda seed, client: noisy(40, 5, 1)(seed, client) - 0.5})
    race = halve(["local", "a", "b"], terms(tolerance=1.0), world.play)
    assert (race.stop, race.spent, race.looks[-1].kept) == ("level", 9, ("a", "b"))
    # a difference that is always there, and always smaller than what counts, counts where less does
    race = halve(["local", "a", "b"], terms(tolerance=0.1), world.play)
    assert (race.stop, race.looks[-1].kept) == ("one", ("a",))


def test_the_level_is_shared_among_rivals_and_rungs() -> None:
    """With one seed the test is the t-test of clients' differences, p of about .013: enough for one question, not for four."""
    apart = [9.0, 1.0, 4.0, 6.0, 2.0, 8.0]
    gains = {
        "a": gains_of(by_client(*[20.0] * 6), (0,), 6),
        "b": gains_of(by_client(*[20.0 - each for each in apart]), (0,), 6),
    }
    rung = Rung(("a", "b"), "local", (0,), 1)
    (alone,) = judge(gains, rung, looks=1, tolerance=0).rivals
    p = float(stats.ttest_1samp(apart, 0).pvalue)
    assert 0.05 / 4 < p < 0.05
    assert alone.p == alone.p_shared == pytest.approx(p)
    assert (alone.difference, alone.standing) == (-5.0, "behind")
    (shared,) = judge(gains, rung, looks=4, tolerance=0).rivals
    assert shared.p_shared == pytest.approx(4 * p)
    assert shared.standing == "unlikely"
    third = {**gains, **{name: gains_of(by_client(*[0.0] * 5, 1.0), (0,), 6) for name in ("c", "d", "e")}}
    several = {rival.method: rival for rival in judge(third, rung, looks=1, tolerance=0).rivals}
    assert several["b"].p_shared == pytest.approx(4 * p)
    assert [several[name].standing for name in "bcde"] == ["unlikely", "behind", "behind", "behind"]


def test_an_interval_that_reaches_zero_keeps_a_method_whatever_the_test_says(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"a": gains_of(noisy(9, 1, 1), (0, 1), 6), "b": gains_of(noisy(4, 1, 2), (0, 1), 6)}
    rung = Rung(("a", "b"), "local", (0, 1), 2)
    assert judge(gains, rung, looks=1, tolerance=0).out == ("b",)
    monkeypatch.setattr("fedtap.study.paired.bootstrap_interval", lambda cells: (-9.0, 0.0))
    look = judge(gains, rung, looks=1, tolerance=0)
    assert (look.out, look.tied) == ((), ("a", "b"))
    monkeypatch.setattr("fedtap.study.paired.bootstrap_interval", lambda cells: (-9.0, -0.1))
    look = judge(gains, rung, looks=10**9, tolerance=0)
    assert (look.out, look.kept, look.tied) == ((), ("a", "b"), ("a",))


def test_of_fewer_than_five_clients_the_test_alone_decides() -> None:
    world = World({"a": noisy(90, 1, 1), "b": noisy(20, 1, 2)}, clients=4)
    race = halve(["local", "a", "b"], terms(), world.play)
    assert race.looks[-1].kept == ("a",)
    assert {rival.ci95 for rival in race.looks[-1].rivals} == {None}
    gains = {"a": gains_of(noisy(9, 1, 1), (0, 1, 2), 4), "b": gains_of(noisy(4, 1, 2), (0, 1, 2), 4)}
    (rival,) = judge(gains, Rung(("a", "b"), "local", (0, 1, 2), 3), looks=10**9, tolerance=0).rivals
    assert rival.p is not None
    assert (rival.p < 0.05, rival.standing) == (True, "unlikely")


def test_a_budget_gives_fewer_seeds_to_all_before_it_sets_any_aside() -> None:
    world = World({name: noisy(2, 9, key) for key, name in enumerate("abc")})
    everybody = ["local", "a", "b", "c"]
    race = halve(everybody, terms(budget=16), world.play)
    # twelve runs for three seeds; the four that are left are one more seed for each, and not three
    assert [(rung.runs, rung.added, rung.set_aside) for rung in world.played] == [(12, 3, ()), (4, 1, ())]
    assert (race.stop, race.spent) == ("budget", 16)
    assert len(race.looks[-1].kept) == 4


def test_what_the_budget_does_not_pay_for_is_set_aside_by_mean_gain_and_no_further_than_two() -> None:
    world = World({name: noisy(1 + key, 9, key) for key, name in enumerate("abcd")})
    race = halve(["local", *"abcd"], terms(budget=18), world.play)
    first, second = world.played
    order = race.looks[0].kept
    assert len(order) == 5
    assert (first.runs, second.runs, race.stop) == (15, 3, "budget")
    # three runs are one seed of two methods and of the base, or of three with the base among them
    keep = 3 if "local" in order[:3] else 2
    assert second.methods == tuple(sorted(order[:keep]))
    assert second.set_aside == order[keep:]
    assert set(race.looks[-1].kept) <= set(second.methods)
    # four are one seed of the better three, whether the base is among them or not
    more = World(world.outcomes)
    halve(["local", *"abcd"], terms(budget=19), more.play)
    assert more.played[1].methods == tuple(sorted(order[:3]))
    none = halve(["local", *"abcd"], terms(budget=16), World(world.outcomes).play)
    assert (none.spent, len(none.looks), none.stop) == (15, 1, "budget")


def test_a_budget_for_one_seed_makes_one_look() -> None:
    world = World({"a": noisy(9, 9, 1)})
    race = halve(["local", "a"], terms(budget=3), world.play)
    assert [(rung.seeds, rung.last) for rung in world.played] == [((0,), True)]
    assert (race.spent, race.stop) == (2, "budget")


def test_a_method_that_fails_is_in_question_no_more_and_without_the_base_nothing_is() -> None:
    world = World({"a": noisy(40, 9, 1), "b": noisy(40, 9, 2), "c": noisy(40, 9, 3)}, failing=("c",))
    race = halve(["local", "a", "b", "c"], terms(), world.play)
    assert set(race.looks[-1].kept) == {"a", "b"}
    assert "c" not in {method for rung in world.played[1:] for method in rung.methods}
    race = halve(["local", "a"], terms(), World({"a": noisy(9, 1, 1)}, failing=("local",)).play)
    assert (race.looks, race.spent, race.stop) == ((), 6, "failed")
    race = halve(["local", "a"], terms(), World({"a": noisy(9, 1, 1)}, failing=("a",)).play)
    assert (race.looks, race.stop) == ((), "failed")


@settings(max_examples=25)
@given(
    means=st.lists(st.floats(-30, 30), min_size=1, max_size=5),
    spread=st.sampled_from([0.0, 0.5, 5.0, 30.0]),
    seeds=st.integers(1, 9),
    clients=st.integers(1, 7),
    extra=st.none() | st.integers(0, 60),
    shuffle=st.randoms(use_true_random=False),
)
def test_whatever_the_outcomes_are(
    means: list[float],
    spread: float,
    seeds: int,
    clients: int,
    extra: int | None,
    shuffle: "st.random.Random",  # type: ignore[name-defined]
) -> None:
    world = World({f"m{key}": noisy(mean, spread, key) for key, mean in enumerate(means)}, clients)
    labels = list(world.outcomes)
    budget = None if extra is None else len(labels) + extra
    given_terms = terms(tuple(range(seeds)), budget=budget)  # type: ignore[arg-type]
    race = halve(labels, given_terms, world.play)
    # the same again, and in any order
    shuffle.shuffle(labels)
    assert halve(labels, given_terms, World(world.outcomes, clients).play) == race
    # the budget is kept, and what was asked for is what was played
    assert race.spent == sum(rung.runs for rung in world.played)
    assert budget is None or race.spent <= budget
    assert len(race.looks) <= len(given_terms.sizes())
    left = set(labels)
    for look in race.looks:
        gains = {label: gains_of(world.outcomes[label], look.rung.seeds, clients) for label in left}
        means_of = {label: math.fsum(gain.percent or 0 for gain in gains[label]) for label in left}
        left -= set(look.rung.set_aside)
        assert set(look.rung.methods) == left
        # the one with the best mean is never out, and who is out is behind it by more than its own interval
        assert means_of[look.leader] == max(means_of[label] for label in left)
        assert set(look.kept) | set(look.out) == left
        for label in look.out:
            pair = compare_pair(gains[label], gains[look.leader])
            assert pair.p is not None
            assert pair.p < 0.05 / (len(left) - 1) / len(given_terms.sizes())
            assert (pair.ci95 is None) == (clients < 5)
            assert pair.ci95 is None or pair.ci95[1] < 0
        left -= set(look.out)
    assert set(race.looks[-1].kept) == left
