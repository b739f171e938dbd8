"""How far an update moves components, and the same move made shorter. Pure. Not here: how far it may (federation/norm_bound)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from fedtap.components import ComponentKey, ComponentState


def change_norms(state: ComponentState, sent: ComponentState) -> dict[ComponentKey, float]:
    """Return per component the L2 norm of the change, over all its tensors together."""
    return {
        key: math.sqrt(
            math.fsum(
                float((tensor.double() - sent[key][name].double()).square().sum()) for name, tensor in named.items()
            )
        )
        for key, named in state.items()
    }


def scale_change(named: Mapping[str, Tensor], sent: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return a component with its change from what was sent scaled by a share."""
    return {
        name: (sent[name].double() + (tensor.double() - sent[name].double()) * share).to(tensor.dtype)
        for name, tensor in named.items()
    }
