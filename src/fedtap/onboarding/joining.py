"""What a site that joins makes of its slice: its models as the run's method makes them, tested on its own data, and alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedtap.algorithms.base import Algorithm, Models, ServerState
from fedtap.components import ComponentKey, ComponentState
from fedtap.data.partition import Partition
from fedtap.evaluation.evaluate import Row
from fedtap.experiment.planning import check
from fedtap.experiment.requirements import check_privacy
from fedtap.experiment.site import SiteContext, set_up_site
from fedtap.federation.messages import Request
from fedtap.federation.store import ClientStore
from fedtap.federation.wire import pack
from fedtap.network.architecture import Architecture
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import ClientSettings, Scenario

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Joined:
    """A site's models after it has joined, their rows, and what they were made with.

    ``given`` are the components that came from the server, ``fresh`` those that nobody had trained; ``steps`` is how many steps
    of training the site took.
    """

    models: Models
    rows: list[Row]
    steps: int
    given: frozenset[ComponentKey]
    fresh: frozenset[ComponentKey]
    context: SiteContext


def join(
    scenario: Scenario,
    algorithm: Algorithm,
    client: ClientSettings,
    server: ServerState,
    *,
    seed: int,
    device: str,
    shares: Partition,
    tell: Tell,
) -> Joined:
    """Have a client that never took part make its models from the server's last state, and test them.

    Raises
    ------
    UserError
        If the server's model does not fit what the client's tasks need.
    """
    check(scenario)
    check_privacy(scenario, algorithm)
    with tempfile.TemporaryDirectory(
        prefix="fedtap-onboard-"
    ) as place:  # of what is private nothing stays but the models
        context = set_up_site(
            scenario,
            algorithm,
            seed=seed,
            device=device,
            store=ClientStore(Path(place)),
            shares=lambda: shares,
            tell=tell,
        )
        received, given, fresh = slice_of(context, algorithm, client, server)
        packed = pack(received, scenario.wire.precision)
        after = scenario.rounds + 1
        reply = context.site.answer(Request(client.id, after, "personalise", packed))
        models, rows = context.test(client, packed, cross=False)
    return Joined(models, rows, reply.steps, given, fresh, context)


def slice_of(
    context: SiteContext, algorithm: Algorithm, client: ClientSettings, server: ServerState
) -> tuple[ComponentState, frozenset[ComponentKey], frozenset[ComponentKey]]:
    """Return what a client is sent, and of which of its components the server has a state; the others are at their start.

    The start of a component depends on the run's seed and its own name alone, so it is what the run would have had.
    """
    architecture = context.network.architecture
    plan = architecture.plan(client.pairs)
    start = context.network.initial_state(plan).select(algorithm.travels)
    travelling = _travelling(architecture, algorithm, plan)
    given = travelling & server.components.keys()
    whole = replace(server, components=start.merge(server.components.slice(sorted(given))))
    received = whole.slice_for(client.id, travelling)
    for key in received:
        shapes, needed = ({name: (t.shape, t.dtype) for name, t in each[key].items()} for each in (received, start))
        if shapes != needed or not all(bool(tensor.isfinite().all()) for tensor in received[key].values()):
            raise UserError(
                f"client '{client.id}': the server's component '{key}' is not what its tasks need; restore the run from a copy"
            )
    return received, frozenset(given), travelling - given


def _travelling(
    architecture: Architecture, algorithm: Algorithm, plan: frozenset[ComponentKey]
) -> frozenset[ComponentKey]:
    return frozenset(key for key in plan if any(algorithm.travels(key, name) for name in architecture.shapes(key)))
