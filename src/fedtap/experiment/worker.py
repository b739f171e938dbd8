"""A worker of a pool, a process of its own with one thread: ``python -m fedtap.experiment.worker``. Started by ``pooled.py``.

Its standard input is what to work on, and then a request after another; its standard output the answers. Where its standard input
ends, whoever started it is gone, and it leaves at once, whatever it is at. What libraries print goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fedtap.engines.pipe import Frame, Head, read_frame, write_frame
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.memory import keep_freed_memory, peak_rss_bytes

if TYPE_CHECKING:
    from fedtap.data.federated_dataset import FederatedDataset

Answers = Callable[[Head, bytes], Frame]
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

    threading.Thread(target=read, daemon=True).start()
    _Worker(requests, answers).serve()


class _Worker:
    """What stands between the pipes and the clients' context."""

    def __init__(self, requests: queue.SimpleQueue[Frame], answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers

    def serve(self) -> None:
        """Build what the first frame tells of, then answer; what would hit every client alike is told as an error."""
        answer: Answers | None = None
        while True:
            try:
                if answer is None:
                    answer = self._opened(*self._requests.get())
                    self._say({"is": "ready"})
                self._say(*answer(*self._requests.get()))
            except tuple(KINDS) as error:
                self._say({"is": "error", "kind": KINDS[type(error)], "text": str(error)})
            except BrokenPipeError:
                os._exit(0)  # nobody is there any more
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
        folder = RunFolder(Path(job["folder"]), scenario, algorithm, job["seed"], job["run"])
        store = folder.store

        def prepare(dataset: FederatedDataset, clients: list[str]) -> None:
            if job["encodes"]:
                dataset.prepare(clients[job["number"] :: job["workers"]])
            self._say({"is": "prepared"})
            self._requests.get()  # what others have encoded meanwhile is found, and checked, when a client needs it

        context = set_up_site(
            scenario,
            algorithm,
            seed=job["seed"],
            device=job["device"],
            store=store,
            shares=lambda: pickle.loads(data),
            tell=lambda event: self._say({"is": "event", "event": event}),
            prepare=prepare,
        )
        clients = LocalClients(InProcessTransport(context.site, ()), context, folder.save_models)

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
        write_frame(self._answers, {**head, "peak": peak_rss_bytes()}, data)


if __name__ == "__main__":
    main()
