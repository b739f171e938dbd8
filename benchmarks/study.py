"""TAP against its rivals on the quickstart: five seeds, equal local compute, each of its stages switched off in turn.

    python benchmarks/study.py --jobs 2                 # run what is missing, then write the tables
    python benchmarks/study.py --jobs 0                 # only the tables, from the runs at hand

Each run is a process of its own with one thread, so that two fill two cores. Results go to ``benchmarks/results/study.json`` and
``study.md``; the runs themselves to ``runs/study`` (not committed). FedAvg without fine-tuning is the federated model of the run
with fine-tuning: the rounds of the two are the same (a test holds them to it), so it is not run twice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fedtap.config import load_scenario
from fedtap.evaluation.statistics import Run, interval, summarise
from fedtap.tasks.metrics import HIGHER_IS_BETTER, primary_metrics

SCENARIO = "scenarios/quickstart.yaml"
SEEDS = (0, 1, 2, 3, 4)
RECONSTRUCTION = ("image_generation",)

# label: (method, overrides, the model that it deploys)
VARIANTS: dict[str, tuple[str, list[str], str]] = {
    "local": ("local", [], "personal"),
    "fedavg_ft": ("fedavg_ft", [], "finetuned"),
    "tap": ("tap", [], "personal"),
    "tap, paper's compute (twice the steps)": ("tap", ["method.compute=paper"], "personal"),
    "tap without replacement": ("tap", ["method.replace=off"], "personal"),
    "tap without distillation": ("tap", ["method.distil=off"], "personal"),
    "probe": ("probe", [], "personal"),
}


def folder(label: str, seed: int, root: Path) -> Path:
    """Return the folder of one run."""
    name = "".join(c if c.isalnum() else "-" for c in label)
    return root / f"{name}-seed{seed}"


def run_one(label: str, seed: int, root: Path) -> None:
    """Run a variant in a process of its own, unless it is finished."""
    out = folder(label, seed, root)
    if (out / "cost.json").exists():
        return
    method, overrides, _ = VARIANTS[label]
    command = [
        sys.executable,
        "-m",
        "fedtap",
        "run",
        SCENARIO,
        "--method",
        method,
        "--seed",
        str(seed),
        "--out",
        str(out),
    ]
    for override in (*overrides, "evaluation.save=none"):
        command += ["--set", override]
    if (out / "run.json").exists():
        command.append("--resume")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (root / f"{out.name}.log").open("w") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    print(f"{label}, seed {seed}: {'done' if code == 0 else f'failed with {code}, see {out.name}.log'}", flush=True)


def load_runs(root: Path) -> tuple[list[Run], dict[str, list[dict[str, Any]]]]:
    """Return all finished runs, FedAvg among them as the federated model of the runs with fine-tuning, and their costs."""
    runs: list[Run] = []
    costs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for label in VARIANTS:
        for seed in SEEDS:
            place = folder(label, seed, root)
            if not (place / "cost.json").exists():
                continue
            rows = json.loads((place / "results.json").read_text())["rows"]
            runs.append(Run(label, seed, rows))
            costs[label].append(json.loads((place / "cost.json").read_text()))
            if label == "fedavg_ft":
                runs.append(Run("fedavg", seed, rows))
    return runs, costs


def gains_over_local(
    runs: list[Run], excluded: tuple[str, ...], split: str, deployed: dict[str, str], primary: dict[str, str]
) -> list[dict[str, Any]]:
    """Return each variant's summary against local on the seeds that the variant has."""
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(run.method for run in runs if run.method != "local"):
        seeds = {run.seed for run in runs if run.method == method}
        both = [run for run in runs if run.method in (method, "local") and run.seed in seeds]
        rows += summarise(both, exclude_families=excluded, split=split, deployed=deployed, primary=primary)
    return rows


def family_table(runs: list[Run], deployed: dict[str, str], primary: dict[str, str]) -> list[dict[str, Any]]:
    """Return, per task and metric, each variant's mean over clients, then seeds, with an interval over seeds, own test."""
    values: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    baselines = {"majority", "mean_picture", "unigram", "question_only"}
    for run in runs:
        for row in run.rows:
            if row["split"] != "test":
                continue
            key = (row["task"], row["metric"])
            wanted = row["metric"] == primary[row["task"]] or (
                row["task"] == "vqa" and row["metric"] == "cross_entropy"
            )
            if not wanted:
                continue
            if row["model"] in baselines and run.method == "local":
                values[key][row["model"]][run.seed].append(row["value"])
            elif row["model"] == deployed[run.method]:
                values[key][run.method][run.seed].append(row["value"])
    table = []
    for (task, metric), by_method in sorted(values.items()):
        for method, by_seed in by_method.items():
            means = [sum(seed) / len(seed) for seed in by_seed.values()]
            ci95 = interval(means)
            table.append(
                {
                    "task": task,
                    "metric": metric,
                    "method": method,
                    "mean": sum(means) / len(means),
                    "ci95": list(ci95) if ci95 else None,
                    "seeds": len(means),
                }
            )
    return table


def markdown(summary: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    lines = [f"# Study: {summary['scenario']}, seeds {', '.join(map(str, summary['seeds']))}", ""]
    lines += [
        f"fedtap {summary['fedtap']}, torch {summary['torch']}, commit {summary['commit']}, {summary['machine']}.",
        "",
    ]
    for title, rows in summary["gains"].items():
        lines += [f"## Mean relative gain over local, %: {title}", ""]
        lines += [
            "| method | gain | 95 % interval | wins | losses | of | worst tenth |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in rows:
            low_high = "–" if row["ci95"] is None else f"{row['ci95'][0]:+.1f} to {row['ci95'][1]:+.1f}"
            lines.append(
                f"| {row['method']} | {row['delta_percent']:+.1f} | {low_high} | {row['wins']} | {row['losses']} | {row['n']} "
                f"| {row['worst_decile']:+.1f} | {row['seeds']} |"
            )
        lines.append("")
    lines += ["## Own test, mean over clients and seeds", ""]
    lines += ["| task | metric | method | mean | 95 % interval over seeds |", "|---|---|---|---|---|"]
    for row in summary["tasks"]:
        low_high = "–" if row["ci95"] is None else f"{row['ci95'][0]:.3f} to {row['ci95'][1]:.3f}"
        arrow = "↑" if HIGHER_IS_BETTER[row["metric"]] else "↓"
        lines.append(f"| {row['task']} | {row['metric']} {arrow} | {row['method']} | {row['mean']:.3f} | {low_high} |")
    lines += ["", "## Cost of a run, mean over seeds, one thread", ""]
    lines += ["| method | seconds | steps | MB down | MB up |", "|---|---|---|---|---|"]
    for method, cost in summary["costs"].items():
        lines.append(
            f"| {method} | {cost['seconds']:.0f} | {cost['steps_total']:.0f} | {cost['bytes_down'] / 1e6:.0f} "
            f"| {cost['bytes_up'] / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time; 0 runs nothing")
    parser.add_argument("--root", type=Path, default=Path("runs/study"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    if options.jobs:
        with ThreadPoolExecutor(options.jobs) as pool:
            # the comparison first, the ablations after it
            order = sorted(VARIANTS, key=lambda label: "without" in label)
            halves = [order[:-2], order[-2:]]
            todo = [(label, seed) for half in halves for seed in SEEDS for label in half]
            jobs = [pool.submit(run_one, label, seed, options.root) for label, seed in todo]
        for job in jobs:
            job.result()
    import torch

    import fedtap

    runs, costs = load_runs(options.root)
    scenario = load_scenario(SCENARIO)
    primary = primary_metrics(pair for client in scenario.clients for pair in client.pairs)
    deployed = {label: model for label, (_, _, model) in VARIANTS.items()} | {"fedavg": "federated"}
    networks = [run for run in runs if run.method != "probe"]  # the probe serves classification only
    gains = {
        f"{split}, {title}": gains_over_local(networks, excluded, split, deployed, primary)
        for split in ("test", "cross", "unseen")
        for title, excluded in (("all tasks", ()), ("without reconstruction", RECONSTRUCTION))
    }
    keys = ("seconds", "steps_total", "bytes_down", "bytes_up")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    summary = {
        "scenario": SCENARIO,
        "config": scenario.resolved(),
        "seeds": sorted({run.seed for run in runs}),
        "fedtap": fedtap.__version__,
        "torch": torch.__version__,
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "gains": gains,
        "tasks": family_table(runs, deployed, primary),
        "costs": {label: {key: sum(c[key] for c in cost) / len(cost) for key in keys} for label, cost in costs.items()},
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "study.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.results / "study.md").write_text(markdown(summary))
    print(markdown(summary))


if __name__ == "__main__":
    main()
