"""The server's last complete round in ONE file, so that one rename is the whole commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from fedtap.algorithms.base import ServerState
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.words import HUGE, MAX_ROUND, MAX_SECONDS, Number, Strict, required
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import Identity
from fedtap.runtime.sealed_tensors import read_sealed_tensors, write_sealed_tensors

_OF = "::"  # after the part of the state, and after the client, that a tensor belongs to
_PARTS = ("tailored", "kept")
_MEND = "restore it from a copy, or start anew with another --out"


class _Told(Strict):
    """What stands beside the tensors. A seal is no signature: nothing of it is used before it has this form."""

    round: Annotated[int, Field(ge=0, le=MAX_ROUND)]
    events: Annotated[int, Field(ge=0, le=HUGE)]
    events_sha256: str
    seconds: Annotated[Number, Field(ge=0, le=MAX_SECONDS)]
    clients: dict[str, list[str]]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a complete round.

    Parameters
    ----------
    round
        The last complete round; 0 before the first.
    state
        The server's state.
    events
        Bytes of the event log that belong to complete rounds; what is beyond was written by a round that was cut off.
    seconds
        Seconds of work so far, over all attempts.
    events_sha256
        Of those bytes of the event log.
    """

    round: int
    state: ServerState
    events: int
    seconds: float
    events_sha256: str = ""

    def save(self, path: Path, run: str = "") -> None:
        """Write the checkpoint of a run, atomically."""
        parts: dict[str, Mapping[str, ComponentState]] = {part: getattr(self.state, part) for part in _PARTS}
        facts = {
            "round": self.round,
            "events": self.events,
            "events_sha256": self.events_sha256,
            "seconds": self.seconds,
            "clients": {part: sorted(held) for part, held in parts.items()},
            "facts": dict(self.state.facts),
        }
        tensors = self.state.components.flat()
        for part, held in parts.items():
            for client, components in sorted(held.items()):
                flat = components.flat()
                tensors |= {f"{part}{_OF}{client}{_OF}{label}": tensor for label, tensor in flat.items()}
        write_sealed_tensors(path, tensors, facts, _identity(run))

    @classmethod
    def load(cls, path: Path, run: str | None = None, like: ComponentState | None = None) -> Checkpoint | None:
        """Return the checkpoint, or None if there is none yet; of whichever run, unless ``run`` names one.

        ``like`` is the start of the federated model: what goes on from a checkpoint has its tensors, of its shapes.

        Raises
        ------
        UserError
            If the file is damaged, of another run, or holds another model.
        """
        if not path.exists():
            return None
        flat, facts = read_sealed_tensors(path, _identity(run), _MEND)
        try:
            told = required(_Told, facts)
            owners: dict[str, dict[str, Tensor]] = {"": {}}  # by part and client; "" is the federated model
            for part in _PARTS:
                owners |= {f"{part}{_OF}{client}": {} for client in told.clients[part]}
            for label, tensor in flat.items():
                owner, _, rest = label.rpartition(_OF)
                owners[owner][rest] = tensor
            states = {owner: ComponentState.from_flat(tensors) for owner, tensors in owners.items()}
            tailored, kept = (
                {client: states[f"{part}{_OF}{client}"] for client in told.clients[part]} for part in _PARTS
            )
            state = ServerState(states[""], tailored, kept, told.facts)
            if like is not None:
                _check(state, like)
            return cls(told.round, state, told.events, told.seconds, told.events_sha256)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged or truncated ({error}); {_MEND}") from error


def _names(state: ComponentState) -> set[tuple[ComponentKey, str]]:
    return {(key, name) for key, name, _ in state.tensors()}


def _check(state: ServerState, like: ComponentState) -> None:
    """Raise a ValueError if a server's state does not hold what it began with, or a value that no server can have taken."""
    if _names(state.components) != _names(like):
        raise ValueError("other components than the federated model has")
    for held in (state.components, *state.tailored.values(), *state.kept.values()):
        for key in held.keys() & like.keys():
            shapes, known = (
                {name: (tensor.shape, tensor.dtype) for name, tensor in each[key].items()} for each in (held, like)
            )
            if not shapes.items() <= known.items():
                raise ValueError(f"{key}: other tensors than the component has")
        for key, name, tensor in held.tensors():
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{key}:{name}: a value that is no finite number")


def _identity(run: str | None) -> Identity:
    return {"what": "checkpoint"} if run is None else {"what": "checkpoint", "run": run}
