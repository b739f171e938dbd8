"""A worker of a pool, a process of its own with one thread: ``python -m fedtap.experiment.worker``, or :func:`serve` in an actor.

What comes in is what to work on, and then a request after another; what goes out the answers. Of a process on this machine these
are standard input and output: where its input ends, whoever started it is gone, and it leaves at once, whatever it is at. What
libraries print goes to standard error. Started by ``pooled.py``.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.engines.pipe import Frame, Head, read_frame, write_frame
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.memory import keep_freed_memory, peak_rss_bytes

if TYPE_CHECKING:
    from fedtap.data.federated_dataset import FederatedDataset
    from fedtap.experiment.carried import Scratch

Answers = Callable[[Head, bytes], Frame]
Say = Callable[[Head, bytes], None]
KINDS: Mapping[type[Exception], str] = {UserError: "user", RunError: "run", MemoryError: "memory"}
"""Of errors that would hit every client alike."""


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def read() -> None:
        while (frame := read_frame(sys.stdin.buffer)) is not None:
            requests.put(frame)
        os._exit(0)

    def say(head: Head, data: bytes = b"") -> None:
        try:
            write_frame(answers, head, data)
        except BrokenPipeError:
            os._exit(0)  # nobody is there any more

    threading.Thread(target=read, daemon=True).start()
    serve(requests.get, say)


def serve(take: Callable[[], Frame], say: Say) -> None:
    """Serve for ever: ``take`` waits for a frame, ``say`` gives one."""
    _Worker(take, say).serve()


class _Worker:
    """What stands between the frames and the clients' context."""

    def __init__(self, take: Callable[[], Frame], say: Say) -> None:
        self._take, self._give = take, say
        self._scratch: Scratch | None = None  # where the run's folder is not to be seen
        self._run = ""

    def serve(self) -> None:
        """Build what the first frame tells of, then answer; what would hit every client alike is told as an error."""
        answer: Answers | None = None
        while True:
            try:
                if answer is None:
                    answer = self._opened(*self._take())
                    self._say({"is": "ready"})
                elif self._scratch is None:
                    self._say(*answer(*self._take()))
                else:
                    self._say(*self._scratch.give(*answer(*self._scratch.take(*self._take()))))
            except tuple(KINDS) as error:
                if self._scratch is not None:
                    self._scratch.clear()
                self._say({"is": "error", "kind": KINDS[type(error)], "text": self._told(error)})
            except (
                Exception
            ) as error:  # no client's doing, so a fault of the program: it is told here, and ends the run
                traceback.print_exc()
                self._say({"is": "error", "kind": "run", "text": f"{type(error).__name__}: {error}"})

    def _opened(self, job: Mapping[str, Any], data: bytes) -> Answers:
        """Return what answers requests; examples are encoded and the network is built, each when its turn has come.

        ``data`` is the partition as the process at the other end of the pipe has made it, in which no source is read again. It is
        the only thing that is unpickled anywhere: it comes from the very program that has started this one.
        """
        import torch

        from fedtap.algorithms.outside import load_file
        from fedtap.algorithms.registry import make, register
        from fedtap.engines.frames import decode_request, encode_answer
        from fedtap.engines.inprocess import InProcessTransport
        from fedtap.experiment.carried import Scratch
        from fedtap.experiment.elsewhere import read_here
        from fedtap.experiment.folder import RunFolder
        from fedtap.experiment.setup import LocalClients
        from fedtap.experiment.site import set_up_site
        from fedtap.scenario.scenario import build_scenario

        keep_freed_memory()
        torch.set_num_threads(1)
        scenario = build_scenario(job["scenario"], place=job["folder"], folder=Path(job["scenario_folder"]))
        if job["method_file"]:
            register(load_file(job["method_file"]))
        algorithm = make(job["method"])
        self._run = job["folder"]
        if job["carried"]:
            self._scratch = Scratch(Path(tempfile.gettempdir(), f"fedtap-{job['run']}-{job['number']}"))
        place = self._scratch.path if self._scratch else Path(self._run)
        folder = RunFolder(place, scenario, algorithm, job["seed"], job["run"])
        store = folder.store

        def prepare(dataset: FederatedDataset, clients: list[str]) -> None:
            if job["encodes"]:
                dataset.prepare(clients[job["number"] :: job["workers"]])
            self._say({"is": "prepared"})
            self._take()  # what others have encoded meanwhile is found, and checked, when a client needs it

        context = set_up_site(
            scenario,
            algorithm,
            seed=job["seed"],
            device=job["device"],
            store=store,
            shares=lambda: pickle.loads(data) if data else read_here(scenario, job),
            tell=lambda event: self._say({"is": "event", "event": event}),
            prepare=prepare,
        )
        clients = LocalClients(InProcessTransport(context.site, ()), context, folder.save_models, folder.save_outcomes)

        def answer(head: Head, data: bytes) -> Frame:
            request = decode_request(head, data)
            if head["newest"]:
                store.expect(request.client, [head["newest"]])
            if request.kind == "evaluate":
                (found,) = clients.evaluate([request], None)
                return encode_answer(found)
            (reply,) = clients.transport.exchange([request])
            return encode_answer(reply)

        return answer

    def _say(self, head: Head, data: bytes = b"") -> None:
        self._give({**head, "peak": peak_rss_bytes()}, data)

    def _told(self, error: Exception) -> str:
        """Return an error's text, with a place in the run's folder where it names one in its stead."""
        text = str(error)
        return text if self._scratch is None else text.replace(str(self._scratch.path), self._run)


if __name__ == "__main__":
    main()
