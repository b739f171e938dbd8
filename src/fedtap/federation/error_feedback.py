r"""What a client's updates lose on the wire, kept at the client and added to its next update (error feedback).

With :math:`\Delta_t` the change of a round and :math:`e_t` what is owed, the client sends :math:`Q(\Delta_t + e_t)` and keeps

.. math:: e_{t+1} = \Delta_t + e_t - Q(\Delta_t + e_t)

so that over its rounds the sum of what it sent differs from the sum of its changes by the last residual alone. The residual
lies in the client's store beside the method's own state, which knows nothing of it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentState
from fedtap.federation.wire import pack, unpack
from fedtap.scenario.safety import WireSettings

RESIDUAL = "wire-residual"
"""The name of the residual among a stored state's models."""


def compress_update(
    trained: ComponentState, received: ComponentState, owed: ComponentState, wire: WireSettings
) -> tuple[ComponentState, ComponentState]:
    """Return what is sent, packed, and the residual that is then owed."""
    if wire.precision == "fp32":
        return trained, ComponentState()
    change = trained.zip(torch.sub, received.select(lambda key, name: key in trained and name in trained[key]))
    if wire.feedback:
        mine = owed.select(lambda key, name: key in change and name in change[key])
        change = change.overlay(change.select(lambda key, name: key in mine and name in mine[key]).zip(torch.add, mine))
    packed = pack(change, wire.precision)
    if not wire.feedback:
        return packed, ComponentState()
    lost = change.zip(torch.sub, unpack(packed, wire.precision))
    return packed, owed.overlay(lost)


def with_residual(state: ClientState, owed: ComponentState) -> ClientState:
    """Return a state to be stored, the residual in it if there is one."""
    return replace(state, models={**state.models, RESIDUAL: owed}) if owed else state


def split_residual(stored: ClientState) -> tuple[ClientState, ComponentState]:
    """Return the method's part of a stored state, and the residual."""
    models = {name: model for name, model in stored.models.items() if name != RESIDUAL}
    return replace(stored, models=models), stored.models.get(RESIDUAL, ComponentState())
