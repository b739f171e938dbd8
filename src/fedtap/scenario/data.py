"""Section ``data``: how sources are split, and how much is taken of them in which mix. Not here: who gets it (data/partition)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedtap.scenario.clients import Size, TaskSettings
from fedtap.scenario.dials import ConflictSettings, ShiftSettings
from fedtap.scenario.settings import Fraction, NonNegative, OnUnreadable, Rate, Settings

SplitName = Literal["train", "validation", "test"]

SIZES: dict[SplitName, int] = {"train": 128, "validation": 48, "test": 128}
"""Examples of a client's task from a built-in source, where nobody says how many."""
DIRICHLET = 1.0
QUANTITY = 0.15
"""Skews of what is drawn from built-in sources, where nobody says how much."""


class DataSettings(Settings):
    """How sources are split, sampled and shared out.

    ``split`` is the share of a source that may serve training, validation and test. ``train``, ``validation`` and ``test`` are
    examples per client and task before quantity skew, or ``all``; ``dirichlet`` is the concentration of label skew (large:
    none); ``quantity`` the standard deviation of the logarithm of training-set sizes (0: equal).

    Of a site's own data (``csv``, ``jsonl``, ``xlsx``, ``folder``, ``dataset``) all are taken, unskewed, unless one of these keys
    says otherwise; of a built-in source 128, 48 and 128 with ``dirichlet`` 1 and ``quantity`` 0.15. A task's own ``train``,
    ``validation`` and ``test`` go before those here. Clients that name one file or folder share it out among themselves.
    ``on_unreadable``: an example of one's own that cannot be read (a damaged picture, a broken row) is a fault (``refuse``), or
    left out, counted and named (``skip``). ``conflict`` and ``shift`` are dials of how much clients contradict each other
    (:mod:`fedtap.scenario.dials`).
    """

    train: Size | None = None
    validation: Size | None = None
    test: Size | None = None
    split: tuple[Fraction, Fraction, Fraction] = (0.6, 0.15, 0.25)
    dirichlet: Rate | None = None
    quantity: Annotated[NonNegative, Field(le=2)] | None = None
    on_unreadable: OnUnreadable = "refuse"
    conflict: ConflictSettings | None = None
    shift: ShiftSettings | None = None

    @field_validator("split")
    @classmethod
    def _sums_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6 or min(value) <= 0:
            raise ValueError("the three shares must be positive and sum to 1")
        return value

    def size(self, task: TaskSettings, split: SplitName) -> Size:
        """Return how many examples of a split a client's task asks for; ``all``: whatever there is for it."""
        asked: Size | None = getattr(task, split) or getattr(self, split)
        return asked or ("all" if task.own else SIZES[split])

    def label_skew(self, task: TaskSettings) -> float | None:
        """Return the concentration with which a task's label mix is drawn; None: its source's own mix."""
        return self.dirichlet or (None if task.own else DIRICHLET)

    def quantity_skew(self, task: TaskSettings) -> float:
        """Return the standard deviation of the logarithm of a task's training size."""
        if self.quantity is not None:
            return self.quantity
        return 0.0 if task.own else QUANTITY
