"""The cost of a local step on FLAVA and ViLT at full size, beside what the arithmetic alone would take.

    python benchmarks/foundation.py --backbone flava --out benchmarks/results/flava-cpu

Random weights of the full size (the arithmetic is the same), a batch of 8, low-rank adapters on every layer as in the paper. For
each kind of client: seconds of a step (forward, backward, AdamW; the median of several), the floor (floating-point operations of
the step, counted by torch, over the rate of a matrix product measured in the same run), and their ratio. Beside it the seconds to
read the backbone and to build a client's network, the bytes that a client sends, and peak memory. Each kind runs in a process of
its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fedtap.backbones import load_backbone, loads
from fedtap.batch import Batch, TaskBatch
from fedtap.experiment.provenance import provenance
from fedtap.experiment.site import words_of
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.memory import keep_freed_memory
from fedtap.scenario.scenario import BackboneSettings, LoraSettings, NetworkSettings, Precision, TrainingSettings
from fedtap.training.loop import Objective, batch_loss, plain_gradient, train

BATCH, REPEATS = 8, 5
NEWS, LONGEST, ANSWER = 50, 256, 8
"""Tokens of an AG News item as it comes, of one padded to the paper's 256, and of an answer."""


@dataclass(frozen=True)
class Kind:
    """A kind of client: its pair, the side of its pictures, the tokens of its texts."""

    name: str
    pair: Pair
    side: int = 224
    tokens: int = NEWS


CLASSIFY, REDRAW, ASK = "classification", "reconstruction", "text_generation"
KINDS = (
    Kind("pictures to classify, 224 pixels", Pair("pictures", CLASSIFY, "image", "objects")),
    Kind("pictures to classify, 64 pixels", Pair("pictures", CLASSIFY, "image", "objects"), side=64),
    Kind("pictures to draw again, 224 pixels", Pair("redraw", REDRAW, "image", "objects")),
    Kind("news to classify, 50 tokens", Pair("news", CLASSIFY, "text", "news")),
    Kind("news to classify, padded to 256", Pair("news", CLASSIFY, "text", "news"), tokens=LONGEST),
    Kind("questions about pictures, 224 pixels", Pair("ask", ASK, "image+text", "scenes"), tokens=16),
)


def settings(backbone: str, kind: Kind) -> tuple[BackboneSettings, NetworkSettings]:
    """Return the paper's settings of a backbone."""
    flava = backbone == "flava"
    lora = LoraSettings(rank=8, alpha=16, dropout=0.3) if flava else LoraSettings(rank=4, alpha=8, dropout=0.3)
    most = LONGEST if flava else 40
    network = NetworkSettings(
        dim=768,
        heads=12,
        expert_dim=3072,
        layers=1 if flava else 4,
        adaptation="lora",
        lora_rank=16 if flava else 8,
        lora_alpha=32 if flava else 16,
        lora_dropout=0.3,
        expert_lora_rank=4 if flava else 8,
        expert_lora_alpha=8 if flava else 16,
        head_dim=384,
    )
    return BackboneSettings(
        name=backbone, weights="untrained", image_size=kind.side, text_tokens=most, lora=lora
    ), network


def a_batch(kind: Kind, tokens: int, device: torch.device, size: int = BATCH, words: int = 20000) -> Batch:
    """Return random pixels and tokens."""
    draw = torch.Generator().manual_seed(0)
    pair = kind.pair
    image = torch.randn(size, 3, kind.side, kind.side, generator=draw).to(device) if "image" in pair.modality else None
    text = torch.randint(5, words, (size, tokens), generator=draw).to(device) if "text" in pair.modality else None
    mask = None if text is None else torch.ones(size, tokens, dtype=torch.bool, device=device)
    if mask is not None and tokens == LONGEST:
        mask[:, NEWS:] = False  # the item itself is no longer
    target = {
        CLASSIFY: torch.randint(0, 4, (size,), generator=draw),
        REDRAW: torch.rand(size, 3, 64, 64, generator=draw) * 2 - 1,
        ASK: torch.randint(5, words, (size, ANSWER), generator=draw),
    }[pair.type]
    return (TaskBatch(pair, torch.arange(size), image, text, mask, target.to(device)),)


def seconds(action: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> list[float]:
    """Return the seconds of each of several calls, after one that is not counted."""
    taken = []
    for attempt in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if attempt:
            taken.append(time.perf_counter() - began)
    return taken


def product_rate(device: torch.device, precision: Precision) -> float:
    """Return floating-point operations a second of a matrix product of the shapes that a transformer layer has."""
    rows, inner, columns = BATCH * 197, 768, 3072
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((rows, inner), (inner, columns)))
    return 2 * rows * inner * columns / min(seconds(lambda: a @ b, device, 20))


def measure(backbone_name: str, index: int, device: torch.device, precision: Precision) -> dict[str, Any]:
    """Measure one kind of client."""
    keep_freed_memory()  # as the command does
    kind = KINDS[index]
    chosen, network_settings = settings(backbone_name, kind)
    began = time.perf_counter()
    backbone = load_backbone(chosen, device)
    for part, tower in (("image", backbone.vision), ("text", backbone.text)):
        if part in kind.pair.modality:
            _ = tower.module
    read = time.perf_counter() - began
    heads = {kind.pair.head: HeadInfo(kind.pair.type, kind.pair.modality, 4)}
    architecture = Experts(Blueprint(backbone.spec, network_settings, heads), backbone)
    began = time.perf_counter()
    words = words_of(backbone, device) if kind.pair.type == ASK else None
    keys = architecture.plan([kind.pair])
    network = Network(architecture, keys, seed=0, words=words, precision=precision).to(device)
    state = network.initial_state()
    network.load(state)
    built = time.perf_counter() - began
    batch = a_batch(kind, min(kind.tokens, chosen.text_tokens), device)
    with FlopCounterMode(display=False) as counter:
        plain_gradient(network, batch, Objective(lambda part: batch_loss(network, part)))
    rate = product_rate(device, precision)
    steps = seconds(lambda: train(network, [batch], [1e-4], TrainingSettings()), device)
    floor = counter.get_total_flops() / rate
    return {
        "kind": kind.name,
        "step_seconds": statistics.median(steps),
        "step_seconds_range": [min(steps), max(steps)],
        "floor_seconds": floor,
        "ratio": statistics.median(steps) / floor,
        "gflop": counter.get_total_flops() / 1e9,
        "product_gflop_per_second": rate / 1e9,
        "read_seconds": read,
        "build_seconds": built,
        "frozen_reads": loads(),
        "bytes_sent": state.nbytes,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
    }


def markdown(rows: list[dict[str, Any]], title: str) -> str:
    lines = [
        title,
        "",
        "| client | step, s | floor, s | ratio | sent, MB | read, s | build, s | peak, GB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['kind']} | {row['step_seconds']:.2f} | {row['floor_seconds']:.2f} | {row['ratio']:.2f} | "
        f"{row['bytes_sent'] / 1e6:.1f} | {row['read_seconds']:.1f} | {row['build_seconds']:.2f} | "
        f"{row['peak_rss_bytes'] / 1e9:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=("flava", "vilt"), default="flava")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, help="by default, what torch takes")
    parser.add_argument("--out", help="without an ending: .json and .md are written")
    parser.add_argument("--kind", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.kind is not None:
        device = torch.device(arguments.device)
        print(json.dumps(measure(arguments.backbone, arguments.kind, device, arguments.precision)))
        return
    rows = []
    for index in range(len(KINDS)):
        command = [
            sys.executable,
            __file__,
            "--backbone",
            arguments.backbone,
            "--device",
            arguments.device,
            "--precision",
            arguments.precision,
            "--kind",
            str(index),
        ]
        if arguments.threads:
            command += ["--threads", str(arguments.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(markdown(rows[-1:], "").splitlines()[-1], flush=True)
    about = {**provenance(), "threads": arguments.threads or torch.get_num_threads(), "processor": platform.processor()}
    title = (
        f"{arguments.backbone} at full size, untrained, batch {BATCH}, {arguments.precision}, {arguments.device}, "
        f"{about['threads']} threads"
    )
    if arguments.out:
        out = Path(arguments.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(
            json.dumps({**about, "batch": BATCH, "precision": arguments.precision, "rows": rows}, indent=1) + "\n"
        )
        out.with_suffix(".md").write_text(markdown(rows, title))
    print(markdown(rows, title))


if __name__ == "__main__":
    main()
