"""What must be there for a scenario: packages, a method that bears its privacy and its batches, one process."""

from __future__ import annotations

from fedtap.algorithms.base import Algorithm
from fedtap.federation.secure.masking import require_crypto
from fedtap.privacy.accounting import require_opacus
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario
from fedtap.training.client import cuts_batches


def check_privacy(scenario: Scenario, algorithm: Algorithm) -> None:
    """Refuse what privacy asks for where a package is missing, or the method does not bear it, before anything is trained."""
    check_batches(scenario, algorithm)
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


def check_batches(scenario: Scenario, algorithm: Algorithm) -> None:
    """Refuse a method that compares the examples of a batch where they do not go through the network together."""
    cut = cuts_batches(scenario, private=scenario.privacy.local is not None)
    if cut and algorithm.compares_examples:
        raise UserError(
            f"{cut}, and method.{algorithm.compares_examples} of method '{algorithm.name}' compares the examples of a batch; set "
            f"method.{algorithm.compares_examples}=0, or leave {cut.partition(':')[0].partition('=')[0]} out"
        )


def check_one_process(scenario: Scenario, instead: str = "use --engine inprocess") -> None:
    """Refuse what needs all clients in one process, where they are on machines of their own."""
    if scenario.theory is not None:
        raise UserError(
            f"scenario '{scenario.name}', theory: gradients are compared in one process; {instead}, or leave theory out"
        )


def check_no_validation(scenario: Scenario) -> None:
    """Refuse to gather what models score on validation data in the rounds, where clients are on machines of their own."""
    if scenario.evaluation.validation_every:
        raise UserError(
            f"scenario '{scenario.name}', evaluation.validation_every: what models score on validation data stays with clients "
            "that are on machines of their own; use --engine inprocess, or set it to 0"
        )
