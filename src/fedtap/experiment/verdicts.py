"""How often a method's gate asks each client's validation split, and what it can promise there, before any training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, sqrt
from typing import Any

from fedtap.algorithms.registry import make
from fedtap.experiment.planning import check
from fedtap.runtime.errors import UserError
from fedtap.scenario.data import SIZES
from fedtap.scenario.scenario import Scenario
from fedtap.theory.gate import sure_gain, worst_harm

LEVEL = 0.1
"""Of the statement on all verdicts, where the method has no level of its own."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """One client's validation split of one task.

    ``verdicts`` is how many the gate has to give on it over the run. Of a gate with a margin of 0 ``harm`` is the most that it
    loses on average, and misses, in standard deviations of the difference of two losses; ``missed`` is what one at ``level``
    misses. ``sure`` is the gain from which on all verdicts are right, as a share of the range of that difference.
    """

    client: str
    task: str
    examples: int
    verdicts: int
    harm: float
    missed: float
    sure: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return asdict(self)


def verdict_plan(scenario: Scenario, method: str | None = None) -> tuple[float, list[SplitPlan]]:
    """Return the level, and a plan for each client and task.

    Turns are those that a client has on average; in its first it adopts whatever it is sent. A gate asks a task once a turn, and
    a guard of adoption once more, about another model. Where a task's validation data are taken whole they count as many as are
    taken of a built-in source.

    Raises
    ------
    UserError
        If the scenario is wrong, or the method has no gate.
    """
    check(scenario)
    algorithm = make(scenario.method, method, f"scenario '{scenario.name}', method")
    params = algorithm.params.model_dump()
    if params.get("gate") is None or params.get("replace") not in ("hard", None):
        raise UserError(
            f"scenario '{scenario.name}': method '{algorithm.name}' as it is set has no gate; choose tap with replace=hard"
        )
    level = float(params.get("alpha", LEVEL)) if params["gate"] == "paired" else LEVEL
    clients = len(scenario.participants)
    turns = ceil(scenario.rounds * min(1.0, scenario.clients_per_round / clients))
    asked = max(1, turns - 1) * (2 if params.get("guard_adoption") else 1)
    found = []
    for client in scenario.participants:
        for task in client.tasks:
            size = scenario.data.size(task, "validation")
            examples = SIZES["validation"] if size == "all" else size
            verdicts = asked * len(client.tasks)  # all tasks' verdicts decide which models the next ones compare
            found.append(
                SplitPlan(
                    client.id,
                    task.name,
                    examples,
                    verdicts,
                    worst_harm(0.5) / sqrt(examples),
                    worst_harm(1 - level) / sqrt(examples),
                    sure_gain(examples, verdicts, level),
                )
            )
    return level, found
