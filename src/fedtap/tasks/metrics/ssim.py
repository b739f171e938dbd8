r"""Structural similarity of pictures. Wang, Bovik, Sheikh, Simoncelli 2004, IEEE Transactions on Image Processing 13(4).

.. math::
    SSIM = \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}{(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)},
    \quad c_1 = (0.01 L)^2, \; c_2 = (0.03 L)^2

with means and variances under a Gaussian window of deviation 1.5 over 11 pixels, borders mirrored. The arithmetic is that of
torchmetrics, to the bit (the tests hold the two against each other), which takes seconds to load half a dozen libraries first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, WINDOW = 1.5, 11
_K1, _K2 = 0.01, 0.03


def structural_similarity(output: Tensor, target: Tensor, span: float) -> Tensor:
    """Return each picture's structural similarity, ``(n,)``.

    Parameters
    ----------
    output, target
        ``(n, channels, height, width)``, of one floating-point dtype, at least 6 pixels a side; black is 0.
    span
        What lies between black and white, L above.

    Examples
    --------
    >>> black, white = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    >>> structural_similarity(white, white, 1.0), structural_similarity(black, white, 1.0) < 1e-3
    (tensor([1.]), tensor([True]))
    """
    c1, c2 = pow(_K1 * span, 2), pow(_K2 * span, 2)
    channels, pad = output.size(1), WINDOW // 2
    output, target = (F.pad(each, (pad, pad, pad, pad), mode="reflect") for each in (output, target))
    stacked = torch.cat((output, target, output * output, target * target, output * target))
    averaged = F.conv2d(stacked, _window(channels, output), groups=channels)
    mean_output, mean_target, output_output, target_target, output_target = torch.split(averaged, len(output))
    square_output, square_target, product = mean_output.pow(2), mean_target.pow(2), mean_output * mean_target
    variance_output = torch.clamp(output_output - square_output, min=0.0)
    variance_target = torch.clamp(target_target - square_target, min=0.0)
    upper = 2 * (output_target - product) + c2
    lower = (variance_output + variance_target) + c2
    similarity = ((2 * product + c1) * upper) / ((square_output + square_target + c1) * lower)
    found: Tensor = similarity.reshape(similarity.shape[0], -1).mean(-1)
    return found


def _window(channels: int, like: Tensor) -> Tensor:
    """Return the Gaussian window, ``(channels, 1, 11, 11)``."""
    steps = torch.arange((1 - WINDOW) / 2, (1 + WINDOW) / 2, 1, dtype=like.dtype, device=like.device)
    curve = torch.exp(-torch.pow(steps / SIGMA, 2) / 2)
    curve = (curve / curve.sum()).unsqueeze(0)
    return torch.matmul(curve.t(), curve).expand(channels, 1, WINDOW, WINDOW)
