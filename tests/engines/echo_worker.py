"""A worker without data and network, for tests of the pool: it answers with what it was sent, and its process id. It takes no
torch, and so no time to start.

What it does beside that the client's name tells: ``slow...`` takes its time, ``meets...`` waits until two workers are at such a
client (in the folder that the job names), ``dies...`` ends its process, ``raises...`` fails, ``user...``, ``run...`` and
``memory...`` say that something is wrong that would hit every client alike.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtap.engines.pipe import Frame, Head, read_frame, write_frame


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def take() -> Frame:
        frame = read_frame(sys.stdin.buffer)
        return frame or sys.exit()

    serve(take, lambda head, data=b"": write_frame(answers, head, data))


def serve(take: Callable[[], Frame], say: Callable[..., None]) -> None:
    job: Head = take()[0]
    if job.get("broken") and (job["number"] or not job["encodes"]):
        sys.exit("the ceiling came down")
    print("a warning of a library")
    if job["encodes"]:
        for done in (0, 3):
            event = {"event": "encoding", "tower": "vision", "done": done, "total": 3}
            say({"is": "event", "event": event})
    say({"is": "prepared", "peak": 1000})
    take()
    say({"is": "ready"})
    while True:
        head, data = take()
        about: dict[str, Any] = {"client": head["client"], "round": head["round"]}
        kind = head["client"].partition("-")[0]
        if kind == "slow":
            time.sleep(0.3)
        if kind == "meets":
            meeting = Path(job["meeting"])
            (meeting / str(os.getpid())).touch()
            while len(list(meeting.iterdir())) < 2:
                time.sleep(0.01)
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in ("user", "run", "memory"):
            say({"is": "error", "kind": kind, "text": f"{kind}: all is lost"})
        elif kind == "raises":
            say({**about, "is": "failure", "why": "ValueError: out of order"})
        elif head["kind"] == "evaluate":
            say({**about, "is": "rows", "rows": [{"value": None, "pid": os.getpid()}]})
        else:
            about |= {"is": "reply", "seconds": 1.0, "steps": 2, "secure": head["secure"], "counts": {"shared": 5}}
            about |= {"validation": []}
            losses = {"losses": {"pid": os.getpid()}, "personal_losses": {"newest": head["newest"]}}
            say({**about, **losses, "decisions": []}, data)


if __name__ == "__main__":
    main()
