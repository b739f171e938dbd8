"""What do workers gain? Wall seconds of the same run with one worker and with two, over Ray, and in one process, in turn.

    python benchmarks/workers.py
    python benchmarks/workers.py --scenario scenarios/homogeneous.yaml --set rounds=8 --ways "2 workers" --repeats 3
    python benchmarks/workers.py --repeats 1 --set rounds=1 --set local_steps=1    # to try it
    python benchmarks/workers.py --scenario scenarios/paper-flava.yaml --set backbone.weights=untrained --repeats 3

Run it with nothing else on the machine. Every attempt is the command in a process of its own, with the features in the
cache already; the ways take turns, so that what the machine does beside hits all alike. All ways must end with the same
``results.json``, but that of several threads in one process, whose sums round otherwise. Ray takes part where it is
installed (extra ``ray``), and starts anew in every attempt, as the command does. Processor seconds are those of all
processes that the command has waited for: Ray's own are not among them, nor are the actors'. Prints medians by phase,
and ratios; writes ``benchmarks/results/workers.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PHASES = ("setup", "rounds", "personalise", "evaluate")
WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "1 worker": (("--workers", "1"), {}),
    "2 workers": (("--workers", "2"), {}),
    "1 process, 1 thread": ((), {"OMP_NUM_THREADS": "1"}),
    "1 process, all threads": ((), {}),
}
if find_spec("ray") is not None:
    WAYS["2 Ray actors"] = (("--engine", "ray", "--workers", "2"), {})
BASE = "1 worker"


def attempt(way: str, given: argparse.Namespace, out: Path, cache: Path) -> dict[str, float]:
    """Do the run once and return its wall seconds, in all and by phase, and its processor seconds."""
    more, environment = WAYS[way]
    settings = [part for each in given.set for part in ("--set", each)]
    here = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fedtap",
            "run",
            given.scenario,
            "--method",
            given.method,
            "--out",
            str(out),
            *settings,
            *more,
        ],
        env={**clean, "PYTHONPATH": os.pathsep.join(here), "FEDTAP_CACHE": str(cache), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        sys.exit(done.stderr)
    cost = json.loads((out / "cost.json").read_text())
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return {"whole": seconds, "processor": processor, "peak_rss_bytes": cost["peak_rss_bytes"], **cost["by_phase"]}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="scenarios/quickstart.yaml")
    parser.add_argument("--method", default="tap")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    given = parser.parse_args()
    ways = [way for way in WAYS if way in (BASE, *given.ways)]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    same: dict[str, set[bytes]] = {way: set() for way in ways}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        attempt(BASE, given, folder / "warm", folder / "cache")
        for number in range(given.repeats):
            for way in ways[number % 2 :] + ways[: number % 2]:
                out = folder / f"{way.replace(' ', '-')}-{number}"
                found[way].append(attempt(way, given, out, folder / "cache"))
                same[way].add((out / "results.json").read_bytes())
                print(f"{way}: {found[way][-1]['whole']:.1f} s", file=sys.stderr)
    medians = {
        way: {
            key: statistics.median(each[key] for each in rows)
            for key in ("whole", "processor", "peak_rss_bytes", *PHASES)
        }
        for way, rows in found.items()
    }
    equal = {way: same[way] == same[BASE] and len(same[way]) == 1 for way in ways}
    print("| way | whole, s | " + " | ".join(PHASES) + " | processor, s | times as fast as one worker | results |")
    print("|---" * (len(PHASES) + 5) + "|")
    for way, row in medians.items():
        phases = " | ".join(f"{row[phase]:.1f}" for phase in PHASES)
        ratio, rounds = (medians[BASE][key] / row[key] for key in ("whole", "rounds"))
        about = "the same" if equal[way] else "others"
        print(
            f"| {way} | {row['whole']:.1f} | {phases} | {row['processor']:.1f} | {ratio:.2f} (rounds {rounds:.2f}) | {about} |"
        )
    record: dict[str, Any] = {
        "scenario": given.scenario,
        "method": given.method,
        "settings": given.set,
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip(),
        "medians": medians,
        "attempts": found,
        "equal_to_one_worker": equal,
    }
    (ROOT / "benchmarks/results/workers.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
