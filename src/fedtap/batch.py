"""What flows from the data to the network: examples grouped by their pair, padded to the longest of their group only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedtap.pairs import Pair


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
        Classification: ``(n,)`` long class index. Reconstruction: ``(n, 3, 64, 64)`` float32 in the normalised image space.
        Text generation: ``(n, length)`` long token ids that end with the end token, padded with 0.
    """

    pair: Pair
    rows: Tensor
    image: Tensor | None
    text: Tensor | None
    text_mask: Tensor | None
    target: Tensor

    def __len__(self) -> int:
        return int(self.rows.shape[0])


Batch = tuple[TaskBatch, ...]


def batch_size(batch: Batch) -> int:
    """Return the number of examples in a batch, over all its pairs."""
    return sum(len(part) for part in batch)
