"""A run's clients, in this process or in workers beside it: where, how many, what each is told, what they hand back.

Not here: how workers are started and asked (``engines/workers.py``, ``engines/ray/``), and what one does (``worker.py``).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from fedtap.algorithms.outside import source_of
from fedtap.data.partition import Partition, fingerprints
from fedtap.engines.ray.cluster import Cluster
from fedtap.engines.ray.settings import RaySettings
from fedtap.engines.worker_process import Processes
from fedtap.engines.workers import PoolTransport, WorkerPool
from fedtap.experiment.carried import RunFiles
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.provenance import versions
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
    """The clients in worker processes; workers save their models."""

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
def simulated(
    folder: RunFolder, *, device: str, tell: Tell, workers: Workers, ray: RaySettings | None = None
) -> Iterator[tuple[Simulation, Clients]]:
    """Build what a run works with, and end the workers when it is over; with ``ray`` they are actors.

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
        yield (
            simulation,
            LocalClients(simulation.transport, simulation.context, folder.save_models, folder.save_outcomes),
        )
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
        device=device if ray is None else "cpu",
        store=folder.store,
        tell=tell,
        prepare=lambda dataset, clients: None,  # the workers encode
    )
    # Workers on this machine are handed who holds what; those of a cluster, where files may lie elsewhere, read it themselves.
    number, shares = how_many(workers, len(scenario.clients)), simulation.dataset.partition
    if ray is None:
        jobs = _jobs(folder, _devices(device, number))
        pool = WorkerPool(Processes(MODULE, folder.path), jobs, tell, pickle.dumps(shares))
    else:
        known, place = None if workers == "auto" and ray.address else number, ray.device(device)
        cluster = Cluster(MODULE, folder.path, ray, workers=known, tell=tell, files=RunFiles(folder))
        number = known or min(cluster.room, len(scenario.clients))
        jobs = _jobs(folder, [place] * number, carried=True, elsewhere=None if cluster.here else shares)
        pool = WorkerPool(cluster, jobs, tell, pickle.dumps(shares) if cluster.here else b"")
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


def _devices(device: str, number: int) -> list[str]:
    """Return the device of each worker on this machine. Of several GPUs each takes one, in turn."""
    place = resolve_device(device)
    gpus = torch.cuda.device_count() if place.type == "cuda" and place.index is None else 0
    return [f"cuda:{at % gpus}" if gpus > 1 else device for at in range(number)]


def _jobs(
    folder: RunFolder, devices: Sequence[str], *, carried: bool = False, elsewhere: Partition | None = None
) -> list[dict[str, Any]]:
    """Return what each worker is told first.

    Parameters
    ----------
    folder
        The run's.
    devices
        One for each worker.
    carried
        Whether files of the run's folder go with the requests, since workers do not see it.
    elsewhere
        Who holds which examples, if workers are to read the data themselves: they must find the same.
    """
    scenario, algorithm = folder.scenario, folder.algorithm
    file = source_of(type(algorithm))
    return [
        {
            "scenario": scenario.resolved(),
            "scenario_folder": str(scenario.folder.absolute() if carried else scenario.folder),
            "method": {"name": algorithm.name, **algorithm.params.model_dump(mode="json")},
            "method_file": file and str(Path(file).absolute()),
            "folder": str(folder.path),
            "run": folder.run,
            "seed": folder.seed,
            "device": device,
            "number": at,
            "workers": len(devices),
            "carried": carried,
            "versions": versions(),
            "data": None if elsewhere is None else fingerprints(elsewhere),
        }
        for at, device in enumerate(devices)
    ]
