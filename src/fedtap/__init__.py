"""fedtap: personalized federated fine-tuning of multi-modal, multi-task foundation models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtap.algorithms.registry import register
    from fedtap.experiment import compare, predict, run, sweep

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "predict", "register", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is first asked for: ``import fedtap`` alone takes no torch."""
    if name in ("compare", "predict", "run", "sweep"):
        from fedtap import experiment

        return getattr(experiment, name)
    if name == "register":
        from fedtap.algorithms.registry import register

        return register
    raise AttributeError(f"module 'fedtap' has no attribute '{name}'")
