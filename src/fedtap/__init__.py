"""fedtap: personalized federated fine-tuning of multi-modal, multi-task foundation models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtap.algorithms.base import Algorithm, ClientState, Params, ServerState, Update
    from fedtap.algorithms.registry import register
    from fedtap.components import ComponentState
    from fedtap.fetching.fetch import fetch
    from fedtap.launch import run
    from fedtap.models.personal_model import PersonalModel
    from fedtap.models.predict import predict
    from fedtap.onboarding.onboard import onboard
    from fedtap.results.run_result import RunResult
    from fedtap.runtime.errors import RunError, UserError
    from fedtap.study.advice.advice_result import AdviceResult
    from fedtap.study.advice.advise import advise
    from fedtap.study.compare import compare
    from fedtap.study.comparison_result import ComparisonResult
    from fedtap.study.pairs.study import study_pairs
    from fedtap.study.regimes.study import study_regimes
    from fedtap.study.sweep import sweep
    from fedtap.study.sweep_result import SweepResult
    from fedtap.training.client import LocalClient

__version__ = "0.1.0"
__all__ = [
    "AdviceResult",
    "Algorithm",
    "ClientState",
    "ComparisonResult",
    "ComponentState",
    "LocalClient",
    "Params",
    "PersonalModel",
    "RunError",
    "RunResult",
    "ServerState",
    "SweepResult",
    "Update",
    "UserError",
    "__version__",
    "advise",
    "compare",
    "fetch",
    "onboard",
    "predict",
    "register",
    "run",
    "study_pairs",
    "study_regimes",
    "sweep",
]

_HOMES = {
    "AdviceResult": "fedtap.study.advice.advice_result",
    "Algorithm": "fedtap.algorithms.base",
    "ClientState": "fedtap.algorithms.base",
    "ComparisonResult": "fedtap.study.comparison_result",
    "ComponentState": "fedtap.components",
    "LocalClient": "fedtap.training.client",
    "Params": "fedtap.algorithms.base",
    "PersonalModel": "fedtap.models.personal_model",
    "RunError": "fedtap.runtime.errors",
    "RunResult": "fedtap.results.run_result",
    "ServerState": "fedtap.algorithms.base",
    "SweepResult": "fedtap.study.sweep_result",
    "Update": "fedtap.algorithms.base",
    "UserError": "fedtap.runtime.errors",
    "advise": "fedtap.study.advice.advise",
    "compare": "fedtap.study.compare",
    "fetch": "fedtap.fetching.fetch",
    "onboard": "fedtap.onboarding.onboard",
    "predict": "fedtap.models.predict",
    "register": "fedtap.algorithms.registry",
    "run": "fedtap.launch",
    "study_pairs": "fedtap.study.pairs.study",
    "study_regimes": "fedtap.study.regimes.study",
    "sweep": "fedtap.study.sweep",
}


if not TYPE_CHECKING:  # to a type checker, which sees the imports above, every name would seem to be there

    def __getattr__(name: str) -> Any:
        """Load what is heavy when it is first asked for: ``import fedtap`` alone takes no torch."""
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'fedtap' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names, those too that were never asked for, and none that is only this file's own."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
