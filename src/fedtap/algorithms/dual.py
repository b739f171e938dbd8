r"""What FedDPA, FedALT and Flow share: two low-rank adapters a matrix, the client's own and a shared one. Not a method itself.

.. math:: x W + \tfrac{\alpha}{r} \big( g(x) \, x A_{own} B_{own} + (1 - g(x)) \, x A_{shared} B_{shared} \big)

Own adapters never travel under their own names; the shared ones do, and with them all that is no adapter of the fusion (encoders,
the shared projection, domain experts, heads), which is averaged as every method here averages it. The papers' models are frozen
but for their adapters and have none of that. Where a scenario trains its fusion layers from a start (``network.adaptation:
full``) the methods freeze and adapt them instead, with adapters of the scenario's rank. What g is, the method says
(:class:`fedtap.network.blocks.DualLowRank`): it sees an example's direction where the fusion begins, one number for each example,
component and layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from fedtap.algorithms.partial import Partial
from fedtap.components import ComponentKey, ComponentState

_SHARED = ("_shared_A", "_shared_B")


def is_shared(key: ComponentKey, name: str) -> bool:
    """Tell whether a tensor belongs to a shared adapter."""
    return name.endswith(_SHARED)


def is_own(key: ComponentKey, name: str) -> bool:
    """Tell whether a tensor belongs to an own adapter; those of the towers, of which there is one each, are not meant."""
    return key.kind in ("attention", "expert") and name.endswith(("_A", "_B")) and not name.endswith(_SHARED)


def is_gate(key: ComponentKey, name: str) -> bool:
    """Tell whether a tensor belongs to a gate."""
    return name in ("gate_w", "gate_b")


def as_own(state: ComponentState) -> ComponentState:
    """Return a state's shared adapters under the names of own ones."""
    return _renamed(state.select(is_shared), lambda name: name.replace("_shared_", "_"))


def as_shared(state: ComponentState) -> ComponentState:
    """Return a state's own adapters under the names of shared ones."""
    return _renamed(state.select(is_own), lambda name: f"{name[:-2]}_shared{name[-2:]}")


def _renamed(state: ComponentState, rename: Callable[[str], str]) -> ComponentState:
    return ComponentState({key: {rename(name): t for name, t in named.items()} for key, named in state.items()})


class Dual(Partial):
    """A method whose clients have an own adapter beside a shared one."""

    adaptations: ClassVar[Mapping[str, str]] = dict.fromkeys(("full", "lora", "colora", "dual_near"), "dual")

    def travels(self, key: ComponentKey, name: str) -> bool:
        """All but own adapters and gates travels."""
        return not is_own(key, name) and not is_gate(key, name)
