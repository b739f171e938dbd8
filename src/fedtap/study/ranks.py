"""Methods by rank: 1 for the best on a client's task with one seed, ties shared; and what single clients gain. Pure.

A rank says how often a method is ahead and not by how much, so that a task with large gains counts no more than another.
Not here: whether two methods can be told apart (paired.py), which is asked of gains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fedtap.metrics import HIGHER_IS_BETTER
from fedtap.study.statistics import Gain, bootstrap_interval


def mean_ranks(gains: Mapping[str, Sequence[Gain]], base: str) -> list[dict[str, Any]]:
    """Return the mean rank of every method that serves what the base serves, the base too, the best first.

    Parameters
    ----------
    gains
        Label -> its gains over the base, for the same seeds.
    base
        The label that gains are relative to; among ``gains``.

    Returns
    -------
    list of dict
        ``method``, ``rank``, ``ci95`` (clients and seeds resampled, :func:`fedtap.study.statistics.bootstrap_interval`; None for
        fewer than five clients), ``of``, how many are ranked.
    """
    whole = [label for label, found in gains.items() if len(found) == len(gains[base])]
    values: dict[tuple[int, str, str], dict[str, float]] = defaultdict(dict)
    for label in whole:
        for gain in gains[label]:
            sign = 1.0 if HIGHER_IS_BETTER[gain.metric] else -1.0
            values[gain.seed, gain.client, gain.task][label] = sign * gain.value
    cells: dict[str, dict[tuple[int, str], list[float]]] = {label: defaultdict(list) for label in whole}
    for (seed, client, _), at in values.items():
        for label, rank in _ranked(at).items():
            cells[label][seed, client].append(rank)
    rows = []
    for label in whole:
        ci95 = bootstrap_interval(cells[label])
        rank = fmean(rank for ranks in cells[label].values() for rank in ranks)
        rows.append({"method": label, "rank": rank, "ci95": list(ci95) if ci95 else None, "of": len(whole)})
    return sorted(rows, key=lambda row: (row["rank"], row["method"]))


def client_gains(gains: Mapping[str, Sequence[Gain]], base: str) -> list[dict[str, Any]]:
    """Return for each client the mean gain of every method over its tasks and seeds; None where nothing can be said.

    The keys: ``client``, ``tasks`` (how many), ``gains`` (label -> percent).
    """
    rows = []
    for client in sorted({gain.client for gain in gains[base]}):
        tasks = {gain.task for gain in gains[base] if gain.client == client}
        mine: dict[str, float | None] = {}
        for label, found in gains.items():
            known = [gain.percent for gain in found if gain.client == client and gain.percent is not None]
            if label != base:
                mine[label] = fmean(known) if known else None
        rows.append({"client": client, "tasks": len(tasks), "gains": mine})
    return rows


def _ranked(values: Mapping[str, float]) -> dict[str, float]:
    """Return the rank of each, 1 for the highest; equal ones share the mean of theirs.

    >>> _ranked({"a": 1.0, "b": 3.0, "c": 1.0})
    {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    return {
        label: 1
        + sum(other > value for other in values.values())
        + (sum(other == value for other in values.values()) - 1) / 2
        for label, value in values.items()
    }
