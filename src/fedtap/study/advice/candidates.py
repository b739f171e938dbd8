"""Which methods advice is asked about: those that are named, or a few that stand for what there is."""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.algorithms.registry import make
from fedtap.experiment.requirements import check_privacy
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario
from fedtap.study.batch import Observer
from fedtap.study.compare import BASE
from fedtap.study.folder import tell
from fedtap.study.variants import ALL, Variant, split_list, unable, variant, variants

DEFAULT = (BASE, "fedavg", "fedavg_ft", "fedper", "choice", "tap", "tap_best")
"""Alone, one model for all, that one fine-tuned, a shared trunk, the better of two, TAP as published, under the better head."""


def candidates(
    scenario: Scenario, methods: str | Sequence[str] | None, observers: Sequence[Observer] = ()
) -> list[Variant]:
    """Return the methods in question, the base always among them.

    None stands for :data:`DEFAULT` and the scenario's own method. Of those, and of ``all``, what the scenario does not suit is
    left out, and told; what is named must suit it.

    Raises
    ------
    UserError
        If a label is wrong, a method that is named cannot train or serve all of the scenario, or there is nothing to choose
        between.
    """
    if methods is None:
        found = _usual(scenario, observers)
    else:
        labels = split_list(methods) if isinstance(methods, str) else list(methods)
        found = variants(scenario, labels)
        if not any(entry.label == BASE for entry in found):
            found = [*variants(scenario, [BASE]), *found]
            tell(observers, f"'{BASE}' is added: gains are relative to it, and to stay alone is a choice too")
        if ALL in labels:
            for name in unable(scenario):
                tell(
                    observers,
                    f"'{name}' is left out: it cannot train the scenario's network.name={scenario.network.name}",
                )
        found = _suited(found, observers, strict=ALL not in labels)
    if len(found) < 2:
        raise UserError(f"--methods: there is nothing to choose between but '{BASE}'; name another method")
    return found


def _usual(scenario: Scenario, observers: Sequence[Observer]) -> list[Variant]:
    found: list[Variant] = []
    for label in dict.fromkeys([*DEFAULT, make(scenario.method).name]):
        try:
            found.append(variant(scenario, label))
        except UserError as error:  # the scenario's settings of that method do not go with the label's
            tell(observers, f"'{label}' is left out: {error}")
    return _suited(found, observers, strict=False)


def _suited(entered: Sequence[Variant], observers: Sequence[Observer], *, strict: bool) -> list[Variant]:
    """Return those that suit their scenario; of the others the first is an error, or all are told."""
    found = []
    for entry in entered:
        try:
            check_suits(entry)
        except UserError as error:
            if strict or entry.label == BASE:
                raise
            tell(observers, f"'{entry.label}' is left out: {error}")
        else:
            found.append(entry)
    return found


def check_suits(entry: Variant) -> None:
    """Refuse a method that cannot be advised: it does not bear what the scenario asks for, or does not serve all of its tasks."""
    check_privacy(entry.scenario, entry.algorithm)
    wanted = {(client.id, pair.task) for client in entry.scenario.clients for pair in client.pairs}
    lacking = sorted(wanted - entry.served())
    if lacking:
        client, task = lacking[0]
        raise UserError(
            f"--methods: '{entry.label}' cannot serve client '{client}', task '{task}', and advice is on methods that serve "
            f"every task; leave it out, or see it in `fedtap compare`"
        )
