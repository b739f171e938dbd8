"""Image tokens at their places: for heads to which it matters where in the picture something is."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from fedtap.pairs import Modality


def grid_side(modality: Modality, tokens: int) -> int | None:
    """Return the side of the square grid that an image's tokens make, or None where they make none.

    Text and pairs have no grid, nor have towers that add other tokens to their patches.

    >>> grid_side("image", 9), grid_side("image", 10), grid_side("text", 9)
    (3, None, None)
    """
    side = math.isqrt(tokens)
    return side if modality == "image" and side * side == tokens else None


def pool_grid(tokens: Tensor, most: int) -> Tensor:
    """Return the tokens of a square grid, averaged down to at most ``most x most`` places.

    Parameters
    ----------
    tokens
        ``(n, side * side, dim)``, row by row.
    most
        The most places a side that are wanted.

    Returns
    -------
    Tensor
        ``(n, places, dim)``, row by row.
    """
    n, count, dim = tokens.shape
    side = math.isqrt(count)
    if side <= most:
        return tokens
    grid = tokens.transpose(1, 2).reshape(n, dim, side, side)
    return F.adaptive_avg_pool2d(grid, most).flatten(2).transpose(1, 2)
