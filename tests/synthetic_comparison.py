"""A comparison without training: made-up results of many methods on ten clients, through the real statistics."""

from typing import Any

import numpy as np

from fedtap.study.comparison import compare_runs
from fedtap.study.families import Entrant
from fedtap.study.statistics import Run

TASKS = {
    "digits": ("image_classification", "accuracy"),
    "mood": ("text_classification", "accuracy"),
    "redraw": ("image_generation", "mse"),
    "vqa": ("text_generation", "exact_match"),
    "talk": ("text_generation", "cross_entropy"),
}
CLIENTS = {
    "c0": ("digits",),
    "c1": ("mood",),
    "c2": ("redraw",),
    "c3": ("vqa",),
    "c4": ("talk",),
    "c5": ("digits", "mood"),
    "c6": ("talk", "redraw"),
    "u0": ("digits", "vqa"),
}
PRIMARY = {task: metric for task, (_, metric) in TASKS.items()}
NAMES = (
    "local",
    "fedavg",
    "fedavg_ft",
    "fedprox",
    "fedper",
    "fedrep",
    "fedbn",
    "ditto",
    "pfedme",
    "perfedavg",
    "apfl",
    "fedala",
    "disentafl",
    "disentafl_ft",
    "feddat",
    "fedhca2",
    "colora",
    "tap",
    "tap:distil=off",
    "tap:gate=paired+scope=exclusive",
    "tap_best",
)


def entrants(names: list[str], clients: int) -> list[Entrant]:
    """Return methods; `probe` serves classification only."""
    served = {(client, task) for client, tasks in list(CLIENTS.items())[:clients] for task in tasks}
    classification = {place for place in served if TASKS[place[1]][1] == "accuracy"}
    return [Entrant(name, "personal", classification if name == "probe" else served) for name in names]


def runs_of(names: list[str], seeds: int, spread: float, clients: int) -> list[Run]:
    """Return results in which later methods are a little better on own data and a little worse on other clients'."""
    draw = np.random.default_rng(0)
    runs = []
    for number, name in enumerate(names):
        for seed in range(seeds):
            rows: list[dict[str, Any]] = []
            for client, tasks in list(CLIENTS.items())[:clients]:
                for task in tasks:
                    family, metric = TASKS[task]
                    if name == "probe" and metric != "accuracy":
                        continue
                    for split in ("unseen",) if client == "u0" else ("test", "cross"):
                        better = 0.01 * number * (1 if split == "test" else -1 if number > 2 else 3)
                        sign = 1 if metric in ("accuracy", "exact_match") else -1
                        value = 0.6 * (1 + sign * better) + spread * draw.normal()
                        about = {"client": client, "task": task, "family": family, "split": split}
                        rows.append({**about, "model": "personal", "metric": metric, "value": value, "n": 100})
                        if name == "local" and split != "cross" and metric == "accuracy":
                            rows.append({**about, "model": "majority", "metric": metric, "value": 0.4, "n": 100})
            runs.append(Run(name, seed, rows))
    return runs


def synthetic_comparison(
    names: list[str] | None = None, seeds: int = 3, spread: float = 0.05, clients: int = len(CLIENTS)
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what comparison.json and costs.json would hold."""
    names = names or [NAMES[0], "probe", *NAMES[1:]]
    found = compare_runs(
        runs_of(names, seeds, spread, clients),
        entrants(names, clients),
        primary=PRIMARY,
        base="local",
        baselines=("majority", "mean_picture"),
    )
    counted = [
        {
            "method": name,
            "steps_total": 1500 + 100 * number,
            "bytes_down": 10**8 * number,
            "bytes_up": 9 * 10**7 * number,
        }
        for number, name in enumerate(names)
    ]
    result = {
        "schema": 1,
        "fedtap": "0.1.0",
        "commit": "0123456789ab",
        "python": "3.11",
        "torch": "2.13",
        "machine": "Linux x86_64, 2 cores",
        "scenario": "quickstart",
        "config": {"about": "Ten small clients & more.", "rounds": 15},
        "base": "local",
        "seeds": list(range(seeds)),
        "methods": [
            {
                "method": n,
                "name": n,
                "summary": "made up",
                "source": "none",
                "deployed": "personal",
                "settings": {"mu": 0.1},
            }
            for n in names
        ],
        "incomplete": [],
        "costs": counted,
        **found,
    }
    return result, [{**row, "seconds": 40.5, "peak_rss_bytes": 7 * 10**8} for row in counted]
