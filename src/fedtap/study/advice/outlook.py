r"""How many seeds it would take to tell two methods apart, from how their difference varies by now. Rough, and pure.

With the variances of clients, of seeds and of the rest, read off the mean squares of :func:`fedtap.study.paired.mean_squares`,
the mean difference over S seeds and C clients has the variance

.. math:: V(S) = \frac{\sigma_c^2}{C} + \frac{\sigma_s^2 + \sigma_e^2 / C}{S}

and the S is sought at which a difference as large as the one seen would be found in four of five studies,
:math:`\bar d^2 \ge (t_{C-1, .975} + z_{.8})^2 \, V(S)`. More seeds do nothing against the first term: where it alone is too
large, no number of seeds is enough, and only more clients would tell. It rests on a difference that may itself be chance.
"""

from __future__ import annotations

import math

from fedtap.study.paired import Cells, mean_squares

MOST = 10_000
"""More seeds than these are told as none."""
_POWER = 0.8416212335729143
"""The standard normal quantile of 0.8."""


def seeds_to_tell(cells: Cells) -> int | None:
    """Return how many seeds would tell a mean difference from 0; None where more seeds never would, or one seed says nothing.

    Parameters
    ----------
    cells
        (seed, client) -> the differences of that client's tasks.
    """
    found = mean_squares(cells)
    if found is None or found.seeds < 2 or found.clients < 2 or found.mean == 0:
        return None
    from scipy.special import stdtrit  # quicker to import than all of scipy.stats

    of_clients = max(found.of_clients - found.of_rest, 0.0) / found.seeds
    of_seeds = max(found.of_seeds - found.of_rest, 0.0) / found.clients
    wanted = (found.mean / (float(stdtrit(found.clients - 1, 0.975)) + _POWER)) ** 2
    room = wanted - of_clients / found.clients
    if room <= 0:
        return None
    needed = (of_seeds + found.of_rest / found.clients) / room
    return None if needed > MOST else max(found.seeds + 1, math.ceil(needed))
