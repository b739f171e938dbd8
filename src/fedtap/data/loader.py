"""A client's examples as features and targets, ready to be batched; nothing is padded beyond the longest of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fedtap.batch import NO_TOKEN, Batch, TaskBatch
from fedtap.data.prefetch import on_device
from fedtap.data.sources.base import composed
from fedtap.pairs import Pair
from fedtap.scenario.clients import ClassWeights

Split = Literal["train", "validation", "test"]
Features = Sequence[np.ndarray[Any, Any]]


class Pictures:
    """Pictures to be drawn again, each ``(3, 64, 64)`` uint8: read when a batch first needs it, and then kept.

    A large client takes few of its pictures in a round; to read them all beforehand would take longer than the round.
    """

    def __init__(self, loads: Sequence[Callable[[], np.ndarray[Any, Any]]]) -> None:
        self._loads = loads
        self._held: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._loads)

    def take(self, indices: Sequence[int]) -> Tensor:
        """Return the pictures at these places, ``(k, 3, 64, 64)``."""
        for index in indices:
            if index not in self._held:
                self._held[index] = torch.from_numpy(self._loads[index]()).permute(2, 0, 1).contiguous()
        return torch.stack([self._held[index] for index in indices])


@dataclass(frozen=True, slots=True)
class TaskExamples:
    """The examples of one task in one split.

    Parameters
    ----------
    pair
        The pair of all of them.
    image, text
        Per example the tower's features ``(tokens, features)`` (float16, memory-mapped), or None without that modality. Where the
        tower is adapted from its first layer on: pixels ``(3, size, size)`` float32, and token ids ``(tokens,)`` int64.
    target
        ``(n,)`` long (classification), ``(n, labels)`` float32 (with several labels), ``(n,)`` float32 (regression),
        ``(n, 3, 64, 64)`` uint8 or :class:`Pictures` (reconstruction), or ``(n, length)`` long, padded with
        :data:`~fedtap.batch.NO_TOKEN` (text generation).
    written
        Text generation: each answer as its author wrote it. The token ids of ``target`` may be cut, and know fewer words.
    weights
        ``(n,)`` float32, what the loss of each example counts for in training; None: all alike.
    also
        Text generation: of each example further answers that are as right as the one that is trained on; empty where no example
        has any.
    """

    pair: Pair
    image: Features | None
    text: Features | None
    target: Tensor | Pictures
    written: Sequence[str] = ()
    weights: Tensor | None = None
    also: Sequence[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.target)

    @property
    def references(self) -> Sequence[str | Sequence[str]]:
        """The right answers of each example as their authors wrote them: a text, or several of which any is right."""
        if not self.also:
            return self.written
        return [(first, *more) if more else first for first, more in zip(self.written, self.also, strict=True)]

    def take(self, indices: Sequence[int], rows: Sequence[int]) -> TaskBatch:
        """Return the examples at ``indices`` as a task batch that fills these rows of a batch; on the CPU."""
        # each item is read once: it may be a picture that is decoded on the way
        image = None if self.image is None else _pad([self.image[i] for i in indices])[0]
        text, mask = (None, None) if self.text is None else _pad([self.text[i] for i in indices])
        target = self._targets(indices)
        return TaskBatch(
            self.pair,
            torch.as_tensor(rows, dtype=torch.long),
            image,
            text,
            mask,
            target,
            weights=None if self.weights is None else self.weights[torch.as_tensor(indices, dtype=torch.long)],
        )

    def targets(self) -> Tensor:
        """Return the targets of all examples as a batch has them; pictures in the normalised image space."""
        return self._targets(range(len(self)))

    def labels(self) -> Tensor:
        """Return the targets of all examples as they are held: class indices, or padded token ids."""
        assert isinstance(self.target, Tensor)
        return self.target

    def _targets(self, indices: Sequence[int]) -> Tensor:
        if isinstance(self.target, Pictures):
            return _as_target(self.pair, self.target.take(indices))
        return _as_target(self.pair, self.target[torch.as_tensor(indices, dtype=torch.long)])

    def whole(self) -> TaskBatch:
        """Return all examples, in order, as one task batch on the CPU."""
        every = range(len(self))
        return self.take(every, every)

    def batches(self, size: int, device: torch.device) -> Iterator[Batch]:
        """Iterate over all examples in order, in batches of at most ``size``."""
        return on_device(self._batches(size), device)

    def _batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self), size):
            indices = range(start, min(start + size, len(self)))
            yield (self.take(indices, range(len(indices))),)


@dataclass(frozen=True, slots=True)
class ClientData:
    """A client's encoded splits: task name -> split -> examples, tasks in the order of the client's pairs."""

    tasks: Mapping[str, Mapping[Split, TaskExamples]]

    def size(self, task: str, split: Split = "train") -> int:
        """Return the number of examples of a task in a split."""
        return len(self.tasks[task][split])

    def draw(
        self, tasks: Sequence[str], *, size: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[Batch]:
        """Iterate over ``steps`` shuffled batches of the training split, the tasks mixed in proportion to their examples.

        Every example is drawn once before any is drawn again; a batch holds ``size`` examples, or all there are if fewer.
        """
        return on_device(self._draw(tasks, size, steps, generator), device)

    def draw_independently(
        self, tasks: Sequence[str], *, rate: float, steps: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[Batch]:
        """Iterate over ``steps`` batches, each with every example of the training split by itself with probability ``rate``.

        A batch is of any size, and empty at times; the accounting of DP-SGD asks for such batches (Poisson sampling).
        """
        return on_device(self._draw_independently(tasks, rate, steps, generator), device)

    def _draw_independently(
        self, tasks: Sequence[str], rate: float, steps: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        places = [(task, i) for task in tasks for i in range(self.size(task))]
        for _ in range(steps):
            chosen = (torch.rand(len(places), generator=generator) < rate).nonzero().flatten()
            yield self.collate([places[i] for i in chosen.tolist()])

    def _draw(self, tasks: Sequence[str], size: int, steps: int, generator: torch.Generator) -> Iterator[Batch]:
        places = [(task, i) for task in tasks for i in range(self.size(task))]
        size = min(size, len(places))
        order: list[int] = []
        for _ in range(steps):
            while len(order) < size:
                order += torch.randperm(len(places), generator=generator).tolist()
            batch, order = order[:size], order[size:]
            yield self.collate([places[i] for i in batch])

    def collate(self, places: Sequence[tuple[str, int]]) -> Batch:
        """Return the training examples at (task, index) places as a batch on the CPU, grouped by task."""
        grouped: dict[str, tuple[list[int], list[int]]] = {}
        for row, (task, index) in enumerate(places):
            indices, rows = grouped.setdefault(task, ([], []))
            indices.append(index)
            rows.append(row)
        return tuple(self.tasks[task]["train"].take(*grouped[task]) for task in self.tasks if task in grouped)


def class_weights(asked: ClassWeights, names: Sequence[str], labels: Tensor) -> Tensor:
    r"""Return what the loss of each class's examples counts for at a client, ``(C,)`` float32.

    With :math:`n_c` of its n training examples in class c, K classes among them, and given weights :math:`a_c`:

    .. math:: w_c = \frac{n \, a_c}{\sum_i a_{y_i}}, \qquad \text{balanced: } w_c = \frac{n}{K n_c}

    so that the mean weight of the training examples is 1, and rates and the balance between tasks keep their meaning. Counts are
    the client's own, and leave it in no other way than through what it trains.

    Parameters
    ----------
    asked
        ``balanced``, or a weight for some of the classes by name; the others have 1.
    names
        The classes.
    labels
        ``(n,)`` long, the class of each training example of the client.

    Examples
    --------
    >>> class_weights("balanced", ("sick", "well"), torch.tensor([0, 1, 1, 1]))
    tensor([2.0000, 0.6667])
    >>> class_weights({"sick": 3.0}, ("sick", "well"), torch.tensor([0, 1, 1, 1]))
    tensor([2.0000, 0.6667])
    """
    counts = torch.bincount(labels, minlength=len(names)).double()
    if isinstance(asked, str):
        given = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
        # of a class without a training example nothing is known: on validation it counts as the mean one does
        return torch.where(counts > 0, given * len(labels) / (given * counts).sum(), 1.0).float()
    weights = {composed(name): weight for name, weight in asked.items()}
    given = torch.tensor([weights.get(name, 1.0) for name in names], dtype=torch.float64)
    return (given * len(labels) / (given * counts).sum()).float()


def _as_target(pair: Pair, target: Tensor) -> Tensor:
    if pair.type == "reconstruction":
        return target.to(torch.float32).div(127.5).sub(1)
    if pair.type == "text_generation":
        return target[:, : max(1, int((target != NO_TOKEN).sum(dim=1).max()))]
    return target


def _pad(features: Features) -> tuple[Tensor, Tensor]:
    """Stack arrays ``(tokens, ...)`` to ``(n, longest, ...)``, zero at padding, with their mask ``(n, longest)``.

    Token ids stay whole numbers; all else becomes float32.
    """
    longest = max(len(f) for f in features)
    padded = np.zeros((len(features), longest, *features[0].shape[1:]), dtype=features[0].dtype)
    mask = np.zeros((len(features), longest), dtype=bool)
    for i, feature in enumerate(features):
        padded[i, : len(feature)] = feature
        mask[i, : len(feature)] = True
    stacked = torch.from_numpy(padded)
    # torch widens half precision several times faster than NumPy does
    return stacked if padded.dtype == np.int64 else stacked.float(), torch.from_numpy(mask)
