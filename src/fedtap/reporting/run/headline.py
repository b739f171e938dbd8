"""The result of a run in a sentence or two, with its interval, and the honest alternative: the strongest rival within the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import between, plural, signed
from fedtap.reporting.run.gains import Comparison, Outcomes, compare
from fedtap.reporting.run.standings import Standing, better, model_order

RIVALS = ("finetuned", "local", "federated")
"""Models that a deployed one is held against, the strongest first: what a site could have for less."""
NAMES: Mapping[str, str] = {
    "federated": "the federated model",
    "finetuned": "fine-tuned models",
    "personal": "personal models",
    "local": "models trained alone",
}


ONE_FOR_ALL = frozenset({"federated"})
"""Models of which there is one."""


def deployed_model(run: Mapping[str, Any], standings: Sequence[Standing]) -> str:
    """Return which model the run's method gives its clients: what run.json says, or else the last that was made."""
    there = model_order(name for standing in standings for name in standing.values)
    told = str(run.get("deployed") or "personal")
    return told if told in there else there[-1] if there else told


def comparisons(run: Mapping[str, Any], standings: Sequence[Standing], outcomes: Outcomes) -> list[Comparison]:
    """Return the deployed model against each of its rivals that the run has, the strongest first."""
    ours = deployed_model(run, standings)
    there = {name for standing in standings for name in standing.values}
    found = [compare(standings, ours, rival, outcomes) for rival in RIVALS if rival in there and rival != ours]
    return [each for each in found if each.cells]


def name_of(model: str) -> str:
    """Return a model's name in a sentence."""
    return NAMES.get(model, f"the model '{model}'")


def sentences(found: Sequence[Comparison], ours: str, standings: Sequence[Standing]) -> list[str]:
    """Return the headline, and what stands beside it; nothing where there are no results."""
    if not found:
        return _against_baseline(ours, standings)
    first, *others = found
    told = [_first(first)]
    if others:
        rest = "; ".join(f"over {name_of(each.other)} {_gain(each)}, {_sure(each)}" for each in others)
        told.append(f"{_capital(rest)}.")
    return told


def _first(found: Comparison) -> str:
    """Return who is better if anybody is, by how much, and on how many client tasks."""
    verb = "is" if found.ours in ONE_FOR_ALL else "are"
    ends = found.interval
    if ends is None:
        verdict = f"against {name_of(found.other)}"
    elif ends[0] <= 0 <= ends[1]:
        verdict = f"cannot be told from {name_of(found.other)}"
    else:
        verdict = f"{verb} {'better' if ends[0] > 0 else 'worse'} than {name_of(found.other)}"
    few = "" if ends else ", of too few clients to say how surely"
    beyond: tuple[str, str] = ("", "")
    if any(cell.p is not None for cell in found.cells):
        beyond = f" ({found.count(1, beyond=True)} beyond noise)", f" ({found.count(-1, beyond=True)} beyond noise)"
    return (
        f"On average {name_of(found.ours)} {verdict}: {_gain(found, '')}{few}; better on {found.count(1)}{beyond[0]} and worse "
        f"on {found.count(-1)}{beyond[1]} of {plural(len(found.cells), 'client task')}."
    )


def _gain(found: Comparison, of: str = " on average") -> str:
    if found.mean is None:
        return "no mean gain can be given"
    ends = found.interval
    return f"{signed(found.mean)} %{of}" + (f" (95 % interval over clients {between(ends, seeds=2)})" if ends else "")


def _sure(found: Comparison) -> str:
    ends = found.interval
    if ends is None:
        return "of too few clients to say how surely"
    return "which may be chance" if ends[0] <= 0 <= ends[1] else "more than chance"


def _against_baseline(ours: str, standings: Sequence[Standing]) -> list[str]:
    known = [each for each in standings if each.baseline and ours in each.values]
    if not known:
        return []
    ahead = sum(better(each.metric, each.values[ours], each.baseline[1]) for each in known if each.baseline)
    return [
        f"{_capital(name_of(ours))} against the strongest trivial baseline: better on {ahead} of "
        f"{plural(len(known), 'client task')}; the run has no other model to be held against."
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
