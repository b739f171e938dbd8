"""Many runs, some at a time, each in a process of its own: what is finished is not run again, what is not is taken up.

Every process has one thread, so that the results do not depend on how many are at work. Not here: which runs there are
(``compare.py``, ``sweep.py``), and how their progress looks (the command line).
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from fedtap.algorithms.outside import source_of
from fedtap.algorithms.registry import make
from fedtap.experiment.folder import RunFolder
from fedtap.runtime.storage import digest
from fedtap.runtime.threads import cores
from fedtap.scenario.scenario import Scenario
from fedtap.study.processes import Run, Starter

Observer = Callable[[dict[str, Any]], None]
STARTED = ("round_started", "personalising", "evaluating")
"""Events that tell that a run's examples are all encoded."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a batch: its name, which is its folder's too, and the scenario, whose ``method`` section is what to run."""

    name: str
    scenario: Scenario
    seed: int
    out: Path

    @property
    def data(self) -> str:
        """What the examples that the run needs depend on: runs that agree here find them encoded by the first of them."""
        config = self.scenario.resolved()
        parts = {key: config[key] for key in ("data", "clients", "backbone", "evaluation")}
        return digest(json.dumps(parts, sort_keys=True), str(self.seed))

    @property
    def method_file(self) -> str:
        """Where the run's process finds a method of the user's own, ``FILE.py:CLASS``; nothing where its name will do."""
        file = source_of(type(make(self.scenario.method)))
        return str(Path(file).absolute()) if file else ""

    def finished(self) -> bool:
        """Tell whether the run needs no more work."""
        return (self.out / "results.json").exists() and (self.out / "report.html").exists()

    def check(self, device: str) -> None:
        """Refuse, with a :class:`UserError`, a folder that holds another run."""
        if self.out.exists():
            RunFolder.open(self.scenario, method=None, seed=self.seed, out=self.out, resume="auto", device=device)


def reports_of(plan: Mapping[str, Sequence[Job]]) -> dict[str, dict[int, str]]:
    """Return for each label and seed where the run's report is, from the batch's folder on; of runs that have one."""
    return {
        label: {
            job.seed: f"runs/{quote(job.out.name)}/report.html" for job in its if (job.out / "report.html").is_file()
        }
        for label, its in plan.items()
    }


def default_jobs(runs: int) -> int:
    """Return how many runs to do at a time: one for each core that this process may use, and not more than there are."""
    return max(1, min(cores(), runs))


def run_batch(
    jobs: Sequence[Job], *, at_a_time: int, logs: Path, device: str, observers: Sequence[Observer] = ()
) -> dict[str, str]:
    """Do all runs that are not finished, and return why each that failed did, by its name.

    Examples that are not in the feature cache yet are encoded by one process: a run whose data no other has prepared starts
    only while no other run is encoding.

    Parameters
    ----------
    jobs
        In the order in which to start them.
    at_a_time
        How many processes, at the most.
    logs
        A folder for what each run's process writes to standard error.
    device
        As for ``fedtap run``.
    observers
        Called with ``batch_started`` (total, finished), ``run_started``, ``run_progress`` (stage, done, total), ``run_finished``,
        ``run_failed`` (why), ``batch_stopping`` (running); all but the first and last carry the run's ``name``.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when every process has stopped where it can go on. A second Ctrl-C kills them, which loses a round.
    """
    waiting = [job for job in jobs if not job.finished()]
    batch = _Batch(waiting, logs, device, observers)
    batch.tell({"event": "batch_started", "total": len(jobs), "finished": len(jobs) - len(waiting)})
    try:
        batch.work(at_a_time)
    except BaseException:
        batch.stop()
        raise
    finally:
        batch.close()
    return batch.failed


class _Batch:
    """Runs in progress. One thread reads from each process; all else happens in the thread that called."""

    def __init__(self, waiting: list[Job], logs: Path, device: str, observers: Sequence[Observer]) -> None:
        self.failed: dict[str, str] = {}
        self._waiting = waiting
        self._logs = logs
        self._device = device
        self._observers = observers
        self._running: dict[str, tuple[Job, Run]] = {}
        self._messages: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._prepared: set[str] = set()
        self._encoding = ""  # the run that may be encoding
        self._starter = Starter(len(waiting))
        logs.mkdir(parents=True, exist_ok=True)

    def tell(self, event: dict[str, Any]) -> None:
        for observer in self._observers:
            observer(event)

    def work(self, at_a_time: int) -> None:
        while self._waiting or self._running:
            while len(self._running) < at_a_time and (job := self._next()) is not None:
                self._start(job)
            self._hear(*self._messages.get())

    def close(self) -> None:
        """Let go what starts processes."""
        self._starter.close()

    def stop(self) -> None:
        """Let every process come to a place where it can go on; kill them all if asked to stop a second time."""
        if not self._running:
            return
        self.tell({"event": "batch_stopping", "running": len(self._running)})
        try:
            for _, process in self._running.values():
                _close(process.stdin)
            while self._running:
                self._hear(*self._messages.get())
        except BaseException:
            for _, process in self._running.values():
                process.kill()
                process.wait()
            raise

    def _next(self) -> Job | None:
        """Take the first waiting run that may start now."""
        for place, job in enumerate(self._waiting):
            if job.data in self._prepared or not self._encoding:
                return self._waiting.pop(place)
        return None

    def _start(self, job: Job) -> None:
        if job.data not in self._prepared:
            self._encoding = job.name
        process = self._starter.start(self._logs / f"{job.name}.log")
        self._running[job.name] = job, process
        what = {
            "name": job.name,
            "scenario": job.scenario.resolved(),
            "folder": str(job.scenario.folder),
            "seed": job.seed,
            "out": str(job.out),
            "device": self._device,
            "method_file": job.method_file,
        }
        self.tell({"event": "run_started", "name": job.name})
        with contextlib.suppress(BrokenPipeError):  # it has died already, and its reader will tell
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
        threading.Thread(target=self._read, args=(job.name, process), daemon=True).start()

    def _read(self, name: str, process: Run) -> None:
        """Pass a process's messages on; the last one is ``gone``, after it has ended."""
        end: dict[str, Any] = {"code": None, "why": ""}
        with process.stdout:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "ended":
                    end = event
                else:
                    self._messages.put((name, event))
        code = process.wait()
        if end["code"] is None:
            end = {"code": code, "why": f"its process ended with {'signal' if code < 0 else 'code'} {abs(code)}"}
        self._messages.put((name, {**end, "event": "gone"}))

    def _hear(self, name: str, event: dict[str, Any]) -> None:
        job, process = self._running[name]
        kind = event["event"]
        if kind == "gone":
            del self._running[name]
            _close(process.stdin)
            self._release(job, prepared=event["code"] == 0)
            if event["code"] == 0:
                self.tell({"event": "run_finished", "name": name})
            elif event["code"] != 130:
                log = self._logs / f"{name}.log"
                self.failed[name] = event["why"] + (
                    f" (see {log})" if event["code"] != 2 and log.stat().st_size else ""
                )
                self.tell({"event": "run_failed", "name": name, "why": self.failed[name]})
            else:
                self.failed[name] = "interrupted"
            return
        if kind in STARTED:
            self._release(job, prepared=True)
        if kind in ("round_started", "round_finished"):
            done = event["round"] - (kind == "round_started")
            event = {"event": "rounds", "done": done, "total": job.scenario.rounds}
        stage = str(event["event"])
        self.tell(
            {"event": "run_progress", "name": name, "stage": stage, "done": event["done"], "total": event["total"]}
        )

    def _release(self, job: Job, *, prepared: bool) -> None:
        if prepared:
            self._prepared.add(job.data)
        if self._encoding == job.name:
            self._encoding = ""


def _close(stream: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()
