"""The job that all peers do: federated averaging of one small network, four clients, five rounds of sixteen steps: 320 steps.

Everyone is handed the same network, the same starting weights and the same examples, and takes AdamW at a fixed rate with the
gradient clipped: what differs is what a framework does beside. ``python job.py FOLDER NETWORK`` writes what is handed out, and
needs fedtap's environment; the peers read it with torch alone (and fedtap's package on the path, whose network they train).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CLIENTS, ROUNDS, STEPS, BATCH = 4, 5, 16, 16
LR, CLIP, WEIGHT_DECAY = 1e-3, 1.0, 0.01
TESTED = 64
"""Examples that each client tests the final model on."""


def scenario(network: str) -> dict[str, Any]:
    """Return the job as a scenario of fedtap."""
    digits = {"name": "digits", "type": "classification", "modality": "image", "domain": "digits", "source": "digits"}
    return {
        "name": f"peers-{network}",
        "rounds": ROUNDS,
        "clients_per_round": CLIENTS,
        "local_steps": STEPS,
        "batch_size": BATCH,
        "network": {"name": network},
        "training": {
            "lr": LR,
            "clip": CLIP,
            "weight_decay": WEIGHT_DECAY,
            "warmup_rounds": 0,
            "final_ratio": 1.0,
        },
        "data": {"train": STEPS * BATCH, "validation": 8, "test": TESTED, "dirichlet": 100, "quantity": 0},
        "evaluation": {"cross_examples": 1, "save": "none"},
        "method": {"name": "fedavg"},
        "clients": [{"id": "c", "count": CLIENTS, "tasks": [digits]}],
    }


class Model(nn.Module):
    """fedtap's network for one task as an ordinary module: features ``(n, tokens, width)`` to logits ``(n, classes)``."""

    def __init__(self, network: nn.Module, pair: Any) -> None:
        super().__init__()
        self.network, self.pair = network, pair

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        from fedtap.batch import TaskBatch

        rows = torch.arange(len(features))
        target = torch.zeros(len(features), dtype=torch.long)
        (answer,) = self.network((TaskBatch(self.pair, rows, features, None, None, target),))
        return answer.output

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy; its name is what pfl asks for."""
        return nn.functional.cross_entropy(self(features), labels)


def set_up(folder: Path, network: str) -> tuple[Any, Any, Any]:
    """Return the job's scenario, its method, and the simulation that fedtap makes of them; its files lie in the folder."""
    from fedtap.algorithms.registry import make
    from fedtap.experiment import setup
    from fedtap.federation.store import ClientStore
    from fedtap.scenario.scenario import build_scenario

    built = build_scenario(scenario(network), place="peers", folder=folder)
    algorithm = make(built.method)
    made = setup.set_up(
        built,
        algorithm,
        seed=0,
        device="cpu",
        store=ClientStore(folder / "states", run="peers"),
        tell=lambda event: None,
    )
    return built, algorithm, made


def hand_out(folder: Path, network: str) -> None:
    """Write the network and each client's examples."""
    from fedtap.experiment.planning import architecture_of
    from fedtap.network.network import Network

    built, algorithm, made = set_up(folder, network)
    # Built again without the towers, which have done their work: features are handed out, and not they.
    bare = Network(architecture_of(built, algorithm), made.start.components, seed=0)
    bare.load(made.start.components)
    pair = built.clients[0].pairs[0]
    parts = []
    for client in built.clients:
        data = made.dataset.client_data(client.id).tasks[pair.task]
        found = {}
        for split in ("train", "test"):
            whole = data[split].whole()
            found[split] = (whole.image, whole.target)
        parts.append(found)
    torch.save({"model": Model(bare, pair), "clients": parts}, folder / "job.pt")


def handed(folder: Path) -> tuple[Model, list[dict[str, tuple[Tensor, Tensor]]]]:
    """Read what was handed out. It is this benchmark's own file, so that it may be unpickled."""
    read = torch.load(folder / "job.pt", weights_only=False)
    return read["model"], read["clients"]


def optimizer(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Return a client's optimizer, a new one each round."""
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)


@torch.no_grad()
def accuracy(model: Model, clients: list[dict[str, tuple[Tensor, Tensor]]]) -> float:
    """Return the mean accuracy over clients of a model on their test examples."""
    model.eval()
    found = [float((model(client["test"][0]).argmax(1) == client["test"][1]).float().mean()) for client in clients]
    return sum(found) / len(found)


class Report:
    """What a peer tells of itself: processor seconds of each round, and its accuracy at the end."""

    def __init__(self) -> None:
        self._rounds: list[float] = []
        self._since = time.process_time()

    def round(self) -> None:
        """Take note of the end of a round; what came before the first is set-up."""
        now = time.process_time()
        self._rounds.append(now - self._since)
        self._since = now

    def begin(self) -> None:
        """Take note that rounds begin."""
        self._since = time.process_time()

    def end(self, reached: float) -> None:
        """Print it as JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rounds": self._rounds, "accuracy": reached, "peak_mb": peak, "pid": os.getpid()}))


if __name__ == "__main__":
    # under its own name, or the module that was pickled could not be found again
    sys.path.insert(0, str(Path(__file__).parent))
    import job

    job.hand_out(Path(sys.argv[1]), sys.argv[2])
