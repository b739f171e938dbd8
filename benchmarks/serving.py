"""Requests a second, p50 and p99 of ``fedtap serve`` over loopback: ``python benchmarks/serving.py MODEL --text TEXT``.

The server is a process of its own; ``--threads`` callers ask it ``--requests`` times in all, one example a request.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder of `fedtap export`, or a run")
    parser.add_argument("--name", help="of several models")
    parser.add_argument("--task")
    parser.add_argument("--text")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    command = [sys.executable, "-m", "fedtap", "serve", given.model, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        port = int(re.findall(r":(\d+)/", said)[0])
        print(json.dumps(measure(port, given), indent=1))
    finally:
        server.terminate()
        server.wait(30)


def measure(port: int, given: argparse.Namespace) -> dict[str, Any]:
    example = {"text": given.text} if given.text is not None else {}
    if given.image is not None:
        example["image"] = base64.b64encode(given.image.read_bytes()).decode()
    body = json.dumps({"task": given.task, "examples": [example]})
    waiting_for(port)
    name = given.name or asked(port, "GET", "/models")[1][0]["name"]
    path = f"/models/{name}/predict"
    asked(port, "POST", path, body)  # weights are read at the first question

    def one(_: int) -> tuple[int, float]:
        began = time.perf_counter()
        status, _ = asked(port, "POST", path, body)
        return status, time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(given.threads) as pool:
        replies = list(pool.map(one, range(given.requests)))
    seconds = time.perf_counter() - began
    times = statistics.quantiles([taken for _, taken in replies], n=100)
    return {
        "requests": len(replies),
        "errors": sum(status != 200 for status, _ in replies),
        "threads": given.threads,
        "per_second": round(len(replies) / seconds, 1),
        "p50_ms": round(1_000 * times[49], 1),
        "p99_ms": round(1_000 * times[98], 1),
    }


def waiting_for(port: int) -> None:
    for _ in range(600):
        try:
            asked(port, "GET", "/health")
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not come up")


def asked(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


if __name__ == "__main__":
    main()
