"""Who trains when: balanced, distinct, and a function of the seed and of the set of clients alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.federation.sampling import schedule
from fedtap.scenario.safety import Sampling
from fedtap.theory.unequal import coverage_chances

IDS = st.lists(st.text("abc019", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@given(IDS, st.integers(1, 15), st.integers(0, 25), st.integers(0, 1000))
def test_balanced_within_one_after_any_number_of_rounds(ids: list[str], per_round: int, rounds: int, seed: int) -> None:
    plan = schedule(ids, per_round=per_round, rounds=rounds, seed=seed)
    assert len(plan) == rounds
    turns = Counter(dict.fromkeys(ids, 0))
    for chosen in plan:
        assert len(chosen) == len(set(chosen)) == min(per_round, len(ids))
        assert chosen == sorted(chosen)
        assert set(chosen) <= set(ids)
        turns.update(chosen)
        assert max(turns.values()) - min(turns.values()) <= 1


@given(st.data())
def test_the_order_of_the_ids_is_irrelevant(data: st.DataObject) -> None:
    ids = data.draw(IDS)
    shuffled = data.draw(st.permutations(ids))
    assert schedule(ids, per_round=2, rounds=9, seed=3) == schedule(shuffled, per_round=2, rounds=9, seed=3)


@given(IDS, st.integers(1, 5), st.integers(0, 20), st.integers(0, 20))
def test_a_longer_run_begins_like_a_shorter_one(ids: list[str], per_round: int, rounds: int, more: int) -> None:
    long = schedule(ids, per_round=per_round, rounds=rounds + more, seed=0)
    assert long[:rounds] == schedule(ids, per_round=per_round, rounds=rounds, seed=0)


def test_the_first_rounds_clients_depend_on_the_seed() -> None:
    ids = [f"client-{i:02d}" for i in range(30)]
    firsts = {tuple(schedule(ids, per_round=2, rounds=1, seed=seed)[0]) for seed in range(40)}
    assert len(firsts) > 30  # of 435 pairs; a fault that ignores the seed makes it 1
    assert len({client for first in firsts for client in first}) > 25


def test_each_deal_is_shuffled_anew() -> None:
    ids = [f"client-{i:02d}" for i in range(10)]
    plan = schedule(ids, per_round=2, rounds=20, seed=0)
    deals = [plan[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(client for chosen in deal for client in chosen) == ids for deal in deals)
    assert deals[0] != deals[1] != deals[2] != deals[3]


@given(IDS, st.integers(1, 15), st.sampled_from(["uniform", "coverage"]))
def test_drawn_clients_are_distinct_and_a_longer_run_begins_alike(
    ids: list[str], per_round: int, how: Sampling
) -> None:
    chances = coverage_chances({client: [client[0], client] for client in ids}, min(per_round, len(ids)))
    given_ = {"per_round": per_round, "seed": 4, "sampling": how, "chances": chances}
    plan = schedule(ids, rounds=9, **given_)
    assert plan[:5] == schedule(ids[::-1], rounds=5, **given_)
    for chosen in plan:
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(per_round, len(ids))
        assert set(chosen) <= set(ids)


def test_coverage_draws_who_holds_what_few_hold_more_often() -> None:
    ids = [f"c{i}" for i in range(8)]
    held = {client: ["trunk", "rare"] if client == "c0" else ["trunk"] for client in ids}
    chances = coverage_chances(held, 2)  # 1 : 1/8 ... of two places: c0 is always there
    turns = Counter(
        c for r in schedule(ids, per_round=2, rounds=400, seed=0, sampling="coverage", chances=chances) for c in r
    )
    assert turns["c0"] == 400
    assert all(abs(turns[client] - 400 / 7) < 30 for client in ids[1:])
    uniform = Counter(
        c for chosen in schedule(ids, per_round=2, rounds=400, seed=0, sampling="uniform") for c in chosen
    )
    assert all(abs(uniform[client] - 100) < 35 for client in ids)
    with pytest.raises(ValueError, match="needs the clients' chances"):
        schedule(ids, per_round=2, rounds=1, seed=0, sampling="coverage")
