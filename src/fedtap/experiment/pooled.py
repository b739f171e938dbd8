"""A run's clients, in this process or in worker processes beside it: how many, what each is told, what they hand back.

Not here: how workers are started and asked (``engines/workers.py``), and what one does (``worker.py``).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch

from fedtap.algorithms.outside import source_of
from fedtap.engines.workers import PoolTransport, WorkerPool
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.requirements import check_one_process
from fedtap.experiment.setup import Clients, LocalClients, Simulation, set_up
from fedtap.experiment.site import Tell, resolve_device
from fedtap.federation.messages import EvaluateReply, Failure, Request
from fedtap.runtime.errors import UserError
from fedtap.runtime.memory import available_bytes, peak_rss_bytes
from fedtap.runtime.threads import cores

Workers: TypeAlias = int | Literal["auto"] | None
"""How many worker processes: none (all is done in this one), so many, or as many as cores and memory allow."""
MODULE = "fedtap.experiment.worker"
LEAST = 2**30  # bytes that a worker may come to need, however small the network


class PooledClients:
    """The clients in worker processes of this machine; workers save their models."""

    remote = False

    def __init__(self, pool: WorkerPool, transport: PoolTransport) -> None:
        self.transport = transport
        self._pool = pool

    def ready(self, clients: Sequence[str]) -> None:
        """Return: they always are."""

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Begin with what will be asked for."""
        self.transport.prefetch(requests)

    def evaluate(self, requests: Iterable[Request], timeout: float | None) -> Iterator[EvaluateReply | Failure]:
        """Test the models of each client on its own data and on that of others."""
        return self.transport.evaluate(requests)

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory that the workers have held."""
        return self._pool.peak_rss_bytes


@contextmanager
def threads(workers: Workers) -> Iterator[None]:
    """With workers, have this process work with one thread as they do: which sums it makes must not go by its cores."""
    before = torch.get_num_threads()
    if workers is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def simulated(folder: RunFolder, *, device: str, tell: Tell, workers: Workers) -> Iterator[tuple[Simulation, Clients]]:
    """Build what a run works with, and end the workers when it is over.

    Raises
    ------
    UserError
        If anything given is wrong; with workers, also if the method is known to this process alone, or theory is on.
    RunError
        If a worker cannot be started.
    """
    scenario, algorithm, seed = folder.scenario, folder.algorithm, folder.seed
    if workers is None:
        simulation = set_up(scenario, algorithm, seed=seed, device=device, store=folder.store, tell=tell)
        yield simulation, LocalClients(simulation.transport, simulation.context, folder.save_models)
        return
    check_one_process(scenario, "leave workers out")
    if source_of(type(algorithm)) is None:
        raise UserError(
            f"--workers: method '{algorithm.name}' is known to this Python process alone, and workers are processes of their "
            "own; put it into a file and give that as the method, or leave workers out"
        )
    simulation = set_up(
        scenario,
        algorithm,
        seed=seed,
        device=device,
        store=folder.store,
        tell=tell,
        prepare=lambda dataset, clients: None,  # the workers encode
    )
    jobs = _jobs(folder, device, how_many(workers, len(scenario.clients)))
    pool = WorkerPool(MODULE, jobs, folder.path, tell, pickle.dumps(simulation.dataset.partition))
    try:
        pool.open()
        yield (
            simulation,
            PooledClients(pool, PoolTransport(pool, simulation.cards, personalises=algorithm.personalises)),
        )
    finally:
        pool.close()


def how_many(workers: int | Literal["auto"], clients: int) -> int:
    """Return how many workers to start, never more than clients.

    ``auto`` is one for each core that this process may use, as far as memory reaches: a worker may come to hold twice what this
    process has, which has built the same network and has not trained it.
    """
    if workers != "auto":
        return min(workers, clients)
    room = available_bytes() // max(LEAST, 2 * peak_rss_bytes())
    return max(1, min(cores(), clients, room))


def parsed(given: str) -> int | Literal["auto"]:
    """Return what a text says of workers; raises :class:`UserError` unless it is ``auto`` or a number of 1 or more."""
    if given == "auto":
        return "auto"
    if given.isdecimal() and int(given) > 0:
        return int(given)
    raise UserError(f"--workers {given}: give a number of 1 or more, or auto (one for each core)")


def _jobs(folder: RunFolder, device: str, number: int) -> list[dict[str, Any]]:
    """Return what each worker is told first. Of several GPUs each takes one, in turn."""
    place = resolve_device(device)
    gpus = torch.cuda.device_count() if place.type == "cuda" and place.index is None else 0
    scenario, algorithm = folder.scenario, folder.algorithm
    return [
        {
            "scenario": scenario.resolved(),
            "scenario_folder": str(scenario.folder),
            "method": {"name": algorithm.name, **algorithm.params.model_dump(mode="json")},
            "method_file": source_of(type(algorithm)),
            "folder": str(folder.path),
            "run": folder.run,
            "seed": folder.seed,
            "device": f"cuda:{at % gpus}" if gpus > 1 else device,
            "number": at,
            "workers": number,
        }
        for at in range(number)
    ]
