"""What pilots say, in plain sentences that follow from their numbers: the advice, why, what it cost, what more would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.advice.tables import points
from fedtap.reporting.comparison.summary import gain_with_interval
from fedtap.reporting.html.formatting import between, human_bytes, human_seconds, listed, plural, signed

Values = Mapping[str, Any]
ALL = 30
"""No list of methods is cut short before so many."""


def advice_sentence(result: Values) -> str:
    """Return the advice: which method to use, or that they cannot be told apart, and which of them to take."""
    seeds, use = plural(len(result["seeds"]), "seed"), result["use"]
    if len(result["kept"]) == 1:
        return _ahead(result, seeds)
    if len(result["tied"]) == 1:
        return _likely(result, seeds)
    names = listed(result["tied"], most=ALL)
    if result["stop"] == "level":
        told = (
            f"These are level, surely within {points(result['tolerance'])} of each other's gain after {seeds}: {names}."
        )
    else:
        told = f"These cannot be told apart after {seeds}: {names}."
    return f"{told} Take the cheapest, {use}{_why(result)}."


def advice_sentences(result: Values, costs: Sequence[Values]) -> list[str]:
    """Return the advice and all that belongs to it; ``costs`` are the rows of advice-costs.json."""
    return [
        advice_sentence(result),
        *_leader(result),
        *_certainty(result),
        *_unlikely(result),
        *_out(result),
        *_aside(result),
        *_incomplete(result),
        _spent(result, costs),
        *_more(result, costs),
    ]


def _ahead(result: Values, seeds: str) -> str:
    use, base, rows = result["use"], result["base"], _rows(result)
    others = [row for row in result["rows"] if row["against"] == use and row["difference"] is not None]
    if not others:
        return f"Use {use}: no other method has all its runs, so that nothing is shown."
    among = "every other that was left" if result["set_aside"] else "every other"
    if use == base:
        told = f"Use {use}, each client alone: {among} is behind it by more than noise after {seeds}"
    else:
        told = (
            f"Use {use}: its mean gain over {base} is {gain_with_interval(rows[use])}, ahead of {among} by more than noise after "
            f"{seeds}"
        )
    near = max(others, key=lambda row: (row["difference"], row["method"]))
    return f"{told}; the nearest, {near['method']}, is {_behind(near)}."


def _likely(result: Values, seeds: str) -> str:
    use, base = result["use"], result["base"]
    told = (
        ", each client alone"
        if use == base
        else f": its mean gain over {base} is {gain_with_interval(_rows(result)[use])}"
    )
    rest = listed([label for label in result["kept"] if label != use], most=ALL)
    return (
        f"Use {use}{told}. It is likely the best: {rest} would be behind it by the interval or test of each alone after {seeds}, "
        f"though not by the stricter test that counts how many were asked about."
    )


def _behind(row: Values) -> str:
    ends = row["difference_ci95"]
    shown = f" (the difference is {between(ends, seeds=row['seeds'])})" if ends else ""
    return f"{signed(abs(row['difference'])).lstrip('+')} points behind it{shown}"


def _why(result: Values) -> str:
    """Return what the cheapest of those that are left asks less of than the next."""
    rows = _rows(result)
    first, second = (rows[label] for label in result["cheapest_first"][:2])
    if first["bytes"] == 0 < second["bytes"]:
        return ", which needs no federation"
    for key, words in (("steps", "local steps"), ("bytes", "bytes"), ("models", "models at a client")):
        if f"{first[key]:.1e}" != f"{second[key]:.1e}":
            return f", which asks for the fewest {words}"
    return ", the first by name of those that ask as little"


def _leader(result: Values) -> list[str]:
    leader, use = result["leader"], result["use"]
    if leader == use or len(result["tied"]) == 1:
        return []
    rows = _rows(result)
    theirs = "" if leader == result["base"] else f", {gain_with_interval(rows[leader])}"
    may = "" if result["stop"] == "level" else ", which may be chance"
    return [f"{leader} has the highest mean gain{theirs}; {use} is {_behind(rows[use])}{may}."]


def _certainty(result: Values) -> list[str]:
    told = []
    if len(result["seeds"]) == 1:
        told.append("This is one seed: it says nothing of how much another would change.")
    if all(row["ci95"] is None for row in result["rows"]):
        told.append(
            "No interval is given, since fewer than five clients have results; what is said to be more than noise rests on the "
            "paired test alone."
        )
    return told


def _unlikely(result: Values) -> list[str]:
    names = [label for label in result["kept"] if label not in result["tied"]]
    if not names or len(result["tied"]) == 1:
        return []
    return [
        f"Unlikely to be as good: {listed(names, most=ALL)}, behind {result['leader']} by the interval or test of each alone, "
        "though not by the stricter test that counts how many were asked about."
    ]


def _out(result: Values) -> list[str]:
    by_seeds: dict[int, list[str]] = {}
    for row in result["out"]:
        by_seeds.setdefault(row["seeds"], []).append(row["method"])
    parts = [f"{listed(names, most=ALL)} after {plural(seeds, 'seed')}" for seeds, names in by_seeds.items()]
    return [f"Out, being behind the first by more than noise: {'; '.join(parts)}."] if parts else []


def _aside(result: Values) -> list[str]:
    parts = [f"{row['method']} (after {plural(row['seeds'], 'seed')})" for row in result["set_aside"]]
    if not parts:
        return []
    return [f"Set aside for want of budget, and not shown to be worse: {listed(parts, most=ALL)}."]


def _incomplete(result: Values) -> list[str]:
    names = [row["method"] for row in result["incomplete"]]
    return [f"Left out, since their runs are not complete: {listed(names, most=ALL)}."] if names else []


def _spent(result: Values, costs: Sequence[Values]) -> str:
    steps, sent = (sum(row["seeds"] * row[key] for row in result["rows"]) for key in ("steps", "bytes"))
    seconds = sum(row["seeds"] * row["seconds"] for row in costs)
    return (
        f"To know this took {plural(result['runs'], 'run')}: {steps:,.0f} local steps, {human_bytes(sent)} that a federation "
        f"would send, {human_seconds(seconds)} of one core."
    )


def _more(result: Values, costs: Sequence[Values]) -> list[str]:
    more = result["more"]
    if more is None:
        return []
    one, other = more["methods"]
    if more["why"] == "one seed":
        return [f"What it would take to tell {one} from {other} cannot be said from one seed; give two at the least."]
    if more["why"] == "no difference":
        return [f"Between {one} and {other} there is no difference to be found."]
    if more["seeds"] is None:
        return [
            f"More seeds would hardly tell {one} from {other}: their difference is small beside how much it varies from "
            "client to client. More clients would, or more test examples."
        ]
    known = [row["seconds"] for row in costs if row["method"] in (one, other, result["base"])]
    time = f", about {human_seconds(more['runs'] * sum(known) / len(known))} of one core" if known else ""
    return [
        f"To tell {one} from {other} would take about {plural(more['seeds'], 'seed')} in all, {plural(more['runs'], 'run')} "
        f"more{time}: a rough guess, from how their difference varied over {plural(len(result['seeds']), 'seed')}."
    ]


def _rows(result: Values) -> dict[str, Values]:
    return {str(row["method"]): row for row in result["rows"]}
