"""The pool engine: clients answer side by side, in worker processes, each with one network and one thread.

Requests go to whichever worker is free, and answers are handed on in the order in which they were asked for: nothing that comes
of them depends on how many workers there are, or on which of them was faster. A client's state stays in the store on disk, which
every worker reads and writes; a client is at one worker at a time.

A worker that dies fails the client that it was at, and another takes its place. A client that raises fails alone, as in one
process.

Not here: what a worker does (``experiment/worker.py``), where one comes from and how it is talked to (``worker_process.py`` on
this machine, ``ray/`` over Ray), and what is said (``frames.py``).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, cast

from fedtap.engines.frames import Answer, decode_answer, encode_request
from fedtap.engines.pipe import Frame, Head, WorkerGoneError
from fedtap.federation.messages import SECRETS, ClientCard, EvaluateReply, Failure, Reply, Request
from fedtap.runtime.errors import RunError, UserError

Tell = Callable[[dict[str, Any]], None]
_AHEAD = 2  # requests a worker that are made before they are needed, so that no worker waits for the next
_Order = tuple[Request, int, "Future[Answer]"]


class Worker(Protocol):
    """A worker as the process that asks it sees it."""

    @property
    def pid(self) -> int:
        """The number of its process, on its machine."""

    @property
    def lives(self) -> bool:
        """Whether its process is still there."""

    def send(self, head: Head, data: bytes = b"") -> None:
        """Send a frame; raises :class:`WorkerGoneError` if the process has ended and that is known already."""

    def receive(self) -> Frame:
        """Wait for a frame; raises :class:`WorkerGoneError` if the process ends before there is one."""

    def end(self) -> str:
        """End the process, whatever it is at, and return what libraries wrote in it, where that is known."""


class Origin(Protocol):
    """Where workers come from."""

    def start(self) -> Worker:
        """Start one; raises :class:`WorkerGoneError` if it cannot be."""

    def close(self) -> None:
        """Clear up, after all workers have been ended."""


class WorkerPool:
    """Worker processes, each served by a thread of this process.

    Parameters
    ----------
    origin
        Where workers come from.
    jobs
        What each worker is told first; as many as there are workers.
    tell
        Called with the events of workers, in the thread that waits for them.
    data
        Goes with every job.
    """

    def __init__(self, origin: Origin, jobs: Sequence[Mapping[str, Any]], tell: Tell, data: bytes = b"") -> None:
        self._origin, self._jobs, self._tell, self._data = origin, list(jobs), tell, data
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[tuple[int, dict[str, Any]] | None] = queue.SimpleQueue()
        self._workers: list[Worker | None] = [None] * len(jobs)
        self._go, self._closing, self._lock = threading.Event(), False, threading.Lock()
        self._prepared: list[Future[None]] = [Future() for _ in jobs]
        self._ready: list[Future[None]] = [Future() for _ in jobs]
        self._encoded: dict[str, dict[int, tuple[int, int]]] = {}
        self._broken: BaseException | None = None
        self._peaks = [0] * len(jobs)
        self._threads = [threading.Thread(target=self._serve, args=(at,), daemon=True) for at in range(len(jobs))]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def pids(self) -> list[int]:
        """The numbers of the workers' processes."""
        return [worker.pid for worker in self._workers if worker is not None]

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory that workers have held, added up; pages that they share count for each."""
        return sum(self._peaks)

    def open(self) -> None:
        """Wait until all workers are ready: first each encodes its part of the examples, then each builds its network.

        Raises
        ------
        UserError, RunError
            If a worker has found something wrong, or cannot be started.
        """
        for future in self._prepared:
            self._wait(future)
        while not self._heard.empty():  # the last of them had more to tell than was heard when its end was seen
            heard = self._heard.get()
            if heard is not None:
                self._pass_on(*heard)
        for tower, parts in sorted(self._encoded.items()):
            total = sum(total for _, total in parts.values())
            self._tell({"event": "encoding", "tower": tower, "done": total, "total": total})
        self._encoded.clear()
        self._go.set()
        for future in self._ready:
            self._wait(future)

    def submit(self, request: Request, newest: int) -> Future[Answer]:
        """Have the next free worker answer a request; ``newest`` is the round of the client's newest state."""
        future: Future[Answer] = Future()
        self._orders.put((request, newest, future))
        return future

    def result(self, future: Future[Answer]) -> Answer:
        """Wait for an answer; events of workers are told meanwhile.

        Raises
        ------
        UserError, RunError, MemoryError
            If what went wrong would hit every client alike, or no worker can be started any more.
        """
        return cast(Answer, self._wait(future))

    def close(self) -> None:
        """End all workers, whatever they are at, and tell what libraries wrote in them."""
        with self._lock:
            self._closing = True
            workers = [worker for worker in self._workers if worker is not None]
        self._go.set()
        for _ in self._threads:
            self._orders.put(None)
        told = [line for worker in workers for line in worker.end().splitlines() if line.strip()]
        for thread in self._threads:
            thread.join()
        self._origin.close()
        for line in dict.fromkeys(told):  # what all of them say is said once
            self._tell({"event": "note", "text": f"a worker wrote: {line}"})

    def _wait(self, future: Future[Any]) -> Any:
        while not future.done():
            if self._broken is not None:
                raise self._broken
            heard = self._heard.get()
            if heard is not None:
                self._pass_on(*heard)
        return future.result()

    def _pass_on(self, at: int, event: dict[str, Any]) -> None:
        """Tell a worker's event; what they encode is told as one sum."""
        if event["event"] != "encoding":
            self._tell(event)
            return
        parts = self._encoded.setdefault(event["tower"], {})
        parts[at] = event["done"], event["total"]
        done, total = (sum(numbers) for numbers in zip(*parts.values(), strict=True))
        if done < total:  # that all is done is known when each worker has come to its end
            self._tell({**event, "done": done, "total": total})

    # In the workers' threads.

    def _serve(self, at: int) -> None:
        try:
            self._start(at, encodes=True)
            while (order := self._orders.get()) is not None and not self._closing:
                self._answer(at, *order)
        except BaseException as error:
            self._broken = self._broken or error
            for future in (self._prepared[at], self._ready[at]):
                if not future.done():
                    future.set_exception(error)
        self._heard.put(None)

    def _answer(self, at: int, request: Request, newest: int, future: Future[Answer]) -> None:
        worker = self._workers[at]
        if worker is None or not worker.lives:  # it died while it had nothing to do
            worker = self._start(at)
        try:
            worker.send(*encode_request(request, newest))
            future.set_result(decode_answer(*self._listen(at, worker)))
        except WorkerGoneError as gone:
            future.set_result(Failure(request.client, request.round, f"{gone}; another takes its place"))
            self._heard.put(None)
            if not self._closing:
                self._start(at)
        except (UserError, RunError, MemoryError) as error:
            future.set_exception(error)
        self._heard.put(None)

    def _start(self, at: int, *, encodes: bool = False) -> Worker:
        """Start a worker, and return it when it is ready; raises :class:`RunError` if it does not come so far."""
        try:
            with self._lock:
                if self._closing:
                    raise RunError("the pool is closed")
                old, worker = self._workers[at], self._origin.start()
                self._workers[at] = worker
            if old is not None:
                old.end()
            worker.send({**self._jobs[at], "encodes": encodes}, self._data)
            self._listen(at, worker)
            if encodes:
                self._prepared[at].set_result(None)
                self._heard.put(None)
                self._go.wait()
            worker.send({"is": "go"})
            self._listen(at, worker)
        except WorkerGoneError as gone:
            raise RunError(f"a worker could not be started: {gone}; mend that, then --resume=auto") from gone
        if encodes:
            self._ready[at].set_result(None)
            self._heard.put(None)
        return worker

    def _listen(self, at: int, worker: Worker) -> Frame:
        """Pass a worker's events on until it has something else to say, and return that; its errors are raised."""
        while True:
            head, data = worker.receive()
            self._peaks[at] = max(self._peaks[at], head.get("peak", 0))
            if head["is"] == "event":
                self._heard.put((at, head["event"]))
            elif head["is"] == "error":
                raise ERRORS[head["kind"]](head["text"])
            else:
                return head, data


ERRORS: Mapping[str, type[Exception]] = {"user": UserError, "run": RunError, "memory": MemoryError}
"""By the word that a worker has for them: errors that would hit every client alike."""


class PoolTransport:
    """The way to the clients over a pool; see :class:`fedtap.federation.transport.Transport`."""

    def __init__(self, pool: WorkerPool, cards: Sequence[ClientCard], *, personalises: bool = True) -> None:
        self._pool = pool
        self._cards = tuple(cards)
        self._keeps = {"train", "personalise"} if personalises else {"train"}  # after which a client has a newer state
        self._seconds: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._coming: Iterator[Request] = iter(())
        self._ahead: dict[tuple[str, int, str], Future[Answer]] = {}

    def clients(self) -> Sequence[ClientCard]:
        """Return the cards of all clients."""
        return self._cards

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        """Have requests answered side by side, and iterate over the answers in sorted client order.

        As in one process there is nothing to time out: which clients took part would depend on the machine.
        """
        ordered = sorted(requests, key=lambda request: request.client)
        # Those that took longest begin first, so that no worker is left with a long one at the end.
        begun = sorted(ordered, key=lambda request: -self._seconds.get(request.client, float("inf")))
        waiting = {request.client: self._begun(request) for request in begun}
        for request in ordered:
            self._go_ahead()
            answer = self._pool.result(waiting.pop(request.client))
            if isinstance(answer, Reply) and request.kind not in SECRETS:
                self._seconds[request.client] = answer.seconds
                if request.kind in self._keeps:
                    self._newest[request.client] = answer.round
            yield cast("Reply | Failure", answer)

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Take note of what will be asked for, in this order, and begin with it."""
        self._coming = iter(requests)
        self._go_ahead()

    def evaluate(self, requests: Iterable[Request]) -> Iterator[EvaluateReply | Failure]:
        """Have clients test their models, and iterate over what they found in the order of the requests."""
        waiting: deque[Future[Answer]] = deque()
        for request in requests:  # made as they are needed, for all slices together may be more than memory holds
            waiting.append(self._submit(request))
            if len(waiting) >= _AHEAD * len(self._pool):
                yield cast("EvaluateReply | Failure", self._pool.result(waiting.popleft()))
        while waiting:
            yield cast("EvaluateReply | Failure", self._pool.result(waiting.popleft()))

    def _begun(self, request: Request) -> Future[Answer]:
        return self._ahead.pop(_name(request)) if _name(request) in self._ahead else self._submit(request)

    def _submit(self, request: Request) -> Future[Answer]:
        return self._pool.submit(request, self._newest.get(request.client, 0))

    def _go_ahead(self) -> None:
        while len(self._ahead) < _AHEAD * len(self._pool) and (request := next(self._coming, None)) is not None:
            self._ahead[_name(request)] = self._submit(request)


def _name(request: Request) -> tuple[str, int, str]:
    return request.client, request.round, request.kind
