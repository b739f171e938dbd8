"""A round over Flower beside its training, and the bytes of its messages beside those of the plan.

    python benchmarks/flower_overhead.py

Runs the three hospitals of ``examples/`` in one process and with Flower's processes on loopback (TLS, keys), and encodes one
request of each client as the transport does. Prints seconds and bytes; writes ``benchmarks/results/flower_overhead.json``.
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

import flwr
import torch
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity

from fedtap.algorithms.registry import make
from fedtap.engines.flower.codec import Envelope, encode_request
from fedtap.experiment.provenance import commit
from fedtap.experiment.setup import set_up_server
from fedtap.federation.messages import Request
from fedtap.scenario.scenario import load_scenario

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "three-hospitals"
WIDTHS = (16, 128)
"""Of the network: that of the example, and that of the quickstart."""


def seconds(scenario: Path, out: Path, engine: str) -> list[dict[str, float]]:
    """Run the scenario; return of each round the seconds in all, and those of the client that trained longest."""
    command = [sys.executable, "-m", "fedtap", "run", str(scenario), "--out", str(out), "--engine", engine]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    work: dict[int, list[float]] = {}
    for event in events:
        if event["event"] == "update":
            work.setdefault(event["round"], []).append(event["seconds"])
    ends = {event["round"]: event["seconds"] for event in events if event["event"] == "round_finished"}
    return [
        {"round": ends[number], "longest": max(work[number]), "training": sum(work[number])} for number in sorted(ends)
    ]


def sizes(width: int) -> dict[str, dict[str, float]]:
    """Return for each client the bytes of its plan, and those of the message that carries them."""
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # whoever makes messages must be somebody
    widths = [f"network.dim={width}", f"network.expert_dim={width}"]
    scenario = load_scenario(EXAMPLE / "scenario.yaml", widths)
    most = {client.id: {task.name: 1 for task in client.tasks} for client in scenario.clients}
    context = set_up_server(scenario, make(scenario.method), seed=0, device="cpu", most=most)
    found = {}
    for client in scenario.clients:
        components = context.start.slice_for(client.id, context.architecture.plan(client.pairs))
        # Flower sends equal arrays once, and at the start many are equal; in training no two are.
        components = components.map(lambda tensor: tensor + torch.rand_like(tensor))
        request = Request(client.id, 1, "train", components)
        message = Message(encode_request(request, Envelope("0.1.0", "f" * 32)), 1, "train.round")
        wire = sum(len(each.deflate()) for each in get_all_nested_objects(message).values())
        tensors = sum(1 for _ in components.tensors())
        found[client.id] = {"plan": components.nbytes, "wire": wire, "ratio": round(wire / components.nbytes, 3)}
        found[client.id]["tensors"] = tensors
    return found


def main() -> None:
    """Measure, print, write."""
    sys.path.insert(0, str(EXAMPLE))
    from make_data import main as make_data

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_data(folder)
        scenario = folder / "scenario.yaml"
        scenario.write_bytes((EXAMPLE / "scenario.yaml").read_bytes())
        subprocess.run(  # fills the feature cache, and is not counted
            [sys.executable, "-m", "fedtap", "run", str(scenario), "--out", str(folder / "warm")],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        rounds = {engine: seconds(scenario, folder / engine, engine) for engine in ("inprocess", "flower")}
    medians = {
        engine: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for engine, found in rounds.items()
    }
    medians["flower"]["beside"] = statistics.median(each["round"] - each["longest"] for each in rounds["flower"])
    medians["inprocess"]["beside"] = statistics.median(each["round"] - each["training"] for each in rounds["inprocess"])
    summary: dict[str, Any] = {
        "seconds_per_round": medians,
        "rounds": rounds,
        "bytes_per_request": {str(width): sizes(width) for width in WIDTHS},
        "load_average": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, flwr {flwr.__version__}",
        "commit": commit(Path(__file__).resolve().parents[1] / "src" / "fedtap"),
    }
    target = Path("benchmarks/results/flower_overhead.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({key: summary[key] for key in ("seconds_per_round", "bytes_per_request")}, indent=1))


if __name__ == "__main__":
    main()
