"""The cost of a local step beside its arithmetic, and the operators that the rest goes to.

    python benchmarks/step.py
    python benchmarks/step.py --scenario scenarios/newsroom.yaml --out benchmarks/results/step-newsroom.json

One client of each kind takes plain steps on its own data (forward, backward, AdamW), with one thread. Beside their seconds (the
median of several turns) stands the floor: floating-point operations of the step's matrix products, counted by torch, over the
rate of a product of the same size as the largest of them, measured in the same run. Sums over the vocabulary, normalisation and
activations are no matrix products: they are in the step and not in the floor. The largest costs are operators' own seconds
(torch.profiler), as shares of all kinds' steps. Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fedtap.algorithms.registry import make
from fedtap.experiment.provenance import provenance
from fedtap.experiment.setup import set_up
from fedtap.experiment.step_time import alike_clients
from fedtap.federation.store import ClientStore
from fedtap.runtime.memory import keep_freed_memory
from fedtap.scenario.scenario import load_scenario
from fedtap.training.client import LocalClient

LARGEST = 12
"""Operators that are told."""


class Products(torch.overrides.TorchFunctionMode):
    """Takes note of the largest linear map that is computed: its rows, inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = (0, 0, 0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear:
            given, weight = args[0], args[1]
            size = (given.numel() // given.shape[-1], weight.shape[1], weight.shape[0])
            self.largest = max(self.largest, size, key=lambda each: each[0] * each[1] * each[2])
        return func(*args, **(kwargs or {}))


def product_rate(size: tuple[int, int, int]) -> float:
    """Return floating-point operations a second of a matrix product of rows, inputs and outputs."""
    rows, inner, columns = size
    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    taken = []
    for _ in range(12):
        began = time.perf_counter()
        torch.nn.functional.linear(a, b)
        taken.append(time.perf_counter() - began)
    return 2.0 * rows * inner * columns / min(taken)


def measure(client: LocalClient, steps: int, turns: int) -> tuple[dict[str, Any], Counter[str]]:
    """Return what a client's step takes, its floor, and each operator's own milliseconds in one step."""
    start = client.initial_state()
    taken = []
    for turn in range(turns + 1):
        began = time.perf_counter()
        client.train(start, steps, "timing", stays=True)
        if turn:
            taken.append((time.perf_counter() - began) / steps)
    counter = FlopCounterMode(display=False)
    with Products() as products, counter:
        client.train(start, steps, "timing", stays=True)
    operations = counter.get_total_flops() / steps
    rate = product_rate(products.largest)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        client.train(start, steps, "timing", stays=True)
    own = Counter({each.key: each.self_cpu_time_total / 1000 / steps for each in profiled.key_averages()})
    seconds = statistics.median(taken)
    told = {
        "tasks": list(client.tasks),
        "ms": 1000 * seconds,
        "spread": (max(taken) - min(taken)) / seconds,
        "gflop": operations / 1e9,
        "largest_product": list(products.largest),
        "gflop_per_s": rate / 1e9,
        "floor_ms": 1000 * operations / rate,
    }
    return told, own


def main() -> None:
    """Measure all kinds of clients, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="scenarios/quickstart.yaml")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    scenario = load_scenario(given.scenario, given.set)
    kinds, costs = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        algorithm = make(scenario.method, None, place="method")
        store = ClientStore(Path(folder))
        site = set_up(scenario, algorithm, seed=0, device="cpu", store=store, tell=lambda event: None).site
        for alike in alike_clients(scenario):
            told, own = measure(site.local(alike[0].id, 1), given.steps, given.turns)
            kinds.append({**told, "clients": len(alike)})
            for name, milliseconds in own.items():
                costs[name] += milliseconds * len(alike)
            print(f"{', '.join(told['tasks'])}: {told['ms']:.1f} ms, floor {told['floor_ms']:.1f}", flush=True)
    clients = sum(kind["clients"] for kind in kinds)
    whole, floor = (sum(kind[key] * kind["clients"] for kind in kinds) / clients for key in ("ms", "floor_ms"))
    profiled = sum(costs.values())
    record = {
        "scenario": given.scenario,
        "settings": given.set,
        **provenance(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread",
        "load": os.getloadavg(),
        "kinds": kinds,
        "mean_ms": whole,
        "mean_floor_ms": floor,
        "over_floor": whole / floor,
        "largest_costs": [
            {"operator": name, "share": milliseconds / profiled} for name, milliseconds in costs.most_common(LARGEST)
        ],
    }
    given.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"mean over clients: {whole:.1f} ms, floor {floor:.1f} ms, {whole / floor:.2f} times")
    for each in record["largest_costs"]:
        print(f"{each['share']:6.1%}  {each['operator']}")


if __name__ == "__main__":
    main()
