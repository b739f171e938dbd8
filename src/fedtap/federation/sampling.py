"""Which clients train in which round: dealt, or drawn at random; a function of the seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedtap.runtime.randomness import numpy_generator
from fedtap.scenario.safety import Sampling
from fedtap.theory.unequal import draw


def schedule(
    clients: Sequence[str],
    *,
    per_round: int,
    rounds: int,
    seed: int,
    sampling: Sampling = "dealt",
    chances: Mapping[str, float] | None = None,
) -> list[list[str]]:
    """Return the clients of each round, sorted; within a round they are distinct.

    ``dealt``: like cards, everybody takes part once, in random order, before anybody does again, so that after any number of
    rounds two clients' participations differ by one at the most. ``uniform``: every round by itself, all sets alike.
    ``coverage``: every round by itself, with unequal chances (:mod:`fedtap.theory.unequal`).

    Parameters
    ----------
    clients
        Their ids, in any order.
    per_round
        How many train in a round; all of them if there are fewer.
    rounds
        How many rounds to plan.
    seed
        The run's seed.
    sampling
        How they are chosen.
    chances
        With ``coverage``: for each client the chance of its coin (:func:`fedtap.theory.unequal.coverage_chances`).

    Raises
    ------
    ValueError
        If ``coverage`` is asked for without chances.
    """
    ids = sorted(clients)
    per_round = min(per_round, len(ids))
    if sampling == "dealt":
        return _dealt(ids, per_round, rounds, seed)
    if sampling == "coverage" and chances is None:
        raise ValueError("sampling by coverage needs the clients' chances")
    plan = []
    for number in range(1, rounds + 1):
        generator = numpy_generator(seed, "schedule", sampling, number)
        if chances is None or sampling == "uniform":
            places = generator.choice(len(ids), size=per_round, replace=False).tolist()
        else:
            places = draw([chances[client] for client in ids], per_round, generator)
        plan.append([ids[place] for place in sorted(places)])
    return plan


def _dealt(ids: Sequence[str], per_round: int, rounds: int, seed: int) -> list[list[str]]:
    deck: list[str] = []
    deal = 0
    plan: list[list[str]] = []
    for _ in range(rounds):
        chosen, deck = deck[:per_round], deck[per_round:]
        if len(chosen) < per_round:
            order = numpy_generator(seed, "schedule", deal).permutation(len(ids))
            deal += 1
            fresh = [ids[i] for i in order]
            extra = [client for client in fresh if client not in chosen][: per_round - len(chosen)]
            deck = [client for client in fresh if client not in extra]
            chosen += extra
        plan.append(sorted(chosen))
    return plan
