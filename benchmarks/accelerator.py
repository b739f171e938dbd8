"""What fedtap does on a GPU: right results, seconds a round at full size, and where the time goes. Eight minutes at most.

    python benchmarks/accelerator.py --out benchmarks/results/accelerator
    python benchmarks/accelerator.py --device cpu --tiny          # the same script, where there is no GPU

Needs neither hub nor network: weights are drawn, pixels and tokens are random (the arithmetic is the same). In this order, so
that what is cut off by ``--minutes`` is what matters least:

1. The tests that need CUDA; among them that a GPU decides as the CPU does.
2. paper-flava and paper-vilt untrained at full size with the paper's batch, four times 32 examples: for each kind of client and
   precision the median step, from it the seconds of a round's training (two clients one after the other, 20 steps each, half of
   the time the personal model's), the share of the rate at which this card multiplies large bf16 matrices, and peak memory.
3. The ten largest kernels of a step of each backbone's costliest client.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import foundation
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fedtap.backbones import load_backbone
from fedtap.batch import Batch
from fedtap.experiment.provenance import provenance
from fedtap.experiment.site import words_of
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.scenario.scenario import BackboneSettings, Precision, Scenario, load_scenario
from fedtap.training.loop import Objective, batch_loss, plain_gradient, train

ROOT = Path(__file__).resolve().parents[1]
CUDA_TESTS = ("tests/e2e/test_devices.py", "tests/data/test_prefetch.py")
REPEATS = 5
TINY = ("batch_size=4", "training.micro_batch=2")


def rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return floating-point operations a second of a product of two large square matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / statistics.median(foundation.seconds(lambda: a @ b, device, 10))


def paper(name: str, tiny: bool) -> Scenario:
    """Return the paper's scenario, or its offline twin of a thousandth of the size."""
    if tiny:
        return load_scenario(ROOT / "scenarios" / f"paper-{name}-offline.yaml", TINY)
    return load_scenario(ROOT / "scenarios" / f"paper-{name}.yaml")


class Client:
    """One kind of client at full size: its network, a batch, and a step."""

    def __init__(
        self, scenario: Scenario, kind: foundation.Kind, device: torch.device, precision: Precision, tiny: bool
    ):
        sizes = {"weights": "untrained-tiny"} if tiny else {"weights": "untrained", "image_size": kind.side}
        chosen = BackboneSettings.model_validate(scenario.backbone.model_dump() | sizes)
        backbone = load_backbone(chosen, device)
        heads = {kind.pair.head: HeadInfo(kind.pair.type, kind.pair.modality, 4)}
        architecture = Experts(Blueprint(backbone.spec, scenario.network, heads), backbone)
        words = words_of(backbone, device) if kind.pair.type == foundation.ASK else None
        keys = architecture.plan([kind.pair])
        self.settings = scenario.training
        self.network = Network(architecture, keys, seed=0, words=words, precision=precision).to(device)
        self.network.load(self.network.initial_state())
        sized = foundation.Kind(kind.name, kind.pair, chosen.image_size, min(kind.tokens, chosen.text_tokens))
        self.batch: Batch = foundation.a_batch(sized, sized.tokens, device, scenario.batch_size, 50 if tiny else 20000)

    def step(self) -> None:
        """Take one optimizer step."""
        train(self.network, [self.batch], [1e-4], self.settings)

    def flop(self) -> int:
        """Return the floating-point operations of a step, as torch counts them."""
        objective = Objective(lambda part: batch_loss(self.network, part), self.settings.micro_batch)
        with FlopCounterMode(display=False) as counter:
            plain_gradient(self.network, self.batch, objective)
        return int(counter.get_total_flops())


def steps(name: str, device: torch.device, tiny: bool, until: float) -> Iterator[dict[str, Any]]:
    """Measure each kind of client of a paper's scenario, in both precisions, until the time is up."""
    scenario = paper(name, tiny)
    peak_rate = rate(device, torch.bfloat16, 512 if tiny else 8192)
    for precision in ("bf16", "fp32"):
        for kind in foundation.KINDS:
            if time.monotonic() > until:
                return
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            client = Client(scenario, kind, device, precision, tiny)
            flop = client.flop()
            taken = statistics.median(foundation.seconds(client.step, device, 2 if tiny else REPEATS))
            yield {
                "backbone": name,
                "kind": kind.name,
                "precision": precision,
                "batch": scenario.batch_size,
                "micro_batch": scenario.training.micro_batch,
                "step_seconds": taken,
                "round_seconds": taken * scenario.local_steps * scenario.clients_per_round,
                "tflop": flop / 1e12,
                "share_of_bf16_rate": flop / taken / peak_rate,
                "bf16_tflop_per_second": peak_rate / 1e12,
                "peak_device_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
            }


def kernels(name: str, device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """Return the ten largest kernels (on the CPU: operators) of a bf16 step that classifies pictures of 224 pixels."""
    scenario = paper(name, tiny)
    client = Client(scenario, foundation.KINDS[0], device, "bf16", tiny)
    client.step()
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiled:
        client.step()
        if cuda:
            torch.cuda.synchronize()
    of = "self_device_time_total" if cuda else "self_cpu_time_total"
    found = sorted(profiled.key_averages(), key=lambda event: getattr(event, of), reverse=True)
    total = sum(getattr(event, of) for event in found) or 1.0
    return [
        {"backbone": name, "kernel": event.key[:90], "calls": event.count, "share": getattr(event, of) / total}
        for event in found[:10]
    ]


def cuda_tests() -> dict[str, Any]:
    """Run the tests that need CUDA; return how many passed, failed and were skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CUDA_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-200:]]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last[0])}
    return {"code": done.returncode, **counts, "said": re.sub(r" in [\d.]+s.*", "", last[0])}


def markdown(found: dict[str, Any]) -> str:
    """Return the tables."""
    lines = [
        f"{found['card']}, torch {torch.__version__}, large bf16 products {found['bf16_tflop_per_second']:.3g} TFLOP/s.",
        "",
        f"Tests that need CUDA: {found['tests']['said']}." if found["tests"] else "Tests that need CUDA: not run.",
        "",
        "| backbone | client | precision | step, s | round, s | TFLOP | share of bf16 rate | peak, GB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["steps"]:
        held = "-" if row["peak_device_bytes"] is None else f"{row['peak_device_bytes'] / 1e9:.1f}"
        lines.append(
            f"| {row['backbone']} | {row['kind']} | {row['precision']} | {row['step_seconds']:.3f} | "
            f"{row['round_seconds']:.1f} | {row['tflop']:.3g} | {row['share_of_bf16_rate']:.1%} | {held} |"
        )
    lines += [
        "",
        "| backbone | largest in a bf16 step, pictures of 224 pixels | calls | share |",
        "|---|---|---:|---:|",
    ]
    lines += [
        f"| {row['backbone']} | `{row['kernel']}` | {row['calls']} | {row['share']:.1%} |" for row in found["kernels"]
    ]
    if found["cut_off"]:
        lines += ["", f"Cut off after {found['minutes']} minutes: what is missing above was not measured."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write as one goes, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small towers: to try the script")
    parser.add_argument("--minutes", type=float, default=7.0, help="begin nothing new after these")
    parser.add_argument("--out", type=Path, help="without an ending: .json and .md are written, after each part")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device is here; --device cpu --tiny tries the script")
    until = time.monotonic() + 60 * asked.minutes
    card = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else "CPU (the script alone is tried, nothing is measured)"
    )
    found: dict[str, Any] = {**provenance(), "card": card, "tiny": asked.tiny, "minutes": asked.minutes}
    found |= {"bf16_tflop_per_second": rate(device, torch.bfloat16, 512 if asked.tiny else 8192) / 1e12}
    found |= {"tests": cuda_tests() if device.type == "cuda" else None, "steps": [], "kernels": [], "cut_off": False}

    def write() -> None:
        if asked.out:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
            asked.out.with_suffix(".md").write_text(markdown(found))

    for number, name in enumerate(("flava", "vilt"), start=1):
        began = time.monotonic()
        for row in steps(name, device, asked.tiny, began + (until - began) / (3 - number)):
            found["steps"].append(row)
            write()
    for name in ("flava", "vilt"):
        if time.monotonic() < until:
            found["kernels"] += kernels(name, device, asked.tiny)
            write()
    found["cut_off"] = len(found["steps"]) < 4 * len(foundation.KINDS) or len(found["kernels"]) < 20
    write()
    print(markdown(found))


if __name__ == "__main__":
    main()
