"""The server's last complete round in ONE file, so that one rename is the whole commit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedtap.components import ComponentState
from fedtap.errors import UserError
from fedtap.storage import write_bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a complete round.

    Parameters
    ----------
    round
        The last complete round; 0 before the first.
    components
        The server's components.
    events
        Bytes of the event log that belong to complete rounds; what is beyond was written by a round that was cut off.
    seconds
        Seconds of work so far, over all attempts.
    """

    round: int
    components: ComponentState
    events: int
    seconds: float

    def save(self, path: Path) -> None:
        """Write the checkpoint, atomically."""
        facts = json.dumps({"round": self.round, "events": self.events, "seconds": self.seconds})
        write_bytes(path, save(self.components.clone().flat(), {"checkpoint": facts}))

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
            return cls(
                int(facts["round"]), ComponentState.from_flat(flat), int(facts["events"]), float(facts["seconds"])
            )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: damaged or truncated ({error}); restore it from a copy, or start anew with another --out"
            ) from error
