"""What `make demo` prints, kept: the table that README.md shows, with all digits.

    python benchmarks/demo.py [OUT]

Runs `fedtap demo` in the folder OUT (by default ``runs/quickstart``; a finished run there is taken as it is), and puts its table
into ``benchmarks/results/demo.json``, in the place of an older one of this kind of processor. README.md shows the first of them.
Tests hold README.md against that file, and the file against the demo.

Processors of different kinds round differently, and the last digits of a table go by that. What an older kind prints can be
seen on a newer one (the folder must be another, and the cache of features too):

    FEDTAP_CACHE=cache ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/demo.py OUT
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedtap.reporting.run.record import read_run
from fedtap.reporting.run.standings import family_standings, standings

TARGET = Path(__file__).parent / "results" / "demo.json"
ABOUT = ("python", "torch", "transformers", "numpy", "resolved_device")
"""What of a run's environment its numbers may go by."""


def processor() -> str:
    """Return what kind of processor this process reckons with: who makes it, and the widest instructions that torch uses."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    maker = next((line.split(":")[1].strip() for line in told.splitlines() if line.startswith("vendor_id")), "unknown")
    return f"{maker} {torch.backends.cpu.get_cpu_capability()}"


def record(run: Path) -> dict[str, Any]:
    """Return the table of a finished run, and what it was made with."""
    found = read_run(run)
    assert found.rows is not None, f"{run}: the run is not finished"
    environment: Mapping[str, Any] = found.run["environment"]
    return {
        "processor": processor(),
        "fedtap": found.run["fedtap"],
        "method": found.run["method"],
        "seed": found.run["seed"],
        "environment": {key: environment[key] for key in ABOUT if key in environment},
        "table": [
            {
                "family": each.family,
                "metric": each.metric,
                "tasks": each.client_tasks,
                "baseline": each.baseline,
                "models": dict(each.values),
                "best": sorted(each.best),
            }
            for each in family_standings(standings(found.rows, found.config))
        ],
    }


def main() -> None:
    """Run the demo, and keep its table."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
    subprocess.run([sys.executable, "-m", "fedtap", "demo", "--out", os.fspath(out)], check=True)
    new = record(out)
    kept = json.loads(TARGET.read_text(encoding="utf-8"))["runs"] if TARGET.exists() else []
    known = {each["processor"]: each for each in kept} | {new["processor"]: new}
    told = {"command": "fedtap demo", "runs": list(known.values())}
    TARGET.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
