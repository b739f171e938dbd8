"""What a comparison says, in a few plain sentences that follow from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.tables import LEVEL, SPLIT_NAMES, ranked
from fedtap.reporting.html.formatting import between, listed, plural, signed

Values = Mapping[str, Any]


def comparison_sentences(result: Values) -> list[str]:
    """Return who is best on own test data and how surely, how the others stand to it, and who is best elsewhere."""
    return [
        *_best(result),
        *_against(result),
        *_over_base(result),
        *_elsewhere(result),
        *_incomplete(result),
    ]


def comparison_figures(result: Values) -> list[tuple[str, str]]:
    """Return (figure, what it is) for the head of the page."""
    leader = _leader(result["delta"])
    figures = [(str(len(result["methods"])), "methods"), (str(len(result["seeds"])), "seeds")]
    if result["delta"]:
        figures.append((str(result["delta"][0]["of"]), "client-tasks"))
    if leader:
        figures.append((f"{signed(leader['delta_percent'])} %", f"best mean gain: {leader['method']}"))
    return figures


def _leader(delta: Sequence[Values]) -> Values | None:
    whole = [row for row in ranked(delta) if row["client_tasks"] == row["of"] and row["delta_percent"] is not None]
    return whole[0] if whole else None


def _best(result: Values) -> list[str]:
    leader = _leader(result["delta"])
    if leader is None:
        return []
    many = f"over {plural(leader['of'], 'client-task')} with {plural(len(result['seeds']), 'seed')}"
    sure = _certainty(leader, result["base"])
    gain = gain_with_interval(leader)
    return [
        f"On the clients' own test data {leader['method']} has the highest mean gain over {result['base']}, {gain}, {many}; "
        f"{sure}. It is better on {leader['wins']} and worse on {leader['losses']} of {leader['n']}."
    ]


def _certainty(row: Values, base: str) -> str:
    if row["ci95"] is None:
        return "no interval is given, since fewer than five clients have results there"
    if row["ci95"][0] > 0:
        return "the interval excludes 0"
    if row["ci95"][1] < 0:
        return f"which is worse than {base}: the interval lies below 0"
    return "the interval contains 0, so that this may be chance"


def _against(result: Values) -> list[str]:
    tests, chosen = result["splits"]["test"]["all"]["against"], result["against"]
    known = [row for row in tests if row["p_holm"] is not None and row["difference"] is not None]
    if not known:
        return []
    behind = [row["method"] for row in known if row["p_holm"] < LEVEL and row["difference"] < 0]
    ahead = [row["method"] for row in known if row["p_holm"] < LEVEL and row["difference"] > 0]
    open_ = [row["method"] for row in known if row["p_holm"] >= LEVEL]
    parts = []
    if ahead:
        parts.append(f"{listed(ahead)} {_are(ahead)} ahead of it")
    if behind:
        parts.append(f"{listed(behind)} {_are(behind)} behind it")
    if open_:
        parts.append(f"{listed(open_)} cannot be told from it")
    many = f"Tested against {chosen}, with Holm's correction for {plural(len(known), 'comparison')}: "
    return [many + "; ".join(parts) + "."]


def _over_base(result: Values) -> list[str]:
    base = result["base"]
    rows = [row for row in result["delta"] if row["ci95"] is not None]
    if len(rows) < 2:
        return []
    above = sum(row["ci95"][0] > 0 for row in rows)
    below = sum(row["ci95"][1] < 0 for row in rows)
    one = " (intervals of one seed)" if len(result["seeds"]) == 1 else ""
    return [
        f"Of {plural(len(rows), 'method')}, {above} gain{'s' if above == 1 else ''} over {base} with an interval above 0, and "
        f"{below} lose{'s' if below == 1 else ''} to it with an interval below 0{one}."
    ]


def _elsewhere(result: Values) -> list[str]:
    told = []
    for split in ("cross", "unseen"):
        leader = _leader(result["splits"].get(split, {}).get("all", {}).get("delta", []))
        if leader:
            told.append(
                f"on {SPLIT_NAMES[split]} {leader['method']} is first with {gain_with_interval(leader)}"
                + ("" if leader["ci95"] else ", of fewer than five clients and so without an interval")
            )
    return [_capital("; ".join(told)) + "."] if told else []


def _incomplete(result: Values) -> list[str]:
    names = [row["method"] for row in result["incomplete"]]
    return [f"Left out, since their runs are not complete: {listed(names, most=30)}."] if names else []


def gain_with_interval(row: Values) -> str:
    """Return a gain for a sentence, with its interval in brackets where it has one."""
    ends = f" ({between(row['ci95'], seeds=row['seeds'])})" if row["ci95"] else ""
    return f"{signed(row['delta_percent'])} %{ends}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
