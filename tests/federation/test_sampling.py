"""Who trains when: balanced, distinct, and a function of the seed and of the set of clients alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fedtap.federation.sampling import schedule

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
