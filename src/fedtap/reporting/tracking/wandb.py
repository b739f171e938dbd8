"""Weights & Biases: a run of a project, sent, or kept in the run's folder until `wandb sync` (offline, or WANDB_MODE=offline).

All that it gathers by itself is off: code, commit, terminal, machine, packages. Who may write where is its own affair
(WANDB_API_KEY, WANDB_ENTITY).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from fedtap.reporting.tracking.base import About, Ending

STEP = "round"
QUIET: Mapping[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "fedtap",
    "program": "fedtap",
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
WAITS: Mapping[str, float] = {"init_timeout": 30.0, "finish_timeout": 30.0}
"""Seconds for which a server that is gone is waited for."""


class WeightsAndBiases:
    """A run in Weights & Biases."""

    def __init__(self, about: About, id: str | None) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        known = wandb.Settings.model_fields
        quiet: dict[str, Any] = {name: value for name, value in {**QUIET, **WAITS}.items() if name in known}
        self._id = id or uuid.uuid4().hex[:16]
        self._run = wandb.init(
            project=about.project,
            id=self._id,
            name=about.name,
            dir=str(about.folder),
            config=dict(about.parameters),
            resume="allow",
            mode="offline" if about.offline else None,
            settings=wandb.Settings(**quiet),
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    @property
    def id(self) -> str:
        """What Weights & Biases calls the run."""
        return self._id

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Send the values of a round."""
        self._run.log({STEP: step, **values})

    def end(self, how: Ending) -> None:
        """Have all of it sent, or written, and say how the run ended."""
        self._run.finish(exit_code=0 if how == "finished" else 1)


def start(about: About, id: str | None) -> WeightsAndBiases:
    """Begin a run, or take up one."""
    return WeightsAndBiases(about, id)
