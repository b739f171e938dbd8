"""Many methods on the same federation: gains, families, and each against the best, on every split. Rows in, plain values out.

Every method must have run with the same seeds. A method that serves only some of the tasks is compared on those, and its rows
say so (``client_tasks`` of ``of``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

from fedtap.runtime.errors import UserError, nearest
from fedtap.study.families import Entrant, baseline_rows, family_rows
from fedtap.study.paired import Paired, compare_pair, holm
from fedtap.study.ranks import client_gains, mean_ranks
from fedtap.study.statistics import Gain, Run, client_task_gains, summarise_gains

SPLITS = ("test", "cross", "unseen")
RECONSTRUCTION = ("image_generation",)
"""The families whose relative gains are the largest of all, so that means are given without them too."""

Gains = dict[str, list[Gain]]


def compare_runs(
    runs: Sequence[Run],
    entrants: Sequence[Entrant],
    *,
    primary: Mapping[str, str],
    base: str,
    baselines: Collection[str] = (),
    against: str | None = None,
) -> dict[str, Any]:
    """Return everything that can be said about methods from their results.

    Parameters
    ----------
    runs
        Every entrant with the same seeds.
    entrants
        The methods, the base among them.
    primary
        Task -> the metric that stands for it.
    base
        The label that gains are relative to.
    baselines
        Names of the trivial models among the rows.
    against
        The method that all others are tested against; by default the one with the highest mean gain on the split
        ``test``, of those that serve every task.

    Returns
    -------
    dict
        ``rows`` and ``delta`` on the clients' own test data, ``splits`` (split -> ``rows``, ``baselines``, and for the scopes
        ``all`` and ``without_reconstruction`` the ``delta`` and the tests ``against``), ``against`` (the label), ``pairs``,
        every pair of methods on own test data with Holm's correction over all of them, and on own test data ``ranks`` and
        ``clients`` (:mod:`fedtap.study.ranks`).

    Raises
    ------
    UserError
        If a method lacks a result that the base has and that it could serve, or ``against`` is not among the entrants.
    """
    labels = [entrant.label for entrant in entrants]
    if against is not None and against not in labels:
        raise UserError(f"against '{against}': it is not compared; {nearest(against, labels)}")
    deployed = {entrant.label: entrant.deployed for entrant in entrants}
    splits: dict[str, Any] = {}
    all_gains: dict[str, Gains] = {}
    for split in SPLITS:
        places = _places(runs, base, deployed[base], split, primary)
        if not places:
            continue
        all_gains[split] = {
            entrant.label: client_task_gains(
                runs,
                entrant.label,
                base=base,
                split=split,
                deployed=deployed,
                primary=primary,
                among=places if entrant.serves is None else places & set(entrant.serves),
            )
            for entrant in entrants
        }
    if "test" not in all_gains:
        raise UserError(
            f"'{base}' has no result on any client's own test data; is the scenario one that trains anybody?"
        )
    chosen = against or _best(all_gains["test"], base)
    for split, gains in all_gains.items():
        every = [gain for one in gains.values() for gain in one]
        families = {gain.family for gain in every}
        splits[split] = {
            "rows": family_rows(runs, entrants, split=split, primary=primary),
            "baselines": baseline_rows(runs, base=base, names=baselines, split=split, primary=primary),
            "all": _scope(gains, base, chosen, ()),
        }
        without = [family for family in RECONSTRUCTION if family in families]
        if without and families - set(without):
            splits[split]["without_reconstruction"] = _scope(gains, base, chosen, without)
    return {
        "rows": splits["test"]["rows"],
        "delta": splits["test"]["all"]["delta"],
        "against": chosen,
        "splits": splits,
        "pairs": _pairs(all_gains["test"]),
        "ranks": mean_ranks(all_gains["test"], base),
        "clients": client_gains(all_gains["test"], base),
    }


def _places(
    runs: Sequence[Run], base: str, model: str, split: str, primary: Mapping[str, str]
) -> frozenset[tuple[str, str]]:
    """Return the (client, task) that the base has on a split."""
    return frozenset(
        (row["client"], row["task"])
        for run in runs
        if run.method == base
        for row in run.rows
        if (row["split"], row["model"], row["metric"]) == (split, model, primary[row["task"]])
    )


def _best(gains: Gains, base: str) -> str:
    """Return the label with the highest mean gain, of those that serve what the base serves; the base if it is alone."""
    full = {label: _mean(found) for label, found in gains.items() if len(found) == len(gains[base]) and label != base}
    return max(full, key=lambda label: (full[label], label)) if full else base


def _mean(gains: Sequence[Gain]) -> float:
    percents = [gain.percent for gain in gains if gain.percent is not None]
    return sum(percents) / len(percents) if percents else float("-inf")


def _scope(gains: Gains, base: str, against: str, exclude: Collection[str]) -> dict[str, Any]:
    """Return the gains of all methods but the base, and all methods against one, leaving some families out."""
    kept = {label: [gain for gain in found if gain.family not in exclude] for label, found in gains.items()}
    of = len({(gain.client, gain.task) for gain in kept[base]})
    delta = []
    for label, found in gains.items():
        if label != base and kept[label]:
            row = summarise_gains(label, found, exclude_families=exclude)
            delta.append({**row, "client_tasks": len({(gain.client, gain.task) for gain in kept[label]}), "of": of})
    others = [label for label in kept if label != against and kept[label] and kept[against]]
    tests = [compare_pair(kept[label], kept[against]) for label in others]
    return {"delta": delta, "against": _tested([(label, against) for label in others], tests)}


def _pairs(gains: Gains) -> list[dict[str, Any]]:
    """Return every pair of methods, the earlier one first."""
    pairs = [(a, b) for a, b in combinations(gains, 2) if gains[a] and gains[b]]
    return _tested(pairs, [compare_pair(gains[a], gains[b]) for a, b in pairs])


def _tested(pairs: Sequence[tuple[str, str]], tests: Sequence[Paired]) -> list[dict[str, Any]]:
    adjusted = holm([test.p for test in tests])
    return [
        {
            "method": method,
            "against": against,
            "difference": test.difference,
            "ci95": list(test.ci95) if test.ci95 else None,
            "p": test.p,
            "p_holm": p_holm,
            "wins": test.wins,
            "losses": test.losses,
            "n": test.n,
        }
        for (method, against), test, p_holm in zip(pairs, tests, adjusted, strict=True)
    ]
