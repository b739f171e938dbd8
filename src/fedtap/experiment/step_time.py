"""How long a local step takes on this machine, in float32 and in bfloat16, so that one can choose; on the federation's own data.

A run does not choose by itself: its results would then follow from a stopwatch, and the same command would no longer give the
same bytes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch

from fedtap.algorithms.registry import make
from fedtap.experiment.setup import set_up
from fedtap.federation.store import ClientStore
from fedtap.network.network import Network
from fedtap.scenario.scenario import ClientSettings, Scenario
from fedtap.scenario.training import Precision
from fedtap.training.client import LocalClient

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
WORTH = 0.9
"""The other precision is advised only where its steps take less than this share of the time."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """What a step takes at clients with the same tasks.

    Parameters
    ----------
    tasks
        Their names.
    clients
        Those that take part, the one that was timed among them.
    steps
        How many they take together over a run's rounds, on average.
    seconds
        Of a step, by precision, each the median over the turns.
    """

    tasks: tuple[str, ...]
    clients: int
    steps: float
    seconds: Mapping[Precision, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "tasks": list(self.tasks),
            "clients": self.clients,
            "steps": self.steps,
            "seconds": dict(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class StepTimes:
    """What steps take on this machine, by kind of client."""

    kinds: Sequence[StepTime]
    device: str
    threads: int
    precision: Precision
    """The scenario's own."""

    def training_seconds(self, precision: Precision) -> float:
        """Return what the steps of all rounds take together, one client at a time."""
        return sum(kind.steps * kind.seconds[precision] for kind in self.kinds)

    @property
    def advised(self) -> Precision:
        """The precision to set: float32, unless bfloat16 is clearly the faster over the whole run."""
        ratio = self.training_seconds("bf16") / self.training_seconds("fp32")
        return "bf16" if ratio < WORTH else "fp32"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "device": self.device,
            "threads": self.threads,
            "precision": self.precision,
            "advised": self.advised,
            "kinds": [kind.to_json() for kind in self.kinds],
            "training_seconds": {precision: self.training_seconds(precision) for precision in PRECISIONS},
        }


def time_steps(
    scenario: Scenario,
    method: str | None = None,
    *,
    device: str = "auto",
    steps: int = 3,
    turns: int = 5,
    tell: Callable[[dict[str, Any]], None] = lambda event: None,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTimes:
    """Time plain local steps of one client of each kind, the precisions in turn.

    Parameters
    ----------
    scenario
        The federation. Of its clients one of each set of tasks is timed; its examples are encoded if they never were.
    method
        In place of the scenario's; it decides what the network is. What it adds to a step's loss is not timed.
    device
        As for :func:`fedtap.run`.
    steps, turns
        Steps of a turn, and turns of each precision, after one that is not counted.
    tell
        Hears of reading and encoding.
    clock
        Gives seconds.

    Raises
    ------
    UserError
        As at the beginning of a run.
    """
    kinds = alike_clients(scenario)
    with tempfile.TemporaryDirectory() as folder:
        simulation = set_up(
            scenario,
            make(scenario.method, method, place="method"),
            seed=0,
            device=device,
            store=ClientStore(Path(folder)),
            tell=tell,
            prepare=lambda dataset, _: dataset.prepare([alike[0].id for alike in kinds]),
        )
        examples = {card.id: card.examples for card in simulation.cards}
        timed = []
        for number, alike in enumerate(kinds):
            tell({"event": "timing", "done": number, "total": len(kinds)})
            seconds = _timed(simulation.network, simulation.site.local(alike[0].id, 1), steps, turns, clock)
            # where a round is counted in epochs, each client has steps of its own
            a_round = sum(scenario.paced(examples[client.id].values()).local_steps for client in alike)
            taken = scenario.rounds * min(1.0, scenario.clients_per_round / len(scenario.participants)) * a_round
            timed.append(StepTime(tuple(task.name for task in alike[0].tasks), len(alike), taken, seconds))
        tell({"event": "timing", "done": len(kinds), "total": len(kinds)})
    return StepTimes(timed, str(simulation.network.device), torch.get_num_threads(), scenario.training.precision)


def alike_clients(scenario: Scenario) -> list[list[ClientSettings]]:
    """Return the clients that take part, those together whose tasks are the same, in the order of the scenario."""
    kinds: dict[frozenset[tuple[str, ...]], list[ClientSettings]] = {}
    for client in scenario.participants:
        tasks = frozenset((task.name, task.type, task.modality, task.domain, task.source) for task in client.tasks)
        kinds.setdefault(tasks, []).append(client)
    return list(kinds.values())


def _timed(
    network: Network, client: LocalClient, steps: int, turns: int, clock: Callable[[], float]
) -> dict[Precision, float]:
    """Return the median seconds of a step by precision; the turns alternate, so that what the machine does beside hits both."""
    start, own = client.initial_state(), network.precision
    taken: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    try:
        for turn in range(turns + 1):
            for precision in PRECISIONS[:: 1 if turn % 2 else -1]:
                network.precision = precision
                _settle(network.device)
                began = clock()
                client.train(start, steps, "timing", stays=True)
                _settle(network.device)
                taken[precision].append((clock() - began) / steps)
    finally:
        network.precision = own
    return {precision: median(each[1:]) for precision, each in taken.items()}  # the first fills what is filled once


def _settle(device: torch.device) -> None:
    """Wait for what a GPU was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
