"""Setting up the paper's thirty clients at full size, and what a round costs beside training.

    python benchmarks/paper_round.py --out benchmarks/results/paper-round

The scenario is paper-flava (or paper-vilt) with the network and the backbone of the paper at their full size, untrained, on the
small data of its offline twin, so that it needs neither hub nor GPU: who holds what, what is sent and what is kept are the
paper's.
Measured: seconds until the first round begins, how often frozen weights were read, peak memory then and after training, and for
each round of two clients the seconds in all, those within the training loop, and what is left: sampling, sending, validating,
swapping models, averaging, the clients' private states and the checkpoint on disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import fedtap.training.client as training
from fedtap import run
from fedtap.backbones import loads
from fedtap.experiment.provenance import provenance
from fedtap.runtime.memory import keep_freed_memory
from fedtap.scenario.scenario import Scenario, load_scenario

ROUNDS, STEPS = 3, 2
SCENARIOS = Path(__file__).parents[1] / "scenarios"


class EnoughError(Exception):
    """The rounds that were to be measured are done."""


def full_size(name: str, batch: int) -> Scenario:
    """Return the offline twin of a paper's scenario with the paper's network and backbone."""
    paper = load_scenario(SCENARIOS / f"paper-{name}.yaml")
    backbone = {**paper.backbone.model_dump(mode="json"), "weights": "untrained"}
    network = paper.network.model_dump(mode="json")
    return load_scenario(
        SCENARIOS / f"paper-{name}-offline.yaml",
        [
            f"backbone={json.dumps(backbone)}",
            f"network={json.dumps(network)}",
            f"rounds={ROUNDS + 1}",
            f"local_steps={STEPS}",
            f"batch_size={batch}",
        ],
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, batch: int, device: str) -> dict[str, Any]:
    """Set up, and run some rounds."""
    keep_freed_memory()  # as the command does
    scenario = full_size(name, batch)
    in_training = 0.0
    trained = training.train

    def timed(*arguments: Any, **named: Any) -> Any:
        nonlocal in_training
        began = time.perf_counter()
        try:
            return trained(*arguments, **named)
        finally:
            in_training += time.perf_counter() - began

    starts: list[tuple[float, float]] = []
    result: dict[str, Any] = {}

    def watch(event: dict[str, Any]) -> None:
        if event.get("event") != "round_started":
            return
        starts.append((time.perf_counter(), in_training))
        if len(starts) == 1:
            result.update(setup_peak_bytes=peak(), setup_reads=loads())
        if len(starts) > ROUNDS:
            raise EnoughError

    training.train = timed
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(scenario, out=Path(folder) / "run", device=device, observers=[watch])
        except EnoughError:
            pass
        finally:
            training.train = trained
    rounds = [
        {"seconds": b[0] - a[0], "training_seconds": b[1] - a[1], "beside_seconds": b[0] - a[0] - (b[1] - a[1])}
        for a, b in itertools.pairwise(starts)
    ]
    return {
        "scenario": f"paper-{name}",
        "clients": len(scenario.clients),
        "batch": batch,
        "local_steps": STEPS,
        "setup_seconds": starts[0][0] - began,
        **result,
        "reads": loads(),
        "peak_bytes": peak(),
        "rounds": rounds,
    }


def markdown(row: dict[str, Any]) -> str:
    lines = [
        f"{row['scenario']}: {row['clients']} clients at full size, untrained, batch {row['batch']}, "
        f"{row['local_steps']} steps a model",
        "",
        "| | |",
        "|---|---:|",
        f"| until the first round, s | {row['setup_seconds']:.1f} |",
        f"| frozen weights read until then, and in all | {row['setup_reads']}, {row['reads']} |",
        f"| peak memory until then, GB | {row['setup_peak_bytes'] / 1e9:.2f} |",
        f"| peak memory in all, GB | {row['peak_bytes'] / 1e9:.2f} |",
    ]
    for number, each in enumerate(row["rounds"], start=1):
        lines.append(
            f"| round {number}: s in all, in training, beside it | {each['seconds']:.1f}, {each['training_seconds']:.1f}, "
            f"**{each['beside_seconds']:.2f}** |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", choices=("flava", "vilt"), default="flava")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", help="without an ending: .json and .md are written")
    arguments = parser.parse_args()
    row = measure(arguments.paper, arguments.batch, arguments.device)
    print(markdown(row))
    if arguments.out:
        out = Path(arguments.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps({**provenance(), **row}, indent=1) + "\n")
        out.with_suffix(".md").write_text(markdown(row))


if __name__ == "__main__":
    main()
