"""Random generators named by what they are for; nothing in fedtap draws from a global one that it has not set.

Every choice draws from a generator seeded by (run seed, round, client, purpose). A resumed run, another engine or another
order of the clients therefore draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fedtap.runtime.storage import digest


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a purpose, from the run's seed and any names.

    >>> derive(0, "round", 3) == derive(0, "round", 3) != derive(0, "round", 4)
    True
    """
    return int(digest(str(seed), *(str(name) for name in names))[:16], 16) >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for a purpose."""
    return np.random.default_rng(derive(seed, *names))


@contextmanager
def drawing(seed: int, *names: str | int) -> Iterator[None]:
    """Have torch's own functions (dropout) draw from a generator for a purpose; the global ones are left as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, *names))
        yield


def secret_generator(device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator that the operating system's entropy seeds: what it draws, nobody can draw again.

    For noise that is to protect; all else draws from generators named by what they are for.
    """
    generator = torch.Generator(device)
    generator.seed()
    return generator


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU torch generator for a purpose."""
    return torch.Generator().manual_seed(derive(seed, *names))
