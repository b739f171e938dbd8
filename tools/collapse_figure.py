"""Draws how the paper's gate collapses: `python tools/collapse_figure.py NAME=RUN ...` stores what runs decided, and draws it.

Without a run it draws again from benchmarks/results/collapse.json. Left: of all decisions in five rounds, first participations
apart, the share that let in the federated model. Right: the two losses that the paper's gate compares. Its runs are

    fedtap run scenarios/homogeneous.yaml --method tap --seed 0 -s data.train=16 -s data.validation=16 -s clients_per_round=8 \
      -s rounds=40 -s network.name=plain -o runs/margin

and the same with `-s method.gate=paired -s method.judge=calibrated`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import rc_context

from fedtap.reporting.events import read_events
from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.html.svg import MARKS, SERIES, STYLE, Drawing, inline

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "results" / "collapse.json"
FIGURES = ROOT / "docs" / "figures"
TITLE = "The gate's collapse"
STEP = 5
FIRST = "first participation"


def measured(run: Path) -> dict[str, Any]:
    """Return, for every so many rounds of a run, the share of decisions that replaced, and the mean losses that they compared."""
    asked, opened = defaultdict(int), defaultdict(int)
    losses: dict[str, dict[int, list[float]]] = {"federated": defaultdict(list), "personal": defaultdict(list)}
    for event in read_events(run / "events.jsonl"):
        if event["event"] != "decision" or event["kind"] != "replace" or event["rule"].startswith(FIRST):
            continue
        until = STEP * -(-event["round"] // STEP)
        asked[until] += 1
        opened[until] += event["outcome"] != "kept"
        for which, found in losses.items():
            if event[f"{which}_loss"] is not None:
                found[until].append(event[f"{which}_loss"])
    return {
        "decisions": sum(asked.values()),
        "replaced": sum(opened.values()),
        "share": {str(until): opened[until] / asked[until] for until in sorted(asked)},
        **{which: {str(until): fmean(found[until]) for until in sorted(found)} for which, found in losses.items()},
    }


def drawn(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figure; the first gate is the paper's."""
    with rc_context(STYLE):
        figure = Drawing(figsize=(9.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, (name, found) in enumerate(gates.items()):
            rounds = [int(until) for until in found["share"]]
            shares = [100 * share for share in found["share"].values()]
            left.plot(rounds, shares, color=SERIES[place], marker=MARKS[place], label=name)
        left.set_title("The federated part was let in")
        left.set_ylabel("decisions in five rounds, %")
        left.set_ylim(-3, 103)
        first = next(iter(gates.values()))
        for place, which in enumerate(("federated", "personal")):
            curve = first[which]
            right.plot(
                [int(until) for until in curve],
                list(curve.values()),
                color=SERIES[2 + place],
                marker=MARKS[2 + place],
                label=f"{which} model",
            )
        right.set_yscale("symlog", linthresh=1e-3)  # in the end there is nothing left of them
        right.set_title("What the paper's gate compares")
        right.set_ylabel("mean training loss, nats")
        for axes in (left, right):
            axes.set_xlabel("round")
            axes.legend()
        return str(inline(figure, TITLE))


def main(given: Sequence[str]) -> None:
    """Store what the given runs say, if any are given, and draw what is stored."""
    if given:
        runs = dict(each.split("=", 1) for each in given)
        found = {name.replace("_", " "): measured(Path(run)) for name, run in runs.items()}
        STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    gates = json.loads(STORED.read_text(encoding="utf-8"))
    for name, found in gates.items():
        print(f"{name}: {found['replaced']} of {found['decisions']} decisions replaced")
    for file in write_figures(drawn(gates), FIGURES):
        print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
