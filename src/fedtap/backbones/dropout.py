"""Dropout for adapters: torch's own on an accelerator, on the CPU one that draws four places at a time.

torch's own takes about as long on a CPU as the frozen product beside which the adapter lies. Here a 64-bit draw decides on four
places, with a probability rounded to 1/65,536; the expectation is exact all the same, since what is kept is scaled by the
probability that was used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """Return ``x`` with each element zero with probability p, and scaled to keep its expectation otherwise.

    Draws from torch's global generator, as torch's dropout does (see :func:`fedtap.randomness.drawing`).
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = min(round(_LEVELS * p), _LEVELS - 1)
    lowest, beyond = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    draws = torch.randint(lowest, beyond, (-(-x.numel() // 4),)).view(torch.int16)[: x.numel()].view(x.shape)
    kept = draws >= dropped - _LEVELS // 2
    return x * (kept * (_LEVELS / (_LEVELS - dropped))).to(x.dtype)


class Dropout(nn.Module):
    """:func:`dropout` in training, nothing otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, some of its elements dropped in training."""
        return dropout(x, self.p) if self.training and self.p > 0 else x
