"""What methods gain over local training where a client contradicts the others, and where it does not: a point of the regimes.

    fedtap study regimes --points long -o runs/long
    python tools/gains_in_conflict.py long runs/long

Gains are differences of accuracy on clients' own tests times 100 (both tasks of the study are classification), means over
clients, tasks and seeds. It says as well how often the personal model of a method that decides task by task kept its own.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from statistics import fmean

from gains_by_holders import scores

from fedtap.data.dials.conflict import exchanged
from fedtap.reporting.events import read_events
from fedtap.runtime.manifest import read_record
from fedtap.study.regimes.design import BASE, CONFLICTS, EXAMPLES, FULL, TASKS, chosen, federation

METRICS = {task["name"]: "accuracy" for task in TASKS}


@cache
def accuracies(run: Path) -> dict[tuple[str, str], float]:
    """Return (client, task) -> accuracy of the deployed model on the client's own test, of a run's folder."""
    deployed = read_record(run)["deployed"]
    return {(client, task): value for (client, task, model), value in scores(run, METRICS).items() if model == deployed}


def main() -> None:
    """Print a table."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    (point,) = chosen([name], CONFLICTS, EXAMPLES)
    gains: dict[tuple[str, bool], list[float]] = defaultdict(list)
    decisions: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for run in sorted((folder / "runs").glob(f"{name}-*-seed*")):
        method, _, seed = run.name.removeprefix(f"{name}-").rpartition("-seed")
        scenario = federation(point, str(read_record(run)["config"]["network"]["name"]), FULL)
        contradicts = set(exchanged(scenario, int(seed)))
        alone = accuracies(run.with_name(f"{name}-{BASE}-seed{seed}"))
        for place, value in accuracies(run).items():
            gains[method, place in contradicts].append(100 * (value - alone[place]))
        for event in read_events(run / "events.jsonl"):
            if event["event"] == "decision" and event["kind"] == "replace":
                place = event["client"], event["task"]
                decisions[method, place in contradicts][event["outcome"]] += 1
    print("| method | in conflict | others | own kept in conflict | own kept by others |\n|---|---:|---:|---:|---:|")
    for method in sorted({method for method, _ in gains}):
        kept = [f"{each['kept']} of {each.total()}" for each in (decisions[method, True], decisions[method, False])]
        means = [f"{fmean(gains[method, each]):+.1f}" for each in (True, False)]
        print(f"| {' | '.join((method, *means, *kept))} |")


if __name__ == "__main__":
    main()
