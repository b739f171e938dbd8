"""What one way of running gains over another, by how many clients have a task: for sampling, where rare tasks are the question.

    fedtap sweep quickstart --method fedavg_ft --set sampling=dealt,coverage --seeds 0,1,2,3,4 -o runs/sampling
    python tools/gains_by_holders.py quickstart runs/sampling fedavg_ft-sampling=dealt fedavg_ft-sampling=coverage

Gains are relative, in percent, of each task's primary metric on clients' own tests; means over clients and tasks of a seed, then
over seeds, with the standard error over seeds.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from fedtap.metrics import HIGHER_IS_BETTER, primary_metrics
from fedtap.metrics.differences import relative_gain
from fedtap.reporting.run.told import checked_rows
from fedtap.runtime.manifest import read_listed, read_record
from fedtap.scenario.scenario import Scenario, load_scenario

MODELS = {"federated": "served model", "finetuned": "fine-tuned model"}
Scores = dict[tuple[str, str, str], float]


def scores(run: Path, metrics: dict[str, str]) -> Scores:
    """Return (client, task, model) -> primary metric on own tests, of a run's folder."""
    rows = checked_rows(read_listed(run, str(read_record(run)["run"]), "results.json"), run / "results.json")
    return {
        (row["client"], row["task"], row["model"]): row["value"]
        for row in rows
        if row["split"] == "test" and row["metric"] == metrics.get(row["task"]) and row["value"] is not None
    }


def gains(scenario: Scenario, folder: Path, base: str, other: str) -> dict[tuple[str, int], dict[int, list[float]]]:
    """Return (model, holders of the task) -> seed -> gains in percent; 0 holders stands for all tasks."""
    pairs = [pair for client in scenario.participants for pair in client.pairs]
    metrics, holders = primary_metrics(pairs), Counter(pair.task for pair in pairs)
    found: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted((folder / "runs").glob(f"{base}-seed*")):
        seed = int(run.name.rpartition("seed")[2])
        before, after = scores(run, metrics), scores(run.with_name(f"{other}-seed{seed}"), metrics)
        for (client, task, model), value in before.items():
            gain = relative_gain(after[client, task, model], value, HIGHER_IS_BETTER[metrics[task]])
            if gain is not None and model in MODELS and scenario.client(client) in scenario.participants:
                for group in (0, holders[task]):
                    found[model, group][seed].append(gain)
    return found


def main() -> None:
    """Print a table."""
    name, folder, base, other = sys.argv[1:]
    print("| model | tasks of | gain, % | standard error | client-tasks |\n|---|---|---:|---:|---:|")
    for (model, group), by_seed in sorted(gains(load_scenario(Path(name), []), Path(folder), base, other).items()):
        means = [fmean(each) for each in by_seed.values()]
        whose = f"{group} client{'s' * (group != 1)}" if group else "all"
        error = stdev(means) / sqrt(len(means))
        print(
            f"| {MODELS[model]} | {whose} | {fmean(means):+.1f} | {error:.1f} | {len(next(iter(by_seed.values())))} |"
        )


if __name__ == "__main__":
    main()
