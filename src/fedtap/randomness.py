"""Random generators named by what they are for; nothing in fedtap draws from a global one.

Every choice draws from a generator seeded by (run seed, round, client, purpose). A resumed run, another engine or another
order of the clients therefore draws the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch

from fedtap.storage import digest


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a purpose, from the run's seed and any names.

    >>> derive(0, "round", 3) == derive(0, "round", 3) != derive(0, "round", 4)
    True
    """
    return int(digest(str(seed), *(str(name) for name in names))[:16], 16) >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for a purpose."""
    return np.random.default_rng(derive(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU torch generator for a purpose."""
    return torch.Generator().manual_seed(derive(seed, *names))
