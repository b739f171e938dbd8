"""Three hospitals, one server, on this machine: certificates, keys, four rounds of TAP, and the same results as in one process.

    python examples/three-hospitals/run.py --work three-hospitals

It does what docs/flower.md describes for real machines, step by step, with the same commands. Only two things differ: everything
listens on the loopback interface, and afterwards the same scenario is run in one process, to show that the numbers are equal.
It takes a few minutes on two cores, most of them for starting a process for each message, as Flower does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from make_data import main as make_data

from fedtap.engines.flower.certificates import Certificates
from fedtap.engines.flower.processes import Processes

HERE = Path(__file__).resolve().parent
SCENARIO = HERE / "scenario.yaml"
TASKS = {
    "north": {"digit": "north/scans", "mood": "north/letters.csv"},
    "south": {"digit": "south/scans", "redraw": "south/scans"},
    "west": {"mood": "west/notes.csv", "even": "west/questions.jsonl"},
}
PATIENCE = 1200.0  # seconds until the federation must have finished


def main() -> int:
    """Do everything; return 0 if the results agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="a folder for everything that is made; must not be there"
    )
    work = parser.parse_args().work.resolve()
    work.mkdir(parents=True)

    say("1. Each hospital has its own data.")
    make_data(work)

    say("2. The server's certificate, and the authority's, which every hospital gets.")
    fedtap("flower", "certificates", work / "tls", "--host", "127.0.0.1")
    certificates = Certificates(*(work / "tls" / name for name in ("ca.crt", "server.crt", "server.key")))

    say("3. Each hospital makes its node: which client it is, where its data lie, a key of its own. Nothing is sent.")
    for hospital, places in TASKS.items():
        data = [part for task, path in places.items() for part in ("--data", f"{task}={work / path}")]
        fedtap("node", "init", work / "nodes" / hospital, "--client", hospital, "--scenario", SCENARIO, *data)
        (work / "keys").mkdir(exist_ok=True)  # the public halves go to the server
        shutil.copy(work / "nodes" / hospital / "node.key.pub", work / "keys" / f"{hospital}.pub")

    say("4. The app around the scenario.")
    out = work / "federation"
    fedtap("flower", "init", work / "app", "--scenario", SCENARIO, "--keys", work / "keys", "--out", out)

    say("5. The SuperLink, which knows the three keys and no others; the SuperNodes; the run.")
    began = time.monotonic()
    with Processes(work / "processes", certificates) as processes:
        processes.start_superlink()
        for hospital in TASKS:
            processes.register(work / "keys" / f"{hospital}.pub")
        for hospital in TASKS:
            node = work / "nodes" / hospital
            processes.start_supernode(hospital, {"client-id": hospital, "node": str(node)}, node / "node.key")
        fault = work / "fault.json"
        # Three machines would work side by side; here they share one.
        processes.run(work / "app", {"fault": str(fault), "at-once": os.cpu_count() or 1})
        follow(out, fault, began)
    say(f"   finished after {time.monotonic() - began:.0f} s; report: {out / 'report.html'}")

    say("6. The same scenario in one process.")
    together = work / "one-process.yaml"  # beside the data, so that the scenario's own paths are right
    shutil.copy(SCENARIO, together)
    fedtap("run", together, "--out", work / "one-process")
    return compare(out, work / "one-process")


def follow(out: Path, fault: Path, began: float) -> None:
    """Show the rounds as they end, until all is written."""
    shown = 0
    while not (out / "report.html").exists():  # it is written last
        if fault.exists():
            sys.exit(f"the server could not go on: {json.loads(fault.read_text())['message']}")
        if time.monotonic() - began > PATIENCE:
            sys.exit(f"no results after {PATIENCE:.0f} s")
        lines = (
            (out / "events.jsonl").read_text(encoding="utf-8").splitlines() if (out / "events.jsonl").exists() else []
        )
        for line in lines[shown:]:
            event = json.loads(line)
            if event["event"] in ("joined", "refused", "failed", "rejected", "unchanged", "round_finished"):
                told = {key: event[key] for key in ("round", "client", "clients", "seconds", "why") if key in event}
                say(f"   {time.monotonic() - began:4.0f} s  {event['event']}  {told}")
        shown = len(lines)
        time.sleep(1)


def compare(apart: Path, together: Path) -> int:
    """Show the largest difference between both ways; the test on other clients' data exists in one process only."""
    mine, theirs = (json.loads((run / "results.json").read_text())["rows"] for run in (apart, together))
    theirs = [row for row in theirs if row["split"] != "cross"]
    places = [
        [(row["client"], row["task"], row["model"], row["metric"], row["n"]) for row in rows] for rows in (mine, theirs)
    ]
    if places[0] != places[1]:
        say(f"   the two runs have different rows: {len(mine)} and {len(theirs)}")
        return 1
    largest = max(abs(a["value"] - b["value"]) for a, b in zip(mine, theirs, strict=True))
    say(f"   {len(mine)} results, largest difference {largest:g}")
    return 0 if largest <= 1e-6 else 1


def fedtap(*arguments: object) -> None:
    """Call the command, and stop if it fails."""
    command = [sys.executable, "-m", "fedtap", *map(str, arguments)]
    say(f"   fedtap {' '.join(map(str, arguments))}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
