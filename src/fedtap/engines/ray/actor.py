"""What runs in a Ray actor's process: a worker's own loop, fed by calls instead of a pipe. Does not import Ray.

What passes is bytes: a JSON object and what goes with it, as over a pipe (``engines/pipe.py``). Not here: what a worker does.
"""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import tempfile
import threading
import traceback
from importlib import import_module
from typing import TypeAlias

from fedtap.engines.pipe import Frame, Head
from fedtap.runtime.threads import ONE_THREAD, share_cores

Packed: TypeAlias = tuple[bytes, bytes]
MAX_TOLD = 2_000  # bytes, the last ones, of what libraries wrote


class Actor:
    """A worker: ``module.serve`` in a thread, so that it can be asked for its process, and for what was written, meanwhile.

    Parameters
    ----------
    module
        Whose ``serve(take, say)`` it runs: ``take`` waits for a frame, ``say`` gives one.
    """

    def __init__(self, module: str) -> None:
        os.environ.update(ONE_THREAD)  # before torch is loaded
        share_cores()
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        os.dup2(self._told.fileno(), 1)
        os.dup2(self._told.fileno(), 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(
            os.fdopen(os.dup(2), "wb", buffering=0), write_through=True, errors="backslashreplace"
        )
        self._requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Packed] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(module,), daemon=True).start()

    def pid(self) -> int:
        """Return the process's number."""
        return os.getpid()

    def send(self, head: bytes, data: bytes) -> None:
        """Take a frame in."""
        self._requests.put((json.loads(head), data))

    def receive(self) -> Packed:
        """Wait for a frame."""
        return self._answers.get()

    def told(self) -> str:
        """Return the end of what libraries wrote to standard output and error."""
        file = self._told.fileno()  # read without moving the place at which others write
        size = os.fstat(file).st_size
        return os.pread(file, MAX_TOLD, max(0, size - MAX_TOLD)).decode(errors="replace")

    def _serve(self, module: str) -> None:
        def say(head: Head, data: bytes = b"") -> None:
            self._answers.put((json.dumps(head).encode(), data))

        try:
            import_module(module).serve(self._requests.get, say)
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # a worker's loop has no end of its own
