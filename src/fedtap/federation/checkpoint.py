"""The server's last complete round in ONE file, so that one rename is the whole commit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedtap.algorithms.base import ServerState
from fedtap.components import ComponentState
from fedtap.errors import UserError
from fedtap.storage import write_bytes

_OF = "::"  # between a client and the label of a tensor that is tailored to it


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
    """

    round: int
    state: ServerState
    events: int
    seconds: float

    def save(self, path: Path) -> None:
        """Write the checkpoint, atomically."""
        facts = {
            "round": self.round,
            "events": self.events,
            "seconds": self.seconds,
            "tailored": sorted(self.state.tailored),
            "facts": dict(self.state.facts),
        }
        tensors = self.state.components.clone().flat()
        for client, components in sorted(self.state.tailored.items()):
            tensors |= {f"{client}{_OF}{label}": tensor for label, tensor in components.clone().flat().items()}
        write_bytes(path, save(tensors, {"checkpoint": json.dumps(facts)}))

    @classmethod
    def load(cls, path: Path) -> Checkpoint | None:
        """Return the checkpoint, or None if there is none yet.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["checkpoint"])
                flat = {label: file.get_tensor(label) for label in file.keys()}  # noqa: SIM118
            owners: dict[str, dict[str, Tensor]] = {client: {} for client in ["", *facts["tailored"]]}
            for label, tensor in flat.items():
                client, _, rest = label.rpartition(_OF)
                owners[client][rest] = tensor
            components = ComponentState.from_flat(owners.pop(""))
            tailored = {client: ComponentState.from_flat(tensors) for client, tensors in owners.items()}
            state = ServerState(components, tailored, facts["facts"])
            return cls(int(facts["round"]), state, int(facts["events"]), float(facts["seconds"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: damaged or truncated ({error}); restore it from a copy, or start anew with another --out"
            ) from error
