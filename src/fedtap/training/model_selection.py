"""Which state of a training is kept: the best on validation. Not here: the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from fedtap.components import ComponentState
from fedtap.network.network import Network


def mean_ratio(losses: Mapping[str, float], base: Mapping[str, float]) -> float:
    """Return the mean over tasks of the loss relative to the base's, so that no task's scale rules.

    >>> mean_ratio({"digits": 1.0, "copy": 0.02}, {"digits": 2.0, "copy": 0.01})
    1.25
    """
    return math.fsum(losses[task] / max(base[task], 1e-12) for task in base) / len(base)


class Best:
    """The best state so far: the mean over tasks of the validation loss relative to the start's (no task's scale rules).

    Parameters
    ----------
    network
        The model in training is in it.
    losses
        Returns per task the validation losses of the model that is in the network now.
    every
        Every how many steps to look.
    start
        The state that training starts from; it counts too.
    """

    def __init__(
        self, network: Network, losses: Callable[[], Mapping[str, Tensor]], every: int, start: ComponentState
    ) -> None:
        self._network = network
        self._ask = losses
        self._every = every
        self._base = self._losses()
        self._score = 1.0
        self.state = start
        self.steps = 0

    def _losses(self) -> dict[str, float]:
        return {task: float(values.mean()) for task, values in self._ask().items()}

    def look(self, step: int, *, last: bool) -> None:
        """Keep the network's state if it is the best so far; called after every step."""
        if step % self._every and not last:
            return
        score = mean_ratio(self._losses(), self._base)
        if score < self._score:
            self._score, self.state, self.steps = score, self._network.state(), step
