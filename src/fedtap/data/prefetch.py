"""Batches made ready while the one before is at work: reading and padding beside an accelerator that would otherwise wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from fedtap.batch import Batch

Item = TypeVar("Item")
DEPTH = 2
"""Batches that are ready or being made: one would wait for the accelerator, more only take memory."""


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Iterate over batches of the CPU on a device, in the same order.

    For CUDA they are made ahead in a thread and copied from pinned memory, while it works. On the CPU they are passed on: whoever
    made them ahead would only take the cores from whoever trains.
    """
    if device.type == "cuda":
        batches = prefetch(tuple(part.pinned() for part in batch) for batch in batches)
    for batch in batches:
        yield batch if device.type == "cpu" else tuple(part.to(device) for part in batch)


def prefetch(items: Iterable[Item], depth: int = DEPTH) -> Iterator[Item]:
    """Iterate over items that one thread makes ahead, at most ``depth`` at a time.

    What goes wrong in the thread is raised here, in its place. Whoever stops early waits for the item at hand and no other.
    """
    made = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        end = object()
        coming: deque[Future[Item | object]] = deque(pool.submit(next, made, end) for _ in range(depth))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, made, end))
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
