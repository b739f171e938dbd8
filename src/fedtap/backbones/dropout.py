"""Dropout for adapters, and their first product with what is left: fast and lean on the CPU, torch's own on an accelerator.

torch's own takes about as long on a CPU as the frozen product beside which the adapter lies. Here a 64-bit draw decides on four
places, with a probability rounded to 1/65,536; the expectation is exact all the same, since what is kept is scaled by the
probability that was used.

Autograd would keep the places and what is left, both in full, for the backward pass. An adapter's input is kept by its layer
anyway, so that a byte for each place is enough; dropping out a second time costs less than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LEVELS = 1 << 16
_LEAST, _MOST = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
_ROWS = 256


def dropped_product(x: Tensor, factor: Tensor, p: float, *, pre: Tensor | None = None) -> Tensor:
    r"""Return :math:`dropout(x) A`, of which the backward pass keeps ``x`` and a byte for each of its places.

    Parameters
    ----------
    x
        ``(..., inputs)``, or ``(streams, rows, inputs)`` beside as many factors.
    factor
        A, ``(inputs, rank)`` or ``(streams, inputs, rank)``.
    p
        The probability of an element to be dropped; the others are scaled to keep the expectation. Draws come from torch's
        global generator, as those of torch's dropout do (see :func:`fedtap.runtime.randomness.drawing`).
    pre
        What ``x`` is the GELU of, if it is: then this, which the GELU keeps anyway, is kept instead of ``x``.
    """
    if p == 0:
        return x @ factor
    if x.device.type != "cpu":
        return F.dropout(x, p) @ factor
    if torch.is_autocast_enabled("cpu"):  # within the function, nobody would cast for the backward pass
        dtype = torch.get_autocast_dtype("cpu")
        x, factor, pre = x.to(dtype), factor.to(dtype), None if pre is None else pre.to(dtype)
    dropped = min(round(_LEVELS * p), _LEVELS - 1)
    flat = x.flatten(0, -2) if factor.dim() == 2 else x
    source = None if pre is None else pre.detach().reshape(flat.shape)
    product: Tensor = _DroppedProduct.apply(flat, factor, dropped, source)  # type: ignore[no-untyped-call]
    return product.reshape(*x.shape[:-1], factor.shape[-1])


class _DroppedProduct(torch.autograd.Function):
    """See :func:`dropped_product`, piece by piece, so that what passes stays in the processor's cache and takes no memory.

    ``x`` is ``(rows, inputs)``, or ``(streams, rows, inputs)``. The scale is applied to the product, which is narrow.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, dropped: int, pre: Tensor | None) -> Tensor:
        kept = torch.empty(x.shape, dtype=torch.bool)
        product = x.new_empty(*x.shape[:-1], factor.shape[-1])
        for part, matrix in _pieces(x.shape, factor):
            piece = x[part]
            draws = torch.randint(_LEAST, _MOST, (-(-piece.numel() // 4),)).view(torch.int16)[: piece.numel()]
            torch.ge(draws.view(piece.shape), dropped - _LEVELS // 2, out=kept[part])
            torch.mm(piece * kept[part], matrix, out=product[part])
        ctx.save_for_backward(x if pre is None else pre, factor, kept)
        ctx.scale, ctx.through_gelu = _LEVELS / (_LEVELS - dropped), pre is not None
        return product.mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        source, factor, kept = ctx.saved_tensors
        slope = slopes[0] * ctx.scale
        for_x = torch.empty_like(source) if ctx.needs_input_grad[0] else None
        for_factor = torch.zeros_like(factor) if ctx.needs_input_grad[1] else None
        sums = None if for_factor is None else _pieces(source.shape, for_factor)
        for part, matrix in _pieces(source.shape, factor):
            if for_x is not None:
                torch.mm(slope[part], matrix.mT, out=for_x[part]).mul_(kept[part])
            if sums is not None:
                x = F.gelu(source[part]) if ctx.through_gelu else source[part]
                next(sums)[1].addmm_((x * kept[part]).mT, slope[part])
        return for_x, for_factor, None, None


Part = slice | tuple[int, slice]


def _pieces(shape: torch.Size, factor: Tensor) -> Iterator[tuple[Part, Tensor]]:
    """Iterate over pieces of at most so many rows of ``(rows, inputs)`` or ``(streams, rows, inputs)``, each with its factor."""
    rows = [slice(start, start + _ROWS) for start in range(0, shape[-2], _ROWS)]
    if factor.dim() == 2:
        yield from ((row, factor) for row in rows)
    else:
        yield from (((stream, row), factor[stream]) for stream in range(shape[0]) for row in rows)
