"""What a race of methods says, as plain values: the advice, a row a method, what more would cost. Pure; advice.json holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.study.advice.halving import Look, Race, Rival
from fedtap.study.advice.outlook import seeds_to_tell
from fedtap.study.advice.price import Price, cheapest_first
from fedtap.study.paired import difference_cells
from fedtap.study.statistics import Gain, summarise_gains

Gains = Mapping[str, Sequence[Gain]]


def verdict(race: Race, gains: Gains, prices: Mapping[str, Price], *, base: str, yardstick: str) -> dict[str, Any]:
    """Return the advice and what it rests on.

    Parameters
    ----------
    race
        With one look at the least.
    gains
        Label -> its gains over the base, over all seeds that it has run with; the base's too.
    prices
        Label -> what a run of it takes.
    base
        The method that gains are over.
    yardstick
        The method by which the federated model is meant; where it has no gains, nothing is said of it.

    Returns
    -------
    dict
        ``use`` (the label), ``leader``, ``kept`` (still in question, by mean gain), ``tied`` (those of them that nothing speaks
        against), ``cheapest_first`` (the same by what they ask), ``stop``, ``seeds`` (of the last rung), ``out`` and
        ``set_aside`` (lists of ``method`` and ``seeds``, in the order in which it happened), ``rows`` (by mean gain; see
        :func:`_row`), ``rungs``, ``runs``, ``more`` (see :func:`_more`).
    """
    last = race.looks[-1]
    ordered = cheapest_first([prices[label] for label in last.tied])
    rows = [_row(race, label, gains, prices[label], base, yardstick) for label in _judged(race)]
    return {
        "use": ordered[0],
        "leader": last.leader,
        "kept": list(last.kept),
        "tied": list(last.tied),
        "cheapest_first": ordered,
        "stop": race.stop,
        "seeds": list(last.rung.seeds),
        "out": [{"method": label, "seeds": len(look.rung.seeds)} for look in race.looks for label in look.out],
        "set_aside": [
            {"method": label, "seeds": len(before.rung.seeds)}
            for before, look in zip(race.looks, race.looks[1:], strict=False)
            for label in look.rung.set_aside
        ],
        "rows": sorted(rows, key=lambda row: (-(row["delta_percent"] or 0.0), row["method"])),
        "rungs": [_rung(look) for look in race.looks],
        "runs": race.spent,
        "more": _more(last, gains, base) if race.stop in ("seeds", "budget") else None,
    }


def hurt(ours: Sequence[Gain], theirs: Sequence[Gain]) -> list[int] | None:
    """Return how many clients are worse off with the one method than with the other, and of how many; None without any.

    A client is worse off where the mean difference over its tasks and the seeds that both have is below 0; chance is not taken
    out.
    """
    by_client: dict[str, list[float]] = {}
    for (_, client), values in difference_cells(ours, theirs).items():
        by_client.setdefault(client, []).extend(values)
    worse = sum(math.fsum(values) < 0 for values in by_client.values())
    return [worse, len(by_client)] if by_client else None


def _judged(race: Race) -> list[str]:
    """Return all methods that a look is about, but those whose runs failed in a later rung."""
    found: set[str] = set()
    for look in race.looks:
        here = {look.leader, *(rival.method for rival in look.rivals)}
        found = (found - set(look.rung.methods)) | here
    return sorted(found)


def _row(race: Race, label: str, gains: Gains, price: Price, base: str, yardstick: str) -> dict[str, Any]:
    """Return a method's row: its gain (:func:`fedtap.study.statistics.summarise_gains`), how it stands, whom it hurts, its price.

    ``standing`` is ``first``, ``behind``, ``unlikely``, ``level``, ``open`` or ``set aside``, against the leader of the last
    rung that it was in; ``difference``, ``difference_ci95``, ``p`` and ``p_shared`` are of the same. ``hurt_base`` and
    ``hurt_yardstick``: [how many clients, of how many], or None.
    """
    look = [each for each in race.looks if label == each.leader or label in {r.method for r in each.rivals}][-1]
    rival = next((each for each in look.rivals if each.method == label), None)
    aside = any(label in each.rung.set_aside for each in race.looks)
    standing = "first" if rival is None else "set aside" if aside else rival.standing
    over = gains.get(yardstick)
    return {
        **summarise_gains(label, gains[label]),
        "standing": standing,
        "against": None if rival is None else look.leader,
        **_difference(rival),
        "hurt_base": None if label == base else hurt(gains[label], gains[base]),
        "hurt_yardstick": None if over is None or label == yardstick else hurt(gains[label], over),
        "steps": price.steps,
        "bytes": price.traffic,
        "models": price.models,
    }


def _difference(rival: Rival | None) -> dict[str, Any]:
    if rival is None:
        return {"difference": None, "difference_ci95": None, "p": None, "p_shared": None}
    return {
        "difference": rival.difference,
        "difference_ci95": list(rival.ci95) if rival.ci95 else None,
        "p": rival.p,
        "p_shared": rival.p_shared,
    }


def _rung(look: Look) -> dict[str, Any]:
    return {
        "seeds": list(look.rung.seeds),
        "runs": look.rung.runs,
        "set_aside": list(look.rung.set_aside),
        "leader": look.leader,
        "rivals": [{"method": rival.method, "standing": rival.standing, **_difference(rival)} for rival in look.rivals],
    }


def _more(look: Look, gains: Gains, base: str) -> dict[str, Any]:
    """Return what it would take to tell the leader from the next that is open: ``seeds`` in all, ``runs`` more than were done.

    Both are None where ``why`` says so: ``one seed`` (nothing is known of how seeds differ), ``no difference`` (there is none to
    be found), ``clients`` (their spread alone is too large for any number of seeds).
    """
    order = sorted(look.rivals, key=lambda rival: rival.standing != "open")  # an open one first, the better one first
    rival = next(rival for rival in order if rival.standing in ("open", "unlikely"))
    have = len(look.rung.seeds)
    needed = seeds_to_tell(difference_cells(gains[rival.method], gains[look.leader]))
    why = None
    if needed is None:
        why = "one seed" if have == 1 else "no difference" if not rival.difference else "clients"
    runners = len({look.leader, rival.method, base})
    return {
        "methods": [look.leader, rival.method],
        "seeds": needed,
        "runs": None if needed is None else runners * (needed - have),
        "why": why,
    }
