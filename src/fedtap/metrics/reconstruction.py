"""Squared error, PSNR and SSIM of reconstructed pictures, summed over examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedtap.metrics.table import Values

PEAK = 2.0
"""The span of the normalised image space, from -1 to 1."""

ERROR_FLOOR = (PEAK / 255) ** 2 / 12
"""The mean squared error of rounding to 8 bits: (one grey level)^2 / 12. An error below it is below what the target knows."""

PSNR_CAP = 10 * math.log10(PEAK**2 / ERROR_FLOOR)
"""The PSNR of identical pictures, in dB (58.9): that of a picture which differs by 8-bit rounding only."""

_SSIM_WINDOW = 11
_AT_ONCE = 8


class ReconstructionScores:
    r"""Accumulate ``mse``, ``psnr`` (dB) and ``ssim`` of pictures in the normalised space ``x / 127.5 - 1``.

    - ``mse``: mean over an example's channels and pixels, then over examples; the output is taken as it is, as in the loss.
    - ``psnr``: :math:`10 \log_{10}(2^2 / \max(mse, floor))` per example, output clipped to [-1, 1], then the mean. The floor
      is the error of 8-bit rounding, which keeps identical pictures finite at :data:`PSNR_CAP` and the mean meaningful.
    - ``ssim``: per example, output clipped, then the mean; Gaussian window of 11 pixels, sigma 1.5, borders mirrored
      (Wang et al., 2004).

    Examples
    --------
    >>> import torch
    >>> scores = ReconstructionScores()
    >>> scores.update(torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.5))
    >>> scores.value()["mse"]
    (0.25, 2)
    """

    def __init__(self) -> None:
        self._n = 0
        self._mse = 0.0
        self._psnr = 0.0
        self._ssim = 0.0
        self._errors: list[float] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch of pictures, output and target both ``(n, 3, H, W)`` floating point with H and W at least 11.

        Raises
        ------
        ValueError
            If the shapes differ or the pictures are smaller than the window of the structural similarity.
        """
        if output.ndim != 4 or output.shape != target.shape or min(output.shape[2:]) < _SSIM_WINDOW:
            raise ValueError(
                f"output {tuple(output.shape)} and target {tuple(target.shape)}: expected (n, 3, H, W) twice, with H and W "
                f"at least {_SSIM_WINDOW}"
            )
        if len(output) == 0:
            return
        output, target = output.detach().cpu().double(), target.detach().cpu().double()
        clipped = output.clamp(-1.0, 1.0)
        self._n += len(output)
        errors = _squared_error(output, target)
        self._errors += errors.tolist()
        self._mse += float(errors.sum())
        error = _squared_error(clipped, target).clamp_min(ERROR_FLOOR)
        self._psnr += float((10 * (PEAK**2 / error).log10()).sum())
        self._ssim += float(_structural_similarity(clipped, target).sum())

    def outcomes(self, metric: str) -> list[float]:
        """Return, in the order in which they came, each picture's error: what ``mse`` is the mean of."""
        return {"mse": self._errors}[metric]

    def value(self) -> Values:
        """Return the metrics over all examples given so far.

        Raises
        ------
        ValueError
            If there was none.
        """
        n = self._n
        if n == 0:
            raise ValueError("no picture to score; call update() with at least one before value()")
        return {"mse": (self._mse / n, n), "psnr": (self._psnr / n, n), "ssim": (self._ssim / n, n)}


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return each example's mean squared error, ``(n,)``."""
    return (output - target).square().flatten(1).mean(dim=1)


def _structural_similarity(output: Tensor, target: Tensor) -> Tensor:
    """Return each example's structural similarity, ``(n,)``."""
    # imported here because it takes longer than all of fedtap, and only an evaluation of pictures needs it
    from torchmetrics.functional.image.ssim import structural_similarity_index_measure

    parts: list[Tensor] = []
    # single precision and few at a time: convolutions in double have no fast path (70 times slower, 2 GB for 64 pictures)
    for a, b in zip(torch.split(output.float(), _AT_ONCE), torch.split(target.float(), _AT_ONCE), strict=True):
        # its luminance term compares means as intensities: black must be 0, not -1, or mid-grey pictures divide by nearly zero
        similarity = structural_similarity_index_measure(a + 1, b + 1, data_range=PEAK, reduction="none")
        assert isinstance(similarity, Tensor)
        parts.append(similarity.reshape(-1).double())
    return torch.cat(parts)
