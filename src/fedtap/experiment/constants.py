"""The theorem's constants, measured while a run goes on (``theory: on``) and written into its log; the run takes no notice.

Before some rounds, and after the last, every client that trains takes gradients of the model as the server would send it now.
The events are ``theory_plan``, once: what each component has to expect; and each time ``theory_component``, one a component, and
``theory``: the mean loss, a lower estimate of L, what the look cost, and, where asked for, each task's training loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from statistics import fmean
from typing import Any

from fedtap.algorithms.base import Algorithm
from fedtap.components import ComponentState
from fedtap.experiment.convergence import plan_for
from fedtap.federation.client import ClientSite
from fedtap.federation.server import Server
from fedtap.scenario.theory import TheorySettings
from fedtap.theory.estimators import ComponentSums
from fedtap.training.client import LocalClient
from fedtap.training.gradient_statistics import look_at_gradients

Observe = Callable[[dict[str, Any]], None]


class Constants:
    """Takes the looks of one run.

    Parameters
    ----------
    settings
        How often, and how closely.
    site
        The clients, all of them in this process.

    Raises
    ------
    UserError
        If the method averages nothing.
    """

    def __init__(self, settings: TheorySettings, site: ClientSite) -> None:
        self._settings = settings
        self._site = site
        self._plan = plan_for(site.scenario, site.algorithm)
        self._left = settings.moments(site.scenario.rounds)

    def done(self, seen: Iterable[int]) -> None:
        """Take note that it has been measured after these rounds, where a run is taken up again."""
        self._left -= frozenset(seen)

    def look(self, server: Server, after: int, observe: Observe) -> None:
        """Measure the server's model after so many rounds, if it is time to."""
        if after not in self._left:
            return
        self._left -= {after}
        began = time.perf_counter()
        scenario, algorithm = self._site.scenario, self._site.algorithm
        if after == 0:
            observe({"event": "theory_plan", "round": 0, **self._plan.to_json()})
        sums: dict[str, ComponentSums] = {}
        losses, smoothness, taken = [], 0.0, 0
        by_task: dict[str, list[float]] = {}
        for client in scenario.participants:
            at_work = partial(self._site.local, client.id, after + 1)
            model = self._model(at_work(), server, algorithm)
            found = look_at_gradients(
                at_work,
                model,
                algorithm.travels,
                examples=self._settings.examples,
                curvature=self._settings.curvature,
            )
            for key, gradient in found.gradients.items():
                sums.setdefault(str(key), ComponentSums()).add(gradient)
            losses.append(found.loss)
            if self._settings.losses:
                for task, loss in at_work().mean_losses(model, "train").items():
                    by_task.setdefault(task, []).append(loss)
            smoothness, taken = max(smoothness, found.smoothness), taken + found.taken
        for part in self._plan.components:
            if part.component in sums:
                told = sums[part.component].estimate().to_json()
                of = part.sampling
                about = {"component": part.component, "pi": of.pi, "rho": of.rho, "phi": of.phi}
                observe({"event": "theory_component", "round": after, **about, **told})
        observe(
            {
                "event": "theory",
                "round": after,
                "clients": len(losses),
                "loss": sum(losses) / len(losses),
                **({"losses": {task: fmean(each) for task, each in by_task.items()}} if by_task else {}),
                "smoothness": smoothness,
                "gradients": taken,
                "seconds": round(time.perf_counter() - began, 4),
            }
        )

    def _model(self, client: LocalClient, server: Server, algorithm: Algorithm) -> ComponentState:
        """Return the model that a client would train from now: what it is sent, and of its own what is never sent."""
        models = self._site.models(client.id, server.slice_for(client.id))
        model = models.get("federated") or models.get(algorithm.deployed)
        if not isinstance(model, ComponentState):
            model = ComponentState()
        own = model.select(lambda key, _: key in client.plan)
        sent = server.state.slice_for(client.id, frozenset(key for key in client.plan if key in server.components))
        return client.initial_state().overlay(own).overlay(sent)
