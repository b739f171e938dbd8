"""What does a framework cost beside its arithmetic? One job on fedtap, a bare loop, pfl, PFLlib and Flower's simulation.

    python benchmarks/peers/run.py
    python benchmarks/peers/run.py --pfllib CHECKOUT                                   # PFLlib too, which is no package
    python benchmarks/peers/run.py --repeats 1 --peers bare,fedtap --networks plain    # to try it

Run it with nothing else on the machine: processor seconds are those of the whole machine, so that they hold Ray's processes too.
A peer that is not in this environment is installed into one of its own, which sees this one's packages (the network needs
fedtap): `--environments DIR`. PFLlib runs from a checkout of its repository, github.com/TsingZ0/PFLlib. Peers take turns, one
thread each; the first attempt of each fills caches and is not counted. `job.py` says what the job is. Prints and writes to
`benchmarks/results/peers.json` medians, their spread, the fastest rounds, and ratios over the bare loop. `in_turn.py` compares
rounds without the noise between processes.
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
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import job
import psutil
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NEEDS: dict[str, tuple[str, ...]] = {
    "bare": (),
    "fedtap": (),
    "pfl": ("pfl==0.6.0",),
    "flower": ("ray==2.55.1",),
    "pfllib": ("h5py==3.16.0",),
}
"""What each peer needs beyond fedtap's environment."""
MODULES = {"pfl": "pfl", "flower": "ray", "pfllib": "h5py"}
BASE = "bare"


def busy() -> float:
    """Return the processor seconds that the machine has worked, in all."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def python_of(peer: str, environments: Path) -> str:
    """Return the Python that runs a peer, installing what it needs once."""
    if not NEEDS[peer] or find_spec(MODULES[peer]) is not None:
        return sys.executable
    place = environments / peer
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        (packages,) = (place / "lib").glob("python*/site-packages")
        (packages / "fedtap-environment.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *NEEDS[peer]], check=True)
        (place / "ready").touch()
    return str(python)


def attempt(peer: str, python: str, folder: Path, number: int, pfllib: Path | None) -> dict[str, Any]:
    """Do the job once and return what it took."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(HERE))),
        "FEDTAP_CACHE": str(folder / "cache"),
        "PFL_PYTORCH_DEVICE": "cpu",
    }
    out = folder / f"run-{number}"
    command = {
        "bare": [python, str(HERE / "bare.py"), str(folder)],
        "pfl": [python, str(HERE / "on_pfl.py"), str(folder)],
        "flower": [python, str(HERE / "on_flower.py"), str(folder)],
        "pfllib": [python, str(HERE / "on_pfllib.py"), str(folder), str(pfllib)],
        "fedtap": [python, "-m", "fedtap", "run", str(folder / "job.yaml"), "--out", str(out)],
    }[peer]
    before, since = busy(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    seconds, processor = time.perf_counter() - since, busy() - before
    if done.returncode:
        sys.exit(f"{peer}: {done.stderr[-3000:]}")
    if peer == "fedtap":
        events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        rounds = [event["seconds"] for event in events if event["event"] == "round_finished"]
        rows = json.loads((out / "results.json").read_text())["rows"]
        wanted = [
            r["value"] for r in rows if r["model"] == "federated" and r["split"] == "test" and r["metric"] == "accuracy"
        ]
        told = {"rounds": rounds, "accuracy": statistics.mean(wanted)}
    else:
        told = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "seconds": seconds,
        "processor": processor,
        "round": statistics.median(told["rounds"][1:]) if told["rounds"] else None,  # the first warms up
        "accuracy": told["accuracy"],
    }


def summary(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return medians, the spread of processor seconds, and ratios over the bare loop."""
    found: dict[str, dict[str, Any]] = {}
    for peer, its in rows.items():
        middle = {
            key: statistics.median(values) if (values := [each[key] for each in its if each[key] is not None]) else None
            for key in its[0]
        }
        processor = [each["processor"] for each in its]
        fastest = min((each["round"] for each in its if each["round"] is not None), default=None)
        found[peer] = {**middle, "processor_range": [min(processor), max(processor)], "fastest_round": fastest}
    for its in found.values():
        base = found[BASE]
        its["job_over_bare"] = its["processor"] / base["processor"]
        for key in ("round", "fastest_round"):
            its[f"{key}_over_bare"] = its[key] / base[key] if its[key] else None
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="by default all, PFLlib if there is a checkout")
    parser.add_argument("--pfllib", type=Path, help="a checkout of PFLlib")
    parser.add_argument("--networks", default="plain,experts")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "fedtap-peers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/peers.json")
    given = parser.parse_args()
    peers = given.peers.split(",") if given.peers else [peer for peer in NEEDS if peer != "pfllib" or given.pfllib]
    if "pfllib" in peers and not (given.pfllib and (given.pfllib / "system").is_dir()):
        parser.error("--pfllib: name a checkout of github.com/TsingZ0/PFLlib")
    pythons = {peer: python_of(peer, given.environments) for peer in peers}
    results: dict[str, Any] = {}
    for network in given.networks.split(","):
        rows: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "job.yaml").write_text(yaml.safe_dump(job.scenario(network)))
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "FEDTAP_CACHE": str(folder / "cache")}
            handing = [sys.executable, str(HERE / "job.py"), str(folder), network]
            subprocess.run(handing, check=True, env=environment)
            for number in range(given.repeats + 1):
                for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
                    measured = attempt(peer, pythons[peer], folder, number, given.pfllib)
                    print(f"{network}, {peer}: {measured}{'' if number else ' (not counted)'}", file=sys.stderr)
                    if number:
                        rows[peer].append(measured)
        results[network] = summary(rows)
        print(f"{network}: peer | job, processor s | over bare | a round, s | over bare | accuracy")
        for peer, its in results[network].items():
            a_round = "-" if its["round"] is None else f"{its['round']:.2f} | {its['round_over_bare']:.2f}"
            print(f"{peer} | {its['processor']:.1f} | {its['job_over_bare']:.2f} | {a_round} | {its['accuracy']:.3f}")
    record = {
        "job": {
            key: getattr(job, key) for key in ("CLIENTS", "ROUNDS", "STEPS", "BATCH", "LR", "CLIP", "WEIGHT_DECAY")
        },
        "repeats": given.repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread",
        "versions": {name: version(name) for name in ("torch", "numpy", "flwr")} | {"pfl": "0.6.0"},
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip(),
        "networks": results,
    }
    given.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
