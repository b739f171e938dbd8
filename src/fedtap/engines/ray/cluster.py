"""Workers of a pool as Ray actors: on this machine, with a Ray of its own for one run, or in a cluster that runs already.

A Ray that is started here carries the mark of the run's folder, so that the watchdog ends all of it when the run is gone,
whatever ended that. Of somebody's cluster only the actors are ours, and Ray itself ends them when who started them is gone. Ray
tells neither the terminal nor its makers anything.

Not here: what an actor runs (``actor.py``), and what a pool does with workers (``engines/workers.py``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from fedtap.engines.pipe import Frame, Head, WorkerGoneError
from fedtap.engines.ray.actor import Actor
from fedtap.engines.ray.settings import RaySettings
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.installing import install
from fedtap.runtime.text import one_line
from fedtap.runtime.threads import cores
from fedtap.runtime.watchdog import Mark, Watchdog, end_all

SOURCE = Path(__file__).parents[3]  # where this very package lies, installed or not
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "RAY_DEDUP_LOGS": "0"}
ATTEMPTS = 3  # to start Ray, which gives up after half a minute, as it may on a busy machine
PATIENCE = 20.0  # seconds for an answer of an actor's process to what takes no time
WAITING = 10.0  # seconds after which it is told that there is no place yet for an actor
CALLS = 4  # that an actor answers at a time: one waits for a frame, others are short


class Files(Protocol):
    """What goes with a request to an actor that does not see the run's folder, and comes back with its answer."""

    def outgoing(self, head: Head, data: bytes) -> Frame:
        """Return a frame with the files that it needs."""

    def incoming(self, head: Head, data: bytes) -> Frame:
        """Keep the files that a frame has brought, and return it without them."""


class Cluster:
    """Where actors come from.

    Parameters
    ----------
    module
        What each runs; see :class:`~fedtap.engines.ray.actor.Actor`.
    folder
        The run's; a Ray that is started here carries its mark.
    settings
        Which cluster, and what a worker takes of it.
    workers
        How many there will be, if that is known: a Ray that is started here has so many places.
    tell
        Called with the event that there is no place for an actor yet.
    files
        What goes with requests.

    Raises
    ------
    UserError
        If Ray is not installed, the cluster does not answer, or this machine lacks the GPUs.
    """

    def __init__(
        self,
        module: str,
        folder: Path,
        settings: RaySettings,
        *,
        workers: int | None,
        tell: Callable[[dict[str, Any]], None],
        files: Files,
    ) -> None:
        self._module, self._settings, self._tell, self._files = module, settings, tell, files
        self._ray = _library()
        self._scratch: str | None = None
        self._watchdog: Watchdog | None = None
        self._has_told = False
        self._joined = not self._ray.is_initialized()  # else it is the caller's, who will leave it
        try:
            with _as_before():
                if self._joined and settings.address is None:
                    self._start(folder, workers)
                elif self._joined:
                    self._join(settings.address or "")
            self._check_gpus(workers or 1)
        except BaseException:
            self.close()
            raise

    @property
    def here(self) -> bool:
        """Whether all of it is on this machine for certain: it was started here, for this run."""
        return self._scratch is not None

    @property
    def room(self) -> int:
        """How many workers have a place now, at least one."""
        resources: Mapping[str, float] = self._ray.cluster_resources()
        places = resources.get("CPU", 0.0)
        if self._settings.gpus_per_worker:
            places = min(places, resources.get("GPU", 0.0) / self._settings.gpus_per_worker)
        return max(1, int(places))

    def start(self) -> RayWorker:
        """Start an actor; where it has no place yet it waits for one."""
        made = self._ray.remote(Actor).options(
            num_cpus=1, num_gpus=self._settings.gpus_per_worker, max_restarts=0, max_concurrency=CALLS
        )
        return RayWorker(self._ray, made.remote(self._module), self._files, self._wait)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends, with all its processes and files."""
        try:
            if self._joined and self._ray.is_initialized():
                self._ray.shutdown()
        finally:
            if self._watchdog is not None:
                self._watchdog.close()
                self._watchdog = None
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self, folder: Path, workers: int | None) -> None:
        """Start a Ray on this machine, all of whose processes carry the folder's mark."""
        self._scratch = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
        self._watchdog = Watchdog(folder)
        path = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
        more = {"PYTHONPATH": path, "TMPDIR": self._scratch}  # what a killed worker leaves there goes with all the rest
        with _environment({**QUIET, **Mark.of(folder).environment(), **more}):
            for left in reversed(range(ATTEMPTS)):
                try:
                    self._ray.init(
                        address="local",
                        num_cpus=workers or cores(),
                        include_dashboard=False,
                        log_to_driver=False,
                        configure_logging=False,
                        _temp_dir=self._scratch,
                    )
                    return
                except Exception as error:  # of whatever kind: it is a program of its own
                    if not left:
                        text = f"Ray cannot be started on this machine ({_brief(error)}); use --workers instead"
                        raise RunError(text) from error
                    self._ray.shutdown()
                    end_all(folder)

    def _join(self, address: str) -> None:
        with _environment(QUIET):
            try:
                self._ray.init(address=address, log_to_driver=False, configure_logging=False)
            except Exception as error:
                raise UserError(
                    f"--ray-address {address}: no Ray cluster to be had there ({_brief(error)}); start one (`ray start --head`), "
                    "or leave --ray-address out"
                ) from error

    def _check_gpus(self, workers: int) -> None:
        """Refuse at once what a Ray that is started here will never have; a cluster may grow."""
        share, here = self._settings.gpus_per_worker, self._ray.cluster_resources().get("GPU", 0.0)
        if self._settings.address is None and share * workers > here:
            raise UserError(
                f"--gpus-per-worker {share:g}: {workers} workers take {share * workers:g} GPUs, and this machine has {here:g}; "
                "take less of one for each, or fewer workers"
            )

    def _wait(self, ready: Callable[[float | None], bool]) -> None:
        """Wait until an actor has its place; after a while, tell once that there is none yet, where there may be none."""
        if self.here or self._has_told or ready(WAITING):
            ready(None)
            return
        self._has_told = True
        share = self._settings.gpus_per_worker
        asks = "1 CPU" + (f" and {share:g} GPU" if share else "")
        cpus, gpus = (self._ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU"))
        text = f"waiting for Ray: each worker takes {asks}; the cluster has {cpus:g} CPU and {gpus:g} GPU in all"
        self._tell({"event": "note", "text": text})
        ready(None)


class RayWorker:
    """An actor as the process that asks it sees it: a :class:`~fedtap.engines.workers.Worker`."""

    def __init__(
        self, library: Any, actor: Any, files: Files, wait: Callable[[Callable[[float | None], bool]], None]
    ) -> None:
        self._ray, self._actor, self._files, self._wait = library, actor, files, wait
        self._placed = False

    @property
    def pid(self) -> int:
        """The number of its process, on its machine."""
        return int(self._ray.get(self._actor.pid.remote()))

    @property
    def lives(self) -> bool:
        """Whether its process is still there."""
        try:
            self._ray.get(self._actor.pid.remote(), timeout=PATIENCE)
        except self._ray.exceptions.GetTimeoutError:
            return True  # it is busy, as its machine may be
        except self._ray.exceptions.RayError:
            return False
        return True

    def send(self, head: Head, data: bytes = b"") -> None:
        """Send a frame; if the process has ended, :meth:`receive` says so."""
        if not self._placed:
            self._wait(self._has_place)
            self._placed = True
        head, data = self._files.outgoing(head, data)
        self._actor.send.remote(json.dumps(head).encode(), data)

    def receive(self) -> Frame:
        """Wait for a frame, and keep what it brings; raises :class:`WorkerGoneError` if the process ends before there is one."""
        try:
            head, data = self._ray.get(self._actor.receive.remote())
        except self._ray.exceptions.RayError as error:
            raise WorkerGoneError(f"its Ray actor ended ({_brief(error)})") from error
        return self._files.incoming(json.loads(head), data)

    def end(self) -> str:
        """End the process, whatever it is at, and return what libraries wrote in it."""
        told = ""
        with contextlib.suppress(self._ray.exceptions.RayError):
            told = str(self._ray.get(self._actor.told.remote(), timeout=PATIENCE))
        with contextlib.suppress(Exception):  # it has ended already, and so has perhaps its cluster
            self._ray.kill(self._actor, no_restart=True)
        return told

    def _has_place(self, seconds: float | None) -> bool:
        found, _ = self._ray.wait([self._actor.pid.remote()], timeout=seconds)
        return bool(found)


def require_ray() -> None:
    """Raise :class:`UserError` unless Ray is installed; it is not loaded."""
    if find_spec("ray") is None:
        raise UserError(f"--engine ray: package ray is not installed; run: {install('ray')}")


def _library() -> Any:
    """Return the module ``ray``, kept from writing to the terminal unless it is at work for the caller already."""
    require_ray()
    import ray

    if ray.is_initialized():
        return ray
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # it has a handler of its own, and writes to the terminal
    with contextlib.suppress(
        AttributeError
    ):  # what a debugger of Ray's own sets; otherwise a death is told on the terminal
        ray._private.worker._worker_logs_enabled = False
    return ray


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Add to the environment, of which what is started meanwhile gets a copy."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Put back the handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # else it was none of Python's
            signal.signal(signal.SIGTERM, before)


def _brief(error: BaseException) -> str:
    """Return the first line of an error of Ray's, which are pages long."""
    text = str(error).strip() or type(error).__name__
    return one_line(text.splitlines()[0], 200)
