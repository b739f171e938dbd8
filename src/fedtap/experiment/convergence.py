"""What the theory says of a scenario before it is run: who holds which component, in the terms of :mod:`fedtap.theory.plan`.

Known without data and without weights. What is measured in a run: :mod:`fedtap.experiment.constants`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.registry import make
from fedtap.experiment.planning import architecture_of, check
from fedtap.network.architecture import Architecture
from fedtap.runtime.errors import UserError
from fedtap.scenario.data import SIZES
from fedtap.scenario.scenario import Scenario, build_scenario
from fedtap.theory.plan import FederationPlan, federation_plan
from fedtap.theory.unequal import coverage_chances


def convergence_plan(scenario: Scenario, method: str | None = None) -> FederationPlan:
    """Return what each component that a method averages has to expect.

    Weights are the training examples that the scenario asks for; a source that has fewer, and ``data.quantity``, change them.
    Where it asks for all there are, nobody knows yet how many: they count as many as are taken of a built-in source.

    Raises
    ------
    UserError
        If the scenario is wrong, or the method averages nothing.
    """
    check(scenario)
    return plan_for(scenario, make(scenario.method, method, f"scenario '{scenario.name}', method"))


def plan_for(scenario: Scenario, algorithm: Algorithm) -> FederationPlan:
    """Return :func:`convergence_plan` for a method that is made already."""
    if scenario.local_epochs is not None:
        raise UserError(
            f"scenario '{scenario.name}', local_epochs: the theorem has one number of steps for all clients; give local_steps "
            "instead (--set local_epochs=null --set local_steps=10)"
        )
    holdings, tasks, examples = _holdings(scenario, algorithm, architecture_of(scenario, algorithm))
    if not tasks:
        raise UserError(
            f"scenario '{scenario.name}': method '{algorithm.name}' averages no component, so there is no server to analyse; "
            "choose another method"
        )
    pairs = {(pair.modality, pair.task) for client in scenario.participants for pair in client.pairs}
    return federation_plan(
        holdings,
        {name: sorted(found) for name, found in tasks.items()},
        examples=examples,
        drawn=scenario.clients_per_round,
        rounds=scenario.rounds,
        steps=scenario.local_steps,
        pairs=len(pairs),
        sampling=scenario.sampling,
    )


def chances_of(scenario: Scenario, algorithm: Algorithm, architecture: Architecture) -> dict[str, float] | None:
    """Return for each client the chance with which ``sampling: coverage`` draws it; None for any other sampling."""
    if scenario.sampling != "coverage":
        return None
    holdings, _, _ = _holdings(scenario, algorithm, architecture)
    return coverage_chances(holdings, scenario.clients_per_round)


def _holdings(
    scenario: Scenario, algorithm: Algorithm, architecture: Architecture
) -> tuple[dict[str, dict[str, float]], dict[str, set[str]], dict[str, float]]:
    """Return, of what is averaged, each client's components with their weights, the tasks of each, each client's examples."""
    averaged: dict[str, bool] = {}
    tasks: dict[str, set[str]] = {}
    holdings: dict[str, dict[str, float]] = {}
    examples: dict[str, float] = {}
    for client in scenario.participants:
        held: dict[str, float] = {}
        for task in client.tasks:
            size = scenario.data.size(task, "train")
            mine = scenario.privacy.reported(SIZES["train"] if size == "all" else size)
            examples[client.id] = examples.get(client.id, 0) + mine
            for key in architecture.path(client.pairs, task.name):
                name = str(key)
                if name not in averaged:
                    averaged[name] = any(algorithm.travels(key, tensor) for tensor in architecture.shapes(key))
                if averaged[name]:
                    held[name] = held.get(name, 0) + mine
                    tasks.setdefault(name, set()).add(task.name)
        if scenario.weights != "component":
            held = dict.fromkeys(held, 1.0 if scenario.weights == "uniform" else examples[client.id])
        holdings[client.id] = dict(sorted(held.items()))
    return holdings, tasks, examples


def plan_of_run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the plan of a run that wrote none down, from the resolved scenario in its run.json.

    Raises
    ------
    UserError
        If the run's method or sources are not at hand.
    """
    raw = {key: value for key, value in config.items() if key not in ("population", "tasks_per_client")}
    return convergence_plan(build_scenario(raw, place=str(folder / "run.json"), folder=folder.resolve())).to_json()
