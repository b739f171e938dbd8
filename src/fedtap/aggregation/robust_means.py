r"""Means of a component over its holders that a few wrong or hostile ones cannot move far.

Coordinate median and trimmed mean: Yin, Chen, Ramchandran, Bartlett 2018, arXiv 1803.01498. Krum and multi-Krum: Blanchard,
El Mhamdi, Guerraoui, Stainer 2017, NeurIPS, arXiv 1703.02757.

With holders' values :math:`x_1 \dots x_n` of a component:

.. math::
    \mathrm{median}: \; \mathrm{med}_i \, x_{i,j} \text{ for each scalar } j, \qquad
    \mathrm{trimmed}: \; \tfrac{1}{n - 2k} \sum_{i = k + 1}^{n - k} x_{(i), j}, \; k = \lceil \beta n \rceil

.. math::
    \mathrm{krum}: \; s_i = \sum_{l \in N_i} \|x_i - x_l\|^2, \quad
    \text{the mean of the } m \text{ holders with the smallest } s_i

where :math:`N_i` are the :math:`n - f - 2` holders closest to i. Every holder counts alike: the number of examples is the
client's own word, and must not buy it influence. Of one or two holders each rule is the plain mean, for nobody can tell which
of two is wrong; a trimmed mean keeps at least one or two values, and Krum at least one neighbour and one holder. Krum's proof
needs :math:`n \ge 2f + 3`; below that it is a rule of thumb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from fedtap.components import ComponentMean, Held, weighted
from fedtap.scenario.safety import DefenceSettings

FEWEST = 3
"""Holders from which on a robust rule differs from the plain mean."""


def fewest_proven(settings: DefenceSettings) -> int:
    """Return from how many holders on a component's mean bears what its rule promises to bear.

    >>> [fewest_proven(DefenceSettings(mean=mean, attackers=2)) for mean in ("median", "krum")]
    [3, 7]
    """
    return 2 * settings.attackers + 3 if settings.mean == "krum" else FEWEST


def median(held: Held) -> dict[str, Tensor]:
    """Return the median of each scalar; of an even number of holders the mean of the middle two.

    >>> values = [({"w": torch.tensor([x])}, 1) for x in (1.0, 2.0, 600.0)]
    >>> median(values)["w"]
    tensor([2.])
    """
    return {name: _middle(values, (len(held) - 1) // 2) for name, values in _stacked(held).items()}


def trimmed_mean(held: Held, trim: float) -> dict[str, Tensor]:
    """Return the mean of each scalar without the smallest and the largest values, a share ``trim`` (rounded up) of each.

    >>> values = [({"w": torch.tensor([x])}, 1) for x in (-50.0, 1.0, 2.0, 600.0)]
    >>> trimmed_mean(values, 0.25)["w"]
    tensor([1.5000])
    """
    cut = min(math.ceil(trim * len(held) - 1e-9), (len(held) - 1) // 2)  # 0.2 * 5 is to be one, whatever its last bit
    return {name: _middle(values, cut) for name, values in _stacked(held).items()}


def krum(held: Held, attackers: int, keep: int | None = None) -> dict[str, Tensor]:
    """Return the mean of the holders that lie closest to the others, over all tensors of the component together.

    ``attackers`` is f; ``keep`` is m, by default n - f - 2.

    >>> values = [({"w": torch.tensor([x])}, 1) for x in (1.0, 2.0, 2.5, 600.0)]
    >>> krum(values, attackers=1, keep=1)["w"]
    tensor([2.])
    """
    kept = krum_choice([named for named, _ in held], attackers, keep)
    return weighted([(held[place][0], 1) for place in kept])


def krum_choice(held: Sequence[Mapping[str, Tensor]], attackers: int, keep: int | None = None) -> list[int]:
    """Return the places of the holders that (multi-)Krum keeps, in order; of equal ones the first."""
    count = len(held)
    if count < FEWEST:
        return list(range(count))
    close = max(1, count - attackers - 2)
    flat = torch.stack([torch.cat([tensor.double().flatten() for tensor in named.values()]) for named in held])
    squares = torch.stack([(flat - row).square().sum(dim=1) for row in flat])
    squares.fill_diagonal_(math.inf)  # nobody is a neighbour of his own
    scores = squares.sort(dim=1).values[:, :close].sum(dim=1)
    return sorted(scores.argsort(stable=True)[: min(count, keep or close)].tolist())


def mean_rule(settings: DefenceSettings) -> ComponentMean:
    """Return the rule that the settings name."""
    rules: dict[str, ComponentMean] = {
        "weighted": weighted,
        "median": median,
        "trimmed_mean": partial(trimmed_mean, trim=settings.trim),
        "krum": partial(krum, attackers=settings.attackers, keep=settings.krum_keep),
    }
    return rules[settings.mean]


def _stacked(held: Held) -> dict[str, tuple[Tensor, torch.dtype]]:
    """Return each parameter's values ``(holders, ...)`` in float64, sorted along the holders, and its own dtype."""
    first, _ = held[0]
    return {
        name: (torch.stack([named[name].double() for named, _ in held]).sort(dim=0).values, tensor.dtype)
        for name, tensor in first.items()
    }


def _middle(values: tuple[Tensor, torch.dtype], cut: int) -> Tensor:
    """Return the mean of sorted values without ``cut`` at each end."""
    ordered, dtype = values
    return ordered[cut : len(ordered) - cut].mean(dim=0).to(dtype)
