"""What a run measured of the theorem's constants, beside what was expected of its components: a section, and plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtap.reporting.html.formatting import human_seconds, plural
from fedtap.reporting.html.page import Section, section
from fedtap.reporting.html.tables import collapsed, table
from fedtap.reporting.html.templating import piece
from fedtap.reporting.run.record import RunRecord
from fedtap.theory.observed import ComponentObserved, Observed, logged_plan, observed

HEAD = ("component", "holders", "expected", "updates", "rho", "seen", "zeta2", "between pairs", "noise2", "alignment")
NOTE = (
    "Updates are the rounds that trained a component, beside their expectation; rho is the mean of 1 / (holders that took "
    "part). zeta2 is how far its holders' gradients are apart (squared), and what share of that lies between clients with "
    "different tasks; noise2 is the variance of a mini-batch's gradient. Alignment is that of the tasks' gradients: 1 alike, "
    "1 / tasks orthogonal, 0 where they cancel. It does not say what sharing costs, for the gradients of wholly unlike tasks "
    "are orthogonal too; what does is zeta2 between pairs where the mean gradient is near 0."
)


def theory_section(record: RunRecord) -> Section | None:
    """Return the section of a run with ``theory: on``; nothing for others."""
    plan = logged_plan(record.events)
    if plan is None:
        return None
    seen = observed(plan, record.events)
    rows = [cells(part) for part in seen.components]
    lines = piece("bullets", [("", line) for line in about_looks(seen, record.config)])
    inner = table(HEAD, rows, "Components, the rarest first", numeric=range(1, len(HEAD)))
    shown = collapsed(f"All {len(rows)} components", inner, len(rows))
    return section("What pairs cost", piece("note", NOTE), lines, shown)


def cells(part: ComponentObserved) -> tuple[str, ...]:
    """Return a component's row below :data:`HEAD`."""
    alignment = part.last.get("alignment")
    return (
        part.name,
        str(len(part.plan["holders"])),
        f"{part.expected:.1f}",
        str(part.updates),
        f"{part.plan['rho']:.2f}",
        "–" if part.rho is None else f"{part.rho:.2f}",
        _short(part.mean("zeta2")),
        "–" if part.between is None else f"{part.between:.0%}",
        _short(part.mean("noise2")),
        "–" if alignment is None else f"{alignment:.2f}",
    )


def about_looks(seen: Observed, config: Mapping[str, Any]) -> list[str]:
    """Return in plain lines what the looks of a run say, or how to have some."""
    if not seen.looks:
        return ["Nothing was measured; run with `--set theory=on` to see whose tasks pull apart."]
    lines = []
    apart = seen.apart()
    if apart:
        shown = "; ".join(
            f"{one} and {other} in {name} (cosine {cosine:.2f})" for name, one, other, cosine in apart[:3]
        )
        lines.append(
            f"Tasks that pull against each other at the last look, in {plural(len(apart), 'component')}: {shown}."
        )
    else:
        lines.append(
            "At the last look no two tasks pull against each other in any component. That does not show that sharing is free: "
            "tasks that have nothing in common need not pull against each other either."
        )
    seconds, taken = sum(look["seconds"] for look in seen.looks), sum(look["gradients"] for look in seen.looks)
    lines.append(
        f"Measuring took {taken:,} gradients of a batch and {human_seconds(seconds)}, in {plural(len(seen.looks), 'look')}."
    )
    training = config.get("training") or {}
    if training.get("optimizer") != "sgd":
        lines.append(
            f"Theorem 1 is of plain SGD; this run used {training.get('optimizer')}, so its bound is not given."
        )
        return lines
    if config.get("sampling") == "coverage":
        lines.append(
            "Theorem 1 has all sets of clients alike; with sampling=coverage it is Theorem 2, whose floor no look measures."
        )
        return lines
    if seen.left is None:
        return lines
    lines.append(f"Theorem 1 is a guide here, since it does not cover {_not_covered(config)}.")
    right, step, longest = seen.right(rate=float(training["lr"]), steps=int(config["local_steps"]))
    if right is None:
        lines.append(
            f"A round's step (rate times local steps) is {step:.3g}, and the theorem allows {longest:.3g}: no bound."
        )
    else:
        lines.append(
            f"Theorem 1: the mean weighted squared gradient is {seen.left:.3g}, the bound {right.total:.3g} "
            f"({right.optimisation:.3g} optimisation, {right.sampling:.3g} sampling, {right.drift:.3g} drift): "
            f"{right.total / max(seen.left, 1e-300):.1f} times. That takes the looks for the rounds between them, and L to be no "
            "larger than what they saw."
        )
    return lines


def _not_covered(config: Mapping[str, Any]) -> str:
    """Return what a run of SGD does that Theorem 1 does not cover; batches without replacement are always among it."""
    training = config["training"]
    found = ["batches drawn without replacement", f"clipped gradients (at {training['clip']:g})"]
    for key, before in (("sampling", "dealt"), ("weights", "component")):  # what a run did before there was the key
        value = config.get(key, before)
        if value != "uniform":
            found.append(f"{key}={value}")
    if training["final_ratio"] != 1 or training["warmup_rounds"]:
        found.append("a rate that changes")
    if training["weight_decay"]:
        found.append("weight decay")
    return f"{', '.join(found[:-1])} and {found[-1]}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
