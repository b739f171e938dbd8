"""Whether a run that was killed at any moment, and resumed, is the run that nobody killed, and nothing is left behind.

    python benchmarks/kills.py --number 100

Kills (SIGKILL) `fedtap run`, `fedtap compare` and `fedtap run --engine flower` at random moments, resumes, and compares what they
leave, byte for byte, with a run that nobody killed. Counts the processes that outlive it. Three hospitals, two rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "three-hospitals"
SHORT = ("--set", "rounds=2", "--set", "local_steps=2", "--set", "training.finetune_steps=2")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "three-hospitals.yaml", *SHORT),
    "compare": ("compare", "three-hospitals.yaml", "--methods", "local,tap", "--seeds", "0", *SHORT),
    "flower": ("run", "three-hospitals.yaml", "--engine", "flower", *SHORT),
}
SHARES = {"run": 6, "compare": 3, "flower": 1}
"""Of ten kills, how many are of which command; one over Flower takes a minute."""
RESUME = {"run": ("--resume=auto",), "compare": (), "flower": ("--resume=auto",)}
RESULT = {"run": "results.json", "compare": "comparison.json", "flower": "results.json"}
GRACE = 10.0  # seconds that children have to notice that their parent is gone


def start(command: str, work: Path, out: Path, more: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start a command with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEDTAP_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    arguments = [sys.executable, "-m", "fedtap", *COMMANDS[command], "--out", str(out), *more]
    with (work / "said").open("ab") as said:
        return subprocess.Popen(arguments, cwd=work, env=environment, stdout=said, stderr=said)


def left_behind(work: Path) -> list[str]:
    """Return the processes that still are in a folder, or name one in it, after they have had time to end."""
    until = time.monotonic() + GRACE
    while True:
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or [])
            if process.info["pid"] != os.getpid() and (str(work) in line or process.info["cwd"] == str(work)):
                found.append(line[:120])
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def results(command: str, out: Path) -> bytes:
    """Return what a command came to, without what names the machine."""
    path = out / RESULT[command]
    if command != "compare":
        return path.read_bytes()
    found = json.loads(path.read_text(encoding="utf-8"))
    del found["commit"]  # of fedtap: somebody may go on working on it meanwhile
    return json.dumps(found, sort_keys=True).encode()


def main() -> None:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--only", choices=COMMANDS, help="kill this command alone")
    asked = parser.parse_args()
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sys.path.insert(0, str(EXAMPLE))
        from make_data import main as make_data

        make_data(work)
        shutil.copy(EXAMPLE / "scenario.yaml", work / "three-hospitals.yaml")
        kinds = [asked.only] if asked.only else [kind for kind, share in SHARES.items() for _ in range(share)]
        expected: dict[str, tuple[bytes, float]] = {}
        for kind in sorted(set(kinds)):
            began = time.monotonic()
            if start(kind, work, work / f"whole-{kind}").wait():
                sys.exit(f"{kind}: the run that nobody kills failed: {(work / 'said').read_text()[-2000:]}")
            expected[kind] = results(kind, work / f"whole-{kind}"), time.monotonic() - began
        said: Counter[tuple[str, str]] = Counter()
        for number in range(asked.number):
            kind = kinds[number % len(kinds)]
            out = work / f"killed-{number:03d}"
            process = start(kind, work, out)
            after = draw.uniform(0.05, 0.95) * expected[kind][1]
            time.sleep(after)
            process.kill()
            process.wait()
            left = left_behind(work)
            code = start(kind, work, out, RESUME[kind]).wait()
            same = code == 0 and results(kind, out) == expected[kind][0]
            torn = any(out.rglob(".*.tmp"))
            found = ["the same" if same else "DIFFERS", *["LEFT PROCESSES"] * bool(left), *["TEMPORARY FILES"] * torn]
            print(
                f"{number + 1:3} of {asked.number}: {kind} killed after {after:5.1f} s: {', '.join(found)}", flush=True
            )
            said.update((kind, what) for what in ("killed", *found))
            shutil.rmtree(out, ignore_errors=True)
        for (kind, what), times in sorted(said.items()):
            print(f"{kind:8} {what:16} {times}")


if __name__ == "__main__":
    main()
