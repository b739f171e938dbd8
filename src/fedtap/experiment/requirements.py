"""What must be there for a scenario's safety: packages, and a method that bears it. Checked before anything is trained."""

from __future__ import annotations

from fedtap.algorithms.base import Algorithm
from fedtap.federation.secure.masking import require_crypto
from fedtap.privacy.accounting import require_opacus
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario


def check_privacy(scenario: Scenario, algorithm: Algorithm) -> None:
    """Refuse what privacy asks for where a package is missing, or the method does not bear it, before anything is trained."""
    if scenario.privacy.noised:
        require_opacus()
    if scenario.privacy.secure is None:
        return
    require_crypto()
    if type(algorithm).aggregate is not Algorithm.aggregate:
        raise UserError(
            f"privacy.secure: method '{algorithm.name}' needs single updates at the server, not only their mean; "
            "take another method (`fedtap methods`), or leave privacy.secure out"
        )
    if algorithm.params.lora_mean != "factors":
        raise UserError(
            f"privacy.secure: lora_mean={algorithm.params.lora_mean} averages products; masked factors are only summed; "
            "set lora_mean=factors"
        )
