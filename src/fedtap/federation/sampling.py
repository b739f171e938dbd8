"""Which clients train in which round: balanced, at random, a function of the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.runtime.randomness import numpy_generator


def schedule(clients: Sequence[str], *, per_round: int, rounds: int, seed: int) -> list[list[str]]:
    """Return the clients of each round, sorted.

    Clients are dealt like cards: everybody takes part once, in random order, before anybody does again; within a round they
    are distinct. After any number of rounds two clients' participations differ by one at the most.

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
    """
    ids = sorted(clients)
    per_round = min(per_round, len(ids))
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
