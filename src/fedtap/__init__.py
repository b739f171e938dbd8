"""fedtap: personalized federated fine-tuning of multi-modal, multi-task foundation models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtap.algorithms.registry import register
    from fedtap.fetching.fetch import fetch
    from fedtap.launch import run
    from fedtap.models.personal_model import PersonalModel
    from fedtap.models.predict import predict
    from fedtap.onboarding.onboard import onboard
    from fedtap.runtime.errors import RunError, UserError
    from fedtap.study.compare import compare
    from fedtap.study.pairs.study import study_pairs
    from fedtap.study.sweep import sweep

__version__ = "0.1.0"
__all__ = [
    "PersonalModel",
    "RunError",
    "UserError",
    "__version__",
    "compare",
    "fetch",
    "onboard",
    "predict",
    "register",
    "run",
    "study_pairs",
    "sweep",
]

_HOMES = {
    "PersonalModel": "fedtap.models.personal_model",
    "RunError": "fedtap.runtime.errors",
    "UserError": "fedtap.runtime.errors",
    "compare": "fedtap.study.compare",
    "fetch": "fedtap.fetching.fetch",
    "onboard": "fedtap.onboarding.onboard",
    "predict": "fedtap.models.predict",
    "register": "fedtap.algorithms.registry",
    "run": "fedtap.launch",
    "study_pairs": "fedtap.study.pairs.study",
    "sweep": "fedtap.study.sweep",
}


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is first asked for: ``import fedtap`` alone takes no torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fedtap' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names, those too that were never asked for."""
    return sorted({*globals(), *__all__})
