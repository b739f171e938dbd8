"""What flows from the data to the network: examples grouped by their pair, padded to the longest of their group only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedtap.pairs import Pair

NO_TOKEN = -1
"""What stands behind the end of a shorter answer: the id of no token, since any id may be a vocabulary's."""


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """The examples of one pair within a batch, as features of the frozen towers.

    Parameters
    ----------
    pair
        The pair of every example here; it routes them through the network.
    rows
        ``(n,)`` long, the position of each example in the whole batch.
    image
        ``(n, image tokens, vision dim)`` float32, or None where the modality has no image; pixels ``(n, 3, size, size)`` where
        the tower is adapted from its first layer on.
    text
        ``(n, text tokens, text dim)`` float32, zero at padding, or None where the modality has no text; token ids
        ``(n, text tokens)`` where the tower is adapted from its first layer on.
    text_mask
        ``(n, text tokens)`` bool, True at real tokens; None where ``text`` is.
    target
        Classification: ``(n,)`` long class index; with several labels ``(n, labels)`` float32, 0 or 1. Regression: ``(n,)``
        float32. Reconstruction: ``(n, 3, 64, 64)`` float32 in the normalised image space.
        Text generation: ``(n, length)`` long token ids that end with the end token, padded with
        :data:`NO_TOKEN`.
    stands_for
        In a part of a larger batch: how many of the whole's examples of this pair its mean loss speaks for, so that the parts
        together weigh as the whole does (see :func:`micro_batches`). None: as many as it has.
    weights
        ``(n,)`` float32, what the loss of each example counts for in training; None: all alike.
    """

    pair: Pair
    rows: Tensor
    image: Tensor | None
    text: Tensor | None
    text_mask: Tensor | None
    target: Tensor
    stands_for: float | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def units(self) -> int:
        """How many things its mean loss is a mean over: tokens of the answers in text generation, examples otherwise."""
        return int((self.target != NO_TOKEN).sum()) if self.pair.type == "text_generation" else len(self)

    @property
    def weight(self) -> float:
        """How many examples its mean loss counts for within its batch."""
        return len(self) if self.stands_for is None else self.stands_for

    def take(self, chosen: Tensor, rows: Tensor) -> TaskBatch:
        """Return the examples at these places ``(k,)`` long, at other rows of a batch; padding that nobody needs is cut off."""
        part = self._each(lambda tensor: tensor[chosen.to(tensor.device)])
        text, mask, target = part.text, part.text_mask, part.target
        if text is not None and mask is not None:
            longest = int(mask.sum(dim=1).max())
            text, mask = text[:, :longest], mask[:, :longest]
        if self.pair.type == "text_generation":
            target = target[:, : max(1, int((target != NO_TOKEN).sum(dim=1).max()))]
        return TaskBatch(self.pair, rows, part.image, text, mask, target, weights=part.weights)

    def pinned(self) -> TaskBatch:
        """Return it in memory from which an accelerator can copy while it works."""
        return self._each(Tensor.pin_memory)

    def to(self, device: torch.device) -> TaskBatch:
        """Return it on a device; a copy from pinned memory is not waited for. Rows stay on the CPU."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def _each(self, change: Callable[[Tensor], Tensor]) -> TaskBatch:
        def of(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        moved = of(self.image), of(self.text), of(self.text_mask), change(self.target)
        return TaskBatch(self.pair, self.rows, *moved, self.stands_for, of(self.weights))


Batch = tuple[TaskBatch, ...]


def batch_size(batch: Batch) -> int:
    """Return the number of examples in a batch, over all its pairs."""
    return sum(len(part) for part in batch)


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into batches of at most ``size`` examples, by row; each stands for itself alone."""
    for start in range(0, batch_size(batch), size):
        parts: list[TaskBatch] = []
        for part in batch:
            chosen = ((part.rows >= start) & (part.rows < start + size)).nonzero().flatten()
            if len(chosen):
                parts.append(part.take(chosen, part.rows[chosen] - start))
        yield tuple(parts)


def micro_batches(batch: Batch, size: int | None) -> Iterator[Batch]:
    r"""Cut a batch into parts whose losses, weighted by their examples, have the whole's loss as their mean.

    With :math:`n_o` examples of a pair and :math:`u_o` units of its mean loss in the whole, a part with :math:`u` of these stands
    for :math:`n_o u / u_o` examples: a text's loss is a mean over tokens, and a part of long texts weighs more. None, or a batch
    that is small enough, is left whole.
    """
    if size is None or batch_size(batch) <= size:
        yield batch
        return
    whole = {part.pair: (len(part), part.units) for part in batch}
    for parts in split(batch, size):
        sizes = [whole[part.pair] for part in parts]
        yield tuple(
            replace(part, stands_for=n * part.units / max(1, units))
            for part, (n, units) in zip(parts, sizes, strict=True)
        )
