"""How many steps each of two models gets, so that no method wins by training longer than the others."""

from __future__ import annotations

from typing import Literal

Compute = Literal["equal", "paper"]


def split(steps: int, compute: Compute) -> tuple[int, int]:
    """Return the steps of the first (the federated) and of the second (the personal) model.

    ``equal`` shares out the steps that other methods give to their one model, of an odd number one more to the first; of a single
    step the second gets none. ``paper`` gives all of them to each, and so takes twice the compute.

    >>> split(10, "equal"), split(5, "equal"), split(1, "equal"), split(5, "paper")
    ((5, 5), (3, 2), (1, 0), (5, 5))
    """
    if compute == "paper":
        return steps, steps
    return steps - steps // 2, steps // 2
