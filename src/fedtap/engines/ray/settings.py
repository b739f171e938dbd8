"""What a user says of Ray. Without Ray, so that it can be said, and be wrong, where Ray is not installed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedtap.runtime.errors import UserError


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Which cluster, and what of its GPUs each worker takes.

    Parameters
    ----------
    address
        Of a cluster that runs already, or ``auto``; None: one that is started on this machine, for this run alone.
    gpus_per_worker
        How many GPUs, or what part of one, each worker takes; 0: it works on the processor.

    Raises
    ------
    UserError
        If that is no share that Ray can give: a part of one, or whole ones.
    """

    address: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        share = self.gpus_per_worker
        if not math.isfinite(share) or share < 0 or (share > 1 and share != int(share)):
            raise UserError(f"--gpus-per-worker {share:g}: give a part of one GPU (0.25), a whole number of them, or 0")

    def device(self, asked: str) -> str:
        """Return the torch device that a worker uses where ``asked`` was given; Ray shows it only the GPUs that are its own.

        Raises
        ------
        UserError
            If a GPU is asked for and no worker gets one, or the other way about.
        """
        gpu = asked == "auto" and self.gpus_per_worker > 0
        if asked != "auto" and asked.startswith("cuda") != (self.gpus_per_worker > 0):
            raise UserError(
                f"--device {asked} with --gpus-per-worker {self.gpus_per_worker:g}: over Ray a worker has the GPUs that it "
                "takes; leave --device out"
            )
        return "cuda" if gpu else "cpu" if asked == "auto" else asked
