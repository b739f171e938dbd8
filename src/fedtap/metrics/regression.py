"""Mean absolute and squared error and R2 of numbers, in the user's unit, summed over examples."""

from __future__ import annotations

import torch
from torch import Tensor

from fedtap.metrics.table import Values
from fedtap.scenario.unit import Scale, unscaled


class RegressionScores:
    r"""Accumulate ``mae``, ``mse`` and ``r2``.

    - ``mae``: the mean of :math:`|\hat y - y|`, in the user's unit.
    - ``mse``: the mean of :math:`(\hat y - y)^2`, in its square.
    - ``r2``: :math:`1 - \sum (\hat y - y)^2 / \sum (y - \bar y)^2`, with the mean of the test's own numbers; left out where these
      are all the same. It is 0 for one who knows that mean and nothing else, and below for one who does worse.

    Parameters
    ----------
    scale
        The numbers that -1 and 1 stand for.

    Examples
    --------
    >>> scores = RegressionScores((0.0, 100.0))
    >>> scores.update(torch.tensor([0.0, 0.5]), torch.tensor([0.2, 0.5]))
    >>> {metric: (round(value, 4), n) for metric, (value, n) in scores.value().items()}
    {'mae': (5.0, 2), 'mse': (50.0, 2), 'r2': (0.1111, 2)}
    """

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._said: list[Tensor] = []
        self._right: list[Tensor] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch of numbers on the scale from -1 to 1, ``(n,)`` floating point both, on any device.

        Raises
        ------
        ValueError
            If the shapes do not fit together.
        """
        if output.ndim != 1 or target.shape != output.shape:
            raise ValueError(f"output {tuple(output.shape)} and target {tuple(target.shape)}: expected (n,) twice")
        self._said.append(unscaled(output.detach().cpu().double(), self._scale))
        self._right.append(unscaled(target.detach().cpu().double(), self._scale))

    def outcomes(self, metric: str) -> list[float]:
        """Return, in the order in which they came, each number's error: what ``mae`` is the mean of."""
        if metric != "mae":
            raise KeyError(metric)
        said, right = self._all()
        return (said - right).abs().tolist()

    def value(self) -> Values:
        """Return the metrics over all examples given so far.

        Raises
        ------
        ValueError
            If there was none.
        """
        said, right = self._all()
        if len(right) == 0:
            raise ValueError("no number to score; call update() with at least one before value()")
        return errors_of(said, right)

    def _all(self) -> tuple[Tensor, Tensor]:
        """Return ``(n,)`` what was said and what is right, in the user's unit."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return torch.cat([nothing, *self._said]), torch.cat([nothing, *self._right])


def errors_of(said: Tensor, right: Tensor) -> Values:
    """Return the metrics of numbers ``(n,)`` float64 in the user's unit.

    >>> errors_of(torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 3.0]).double())
    {'mae': (0.5, 2), 'mse': (0.5, 2), 'r2': (0.5, 2)}
    """
    n, errors = len(right), said - right
    found = {"mae": (float(errors.abs().mean()), n), "mse": (float(errors.square().mean()), n)}
    spread = float((right - right.mean()).square().sum())
    if bool((right != right[0]).any()):
        found["r2"] = (1 - float(errors.square().sum()) / spread, n)
    return found
