"""Does cost grow with the clients that are registered, or only with those that train? 20 and 200 clients, 4 of them a round.

    python benchmarks/scale.py

Every client holds sentences and questions about pictures of its own; each federation is a process of its own, run twice in turn.
Prints peak memory and median seconds a round, and their ratio; writes ``benchmarks/results/scale.json``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

SIZES = (20, 200)
REPEATS = 2
TASKS = [
    {"name": "sentiment", "type": "classification", "modality": "text", "domain": "reviews", "source": "sentiment"},
    {"name": "vqa", "type": "classification", "modality": "image+text", "domain": "scenes", "source": "easy_vqa"},
]


def scenario(clients: int) -> dict[str, Any]:
    """Return a federation of that many clients alike."""
    return {
        "name": f"scale-{clients}",
        "rounds": 12,
        "clients_per_round": 4,
        "local_steps": 10,
        "batch_size": 16,
        "training": {"finetune_steps": 2},
        "data": {"train": 16, "validation": 4, "test": 8, "dirichlet": 100, "quantity": 0},
        "evaluation": {"cross_examples": 8, "save": "none"},
        "clients": [{"id": "site", "count": clients, "tasks": TASKS}],
    }


def measure(clients: int, folder: Path, attempt: int) -> dict[str, float]:
    """Run the federation in a process of its own; return peak bytes, and the median seconds of a round and of setting up."""
    file = folder / f"scale-{clients}.yaml"
    file.write_text(yaml.safe_dump(scenario(clients)))
    out = folder / f"run-{clients}-{attempt}"
    command = [sys.executable, "-m", "fedtap", "run", str(file), "--out", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, **quiet, env={**os.environ, "OMP_NUM_THREADS": "1"})
    cost = json.loads((out / "cost.json").read_text())
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    rounds = [event["seconds"] for event in events if event["event"] == "round_finished"]
    return {
        "peak_rss_bytes": cost["peak_rss_bytes"],
        "seconds_per_round": statistics.median(rounds[1:]),  # the first warms up
        "setup_seconds": cost["by_phase"]["setup"],
    }


def main() -> None:
    """Measure both sizes in turn and print ratios."""
    results: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as temporary:
        for attempt in range(REPEATS + 1):  # the first fills the feature cache and is not counted
            for size in SIZES:
                measured = measure(size, Path(temporary), attempt)
                if attempt:
                    results[size].append(measured)
                print(f"{size} clients: {measured}{'' if attempt else ' (not counted)'}", flush=True)
    medians = {
        size: {key: statistics.median(m[key] for m in measured) for key in measured[0]}
        for size, measured in results.items()
    }
    small, large = SIZES
    summary = {
        "medians": medians,
        "ratio": {key: medians[large][key] / medians[small][key] for key in medians[small]},
        "scenario": scenario(large),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread",
    }
    Path("benchmarks/results").mkdir(parents=True, exist_ok=True)
    Path("benchmarks/results/scale.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{large} against {small} clients: {summary['ratio']}")


if __name__ == "__main__":
    main()
