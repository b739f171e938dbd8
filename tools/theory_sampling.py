"""Tries the ways of drawing clients on the synthetic problem with unequal holders: `python tools/theory_sampling.py [SEEDS]`.

Eight unlike pairs share a trunk; two each are held by 1, 2, 3 and 6 of the 24 clients, 4 of which train in a round. Printed is
the table of docs/theory.md: each way against dealing, by the logs of training losses, with standard errors over seeds. Rounds and
local steps are the same for all; clients have one pair each.
"""

from __future__ import annotations

import sys
from math import log, sqrt
from statistics import fmean, stdev

import numpy as np

from fedtap.federation.sampling import schedule
from fedtap.scenario.safety import Sampling
from fedtap.study.pairs.synthetic import HIDDEN, INPUTS, Models, losses, make_data, train
from fedtap.theory.unequal import coverage_chances

HOLDERS = (1, 1, 2, 2, 3, 3, 6, 6)
PER_ROUND, ROUNDS, STEPS = 4, 150, 10
WAYS: tuple[Sampling, ...] = ("dealt", "uniform", "coverage")


def trial(how: Sampling, seed: int) -> np.ndarray:
    """Return the mean training loss of each pair's clients after all rounds, ``(8,)``."""
    owner = np.repeat(np.arange(len(HOLDERS)), HOLDERS)
    number = np.concatenate([np.arange(held) for held in HOLDERS])
    data = make_data("unlike", len(HOLDERS), seed, clients=max(HOLDERS))
    ids = [f"{client:02d}" for client in range(len(owner))]
    chances = coverage_chances(
        {client: ["trunk", f"head {pair}"] for client, pair in zip(ids, owner, strict=True)}, PER_ROUND
    )
    rng = np.random.default_rng([seed, 1])
    trunk, heads = rng.normal(size=(HIDDEN, INPUTS)) / np.sqrt(INPUTS), np.zeros((len(HOLDERS), HIDDEN))
    heads[:] = 0.1 * rng.normal(size=HIDDEN)
    plan = schedule(ids, per_round=PER_ROUND, rounds=ROUNDS, seed=seed, sampling=how, chances=chances)
    for chosen in plan:
        who = np.array([int(client) for client in chosen])
        local = Models(np.repeat(trunk[None], len(who), 0), heads[owner[who]])
        train(local, data.train, owner[who], number[who], STEPS, rng)
        weight = np.array([1 / chances[ids[client]] if how == "coverage" else 1.0 for client in who])
        trunk = np.einsum("r,rab->ab", weight / weight.sum(), local.trunk)
        for pair in np.unique(owner[who]):
            mine = owner[who] == pair
            heads[pair] = np.average(local.head[mine], axis=0, weights=weight[mine])
    served = Models(np.repeat(trunk[None], len(owner), 0), heads[owner])
    by_client = losses(served, data.train.x[owner, number], data.train.y[owner, number])
    return np.array([by_client[owner == pair].mean() for pair in range(len(HOLDERS))])


def shown(values: list[float]) -> str:
    """Return a mean with its standard error."""
    return f"{fmean(values):+.3f} ({stdev(values) / sqrt(len(values)):.3f})"


def main() -> None:
    """Print the table: logs of training losses, each way less dealing on the same seeds."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    found = {how: [trial(how, seed) for seed in seeds] for how in WAYS}
    share = np.array(HOLDERS) / sum(HOLDERS)
    print("| sampling, against dealing | 1 holder | 2 | 3 | 6 | mean over pairs | mean over clients |")
    for how in WAYS[1:]:
        logs = [np.log(mine) - np.log(dealt) for mine, dealt in zip(found[how], found["dealt"], strict=True)]
        groups = [shown([float(each[at : at + 2].mean()) for each in logs]) for at in (0, 2, 4, 6)]
        pairs = shown([float(each.mean()) for each in logs])
        both = zip(found[how], found["dealt"], strict=True)
        clients = shown([log(float(share @ mine)) - log(float(share @ dealt)) for mine, dealt in both])
        print(f"| `{how}` | " + " | ".join([*groups, pairs, clients]) + " |")
    alone = ", ".join(f"{np.mean([each[at : at + 2] for each in found['dealt']]):.3f}" for at in (0, 2, 4, 6))
    print(f"Losses with dealing, by holders: {alone}; {len(seeds)} seeds.")


if __name__ == "__main__":
    main()
