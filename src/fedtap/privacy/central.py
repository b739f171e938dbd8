r"""Central differential privacy: clients' changes are clipped, and their mean is noised, before a method sees anything of them.

McMahan, Ramage, Talwar, Zhang 2018, arXiv 1710.06963. With :math:`\Delta_i` the change of client i over all its components,
clipped to norm S, and :math:`n_c` the clients of the round that hold component c:

.. math:: m_c = w_c + \frac{1}{n_c} \Big( \sum_i \Delta_{i,c} + \mathcal N(0, z^2 S^2) \Big)

Every client counts alike. With ``scope: component`` each component is clipped to C by itself, and :math:`S = C \sqrt K` with K
the most components that any client holds. Each client's update is then replaced by :math:`m` on the components that it holds: a
method's aggregation, whatever it does, is post-processing of m, and mixtures for single clients see no more than everybody does.

What is protected is a client's whole contribution, against all who see the federated model and trust the server: exchanging a
client's change for none moves the sums by S at the most. Who took part, and which components are held, is not hidden. Differences
from the paper: clients are dealt like cards, not sampled independently, so no amplification by sampling is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fedtap.aggregation.norms import change_norms, scale_change
from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.safety import CentralSettings


def noised(
    trained: Mapping[str, ComponentState],
    sent: Mapping[str, ComponentState],
    current: ComponentState,
    settings: CentralSettings,
    *,
    most: int,
    generator: torch.Generator,
) -> dict[str, ComponentState]:
    """Return for each client the round's noised mean of the components that it changed.

    Parameters
    ----------
    trained, sent
        What came, as values, and what each client had been sent.
    current
        The federated model, which the mean change is added to.
    settings
        Clipping norm C, noise multiplier z, scope.
    most
        K, the most components that any client holds.
    generator
        The noise is drawn from it, in sorted order of components and parameters.
    """
    clipped = {client: clip(state, sent[client], settings) for client, state in trained.items()}
    std = settings.noise * sensitivity(settings, most)
    mean: dict[ComponentKey, dict[str, Tensor]] = {}
    for key in sorted({key for state in clipped.values() for key in state}):
        holders = [client for client in sorted(clipped) if key in clipped[client]]
        mean[key] = {}
        for name, now in ((name, current[key][name]) for name in clipped[holders[0]][key]):
            total = std * torch.randn(now.shape, generator=generator, dtype=torch.float64)
            for client in holders:
                total += clipped[client][key][name].double() - sent[client][key][name].double()
            mean[key][name] = (now.double() + total / len(holders)).to(now.dtype)
    return {client: ComponentState({key: mean[key] for key in state}) for client, state in clipped.items()}


def sensitivity(settings: CentralSettings, most: int) -> float:
    """Return S, the norm that a client's whole change cannot exceed."""
    return settings.clip * (math.sqrt(most) if settings.scope == "component" else 1.0)


def clip(state: ComponentState, sent: ComponentState, settings: CentralSettings) -> ComponentState:
    """Return what a client trained with its change clipped, as a whole or component by component."""
    norms = change_norms(state, sent)
    whole = math.sqrt(math.fsum(norm * norm for norm in norms.values()))
    sizes = norms if settings.scope == "component" else dict.fromkeys(norms, whole)
    over = {key: settings.clip / size for key, size in sizes.items() if size > settings.clip}
    return state.merge(ComponentState({key: scale_change(state[key], sent[key], share) for key, share in over.items()}))
