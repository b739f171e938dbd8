"""One run of a batch, in a process of its own with one thread: ``python -m fedtap.study.worker``, or a fork (``processes.py``).

Its standard input is one line of JSON that says what to run, and then stays open: when it closes, because the batch was
interrupted or killed, the worker stops at the next place from which the run can be taken up again. Its standard output is an
event a line; whatever libraries print goes to standard error, which is the run's log. Where a worker is left over from a batch
that was killed, the one that takes its place waits for the lock of the run's folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

PASSED_ON = ("encoding", "round_started", "round_finished", "personalising", "evaluating")
SAFE = ("encoding", "round_started", "personalising", "evaluating")
"""Events at which all that was done before is on the disk, and nothing that comes is begun."""


def main() -> int:
    """Do the run that standard input describes, and return the exit code of ``fedtap run``."""
    messages = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_wait_for_end, args=(sys.stdin, stop), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    code, why = _work(job, messages, stop)
    _send(messages, {"event": "ended", "code": code, "why": why})
    return code


def _work(job: dict[str, Any], messages: TextIO, stop: threading.Event) -> tuple[int, str]:
    from fedtap.runtime.errors import RunError, UserError

    def watch(event: dict[str, Any]) -> None:
        if stop.is_set() and event["event"] in SAFE:
            raise KeyboardInterrupt
        if event["event"] in PASSED_ON:
            _send(messages, event)

    try:
        import torch

        from fedtap.algorithms.outside import load_file
        from fedtap.algorithms.registry import register
        from fedtap.experiment.run import run_in_process
        from fedtap.runtime.memory import keep_freed_memory
        from fedtap.scenario.scenario import build_scenario

        keep_freed_memory()
        torch.set_num_threads(1)
        if job.get("method_file"):  # whoever gave the command named it, and no scenario
            register(load_file(job["method_file"]))
        scenario = build_scenario(job["scenario"], place=job["name"], folder=Path(job["folder"]))
        out = Path(job["out"])
        run_in_process(scenario, seed=job["seed"], out=out, resume="auto", device=job["device"], tell=watch, wait=True)
    except KeyboardInterrupt:
        return 130, "interrupted"
    except UserError as error:
        return 2, str(error)
    except RunError as error:
        return 1, str(error)
    except Exception as error:
        traceback.print_exc()
        return 1, f"{type(error).__name__}: {error}"
    return 0, ""


def _wait_for_end(stream: TextIO, stop: threading.Event) -> None:
    stream.read()
    stop.set()


def _send(messages: TextIO, event: dict[str, Any]) -> None:
    """Write an event; who should read it may be gone, which ends the run by its closed standard input and not here."""
    try:
        messages.write(json.dumps(event) + "\n")
    except BrokenPipeError:
        return


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread still waits for standard input
