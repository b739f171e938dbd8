"""Does cost grow with the clients that are registered, or only with those that train? 100, 1,000 and 10,000 clients, 4 a round.

    python benchmarks/scale.py
    python benchmarks/scale.py --sizes 20 200 --method fedavg_ft

All clients share one spreadsheet of short reports, which says how bad a fault is; each has four to train on, one to choose by
and two that it is tested on, tower and network are tiny: what is measured is what a client costs beside its arithmetic. Each
federation is a process of its own with one thread, run once to fill the cache of features and then ``--repeats`` times, sizes
in turn. Prints and writes to ``benchmarks/results/scale.json`` the seconds of each phase, in all and per client, the median of a
round, peak memory, and the sizes of what is written. Those of a phase are by the clock, those of the whole (``cpu_seconds``) the
processor's: with nothing else on the machine a phase of one thread differs by little.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SIZES = (100, 1_000, 10_000)
ROWS = 7
"""Reports of a client: four to train on, one for validation, two for testing."""
ROUNDS, A_ROUND = 12, 4
PHASES = ("setup", "rounds", "personalise", "evaluate", "report")
PARTS = ("pump", "valve", "sensor", "cable", "filter", "gasket", "motor", "bearing", "relay", "housing")
STATES = {
    "fine": ("quiet", "clean", "tight", "as new"),
    "worn": ("noisy", "stained", "loose", "hot"),
    "broken": ("torn", "cracked", "dead", "burnt"),
}
SPLITS = ("train",) * 4 + ("validation",) + ("test",) * 2


def reports(number: int) -> Iterator[tuple[str, str, str]]:
    """Yield (text, condition, split) of so many different reports."""
    draw = random.Random(0)
    for place in range(number):
        condition = draw.choice(sorted(STATES))
        first, second = draw.choice(STATES[condition]), draw.choice(PARTS)
        yield f"report {place}: the {second} of unit {draw.randrange(900)} is {first}", condition, SPLITS[place % ROWS]


def scenario(clients: int, file: Path, method: str) -> dict[str, Any]:
    """Return a federation of that many clients alike."""
    task = {
        "name": "condition",
        "type": "classification",
        "modality": "text",
        "domain": "workshop",
        "source": "csv",
        "path": str(file),
        "classes": sorted(STATES),
    }
    return {
        "name": f"scale-{clients}",
        "rounds": ROUNDS,
        "clients_per_round": A_ROUND,
        "local_steps": 10,
        "batch_size": 4,
        "backbone": {"vision": "untrained-tiny", "text": "untrained-tiny"},
        "network": {"dim": 32, "heads": 2, "expert_dim": 32, "domain_dim": 8},
        "training": {"lr": 0.01, "warmup_rounds": 0, "finetune_steps": 2},
        "evaluation": {"cross_examples": 8, "save": "none"},
        "method": {"name": method},
        "population": clients,
        "clients": [{"id": "workshop", "tasks": [task]}],
    }


def measure(clients: int, method: str, folder: Path, attempt: int) -> dict[str, Any]:
    """Run the federation in a process of its own and return what it took."""
    table = folder / f"reports-{clients}.csv"
    if not table.exists():
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("text", "label", "split"))
            writer.writerows(reports(ROWS * clients))
    file = folder / f"scale-{clients}.yaml"
    file.write_text(yaml.safe_dump(scenario(clients, table, method)))
    out = folder / f"run-{clients}-{attempt}"
    command = [sys.executable, "-m", "fedtap", "run", str(file), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEDTAP_CACHE": str(folder / "cache")}
    with (folder / "log").open("wb") as log:
        done = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        _, code, used = os.wait4(done.pid, 0)
    if code:
        raise SystemExit((folder / "log").read_text()[-2000:])
    cost = json.loads((out / "cost.json").read_text())
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    rounds = [event["seconds"] for event in events if event["event"] == "round_finished"]
    return {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "phases": {phase: cost["by_phase"].get(phase, 0.0) for phase in PHASES},
        "seconds_per_round": statistics.median(rounds[1:]),  # the first warms up
        "peak_rss_mb": cost["peak_rss_bytes"] / 2**20,
        "mb_written": {
            name: _size(out / name) / 1e6 for name in ("results.json", "events.jsonl", "report.html", "report")
        },
    }


def _size(place: Path) -> int:
    """Return the largest page or file of a place: what a browser has to open."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return max((file.stat().st_size for file in files), default=0)


def medians(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every figure."""
    taken: dict[str, Any] = {}
    for key, value in measured[0].items():
        every = [each[key] for each in measured]
        taken[key] = medians(every) if isinstance(value, dict) else statistics.median(every)
    return taken


def main() -> None:
    """Measure all sizes in turn and print what grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--method", default="tap")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    given = parser.parse_args()
    results: dict[int, list[dict[str, Any]]] = {size: [] for size in given.sizes}
    with tempfile.TemporaryDirectory() as temporary:
        for attempt in range(given.repeats + 1):
            for size in given.sizes:
                measured = measure(size, given.method, Path(temporary), attempt)
                if attempt:
                    results[size].append(measured)
                print(f"{size} clients: {measured}{'' if attempt else ' (not counted)'}", flush=True)
    summary = {
        "method": given.method,
        "clients": {size: medians(measured) for size, measured in results.items()},
        "scenario": scenario(max(given.sizes), Path("reports.csv"), given.method),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread",
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(summary, indent=1) + "\n")
    print("clients   " + "".join(f"{phase:>13}" for phase in PHASES) + "   a round   peak MB   (seconds; ms a client)")
    for size, figures in summary["clients"].items():
        phases = "".join(f"{seconds:7.1f} {seconds / size * 1000:5.1f}" for seconds in figures["phases"].values())
        print(f"{size:<10}{phases}   {figures['seconds_per_round']:7.2f}   {figures['peak_rss_mb']:7.0f}")


if __name__ == "__main__":
    main()
