"""A client's private state on disk, versioned by round, whole or absent.

A round is asked for again after a crash of the server; the client then goes on from its newest state of an EARLIER round, so
that a state saved in the aborted attempt is not trained on twice. No commit message is needed, and nobody's state is lost.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentState
from fedtap.runtime.errors import UserError
from fedtap.runtime.private import FILE, private_folder
from fedtap.runtime.storage import write_bytes

_MODEL = "::"


class ClientStore:
    """One folder, one sub-folder a client, one file a state: ``<client>/round-0007.safetensors``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rounds(self, client: str) -> list[int]:
        """Return the rounds after which states of a client are held, in order."""
        files = (self._folder / client).glob("round-*.safetensors")
        numbers = (file.stem.removeprefix("round-") for file in files)
        return sorted(int(number) for number in numbers if number.isdecimal())

    def load(self, client: str, before: int) -> ClientState | None:
        """Return the newest state from a round earlier than ``before``, or None if there is none.

        Raises
        ------
        UserError
            If its file is damaged.
        """
        earlier = [number for number in self.rounds(client) if number < before]
        if not earlier:
            return None
        path = self._path(client, earlier[-1])
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                models: dict[str, ComponentState] = {}
                for model in facts["models"]:
                    prefix = f"{model}{_MODEL}"
                    names = [label for label in file.keys() if label.startswith(prefix)]  # noqa: SIM118
                    models[model] = ComponentState.from_flat(
                        {label.removeprefix(prefix): file.get_tensor(label) for label in names}
                    )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: damaged or truncated ({error}); restore it from a copy, or remove it to go on from the round before"
            ) from error
        return ClientState(models, facts["facts"])

    def save(self, client: str, round_number: int, state: ClientState) -> None:
        """Keep a state as that after a round, then forget all but the newest of the earlier ones."""
        tensors = {
            f"{model}{_MODEL}{label}": tensor
            for model, components in sorted(state.models.items())
            for label, tensor in components.clone().flat().items()  # two models may share a tensor; a file may not
        }
        facts = {"models": sorted(state.models), "facts": dict(state.facts)}
        path = self._path(client, round_number)
        private_folder(private_folder(self._folder) / client)
        write_bytes(path, save(tensors, {"facts": json.dumps(facts, sort_keys=True)}))
        path.chmod(FILE)
        earlier = [number for number in self.rounds(client) if number < round_number]
        for number in earlier[:-1]:
            self._path(client, number).unlink(missing_ok=True)

    def keep_secret(self, client: str, round_number: int, text: str) -> None:
        """Keep what a client must not lose within a round, and not tell; that of other rounds is forgotten."""
        path = self._secret(client, round_number)
        private_folder(private_folder(self._folder) / client)
        write_bytes(path, text.encode())
        path.chmod(0o600)
        for other in path.parent.glob("secret-*.json"):
            if other != path:
                other.unlink(missing_ok=True)

    def secret(self, client: str, round_number: int) -> str | None:
        """Return what :meth:`keep_secret` keeps for a round, or None."""
        path = self._secret(client, round_number)
        return path.read_text(encoding="utf-8") if path.exists() else None

    def forget_secret(self, client: str, round_number: int) -> None:
        """Forget it."""
        self._secret(client, round_number).unlink(missing_ok=True)

    def _secret(self, client: str, round_number: int) -> Path:
        return self._folder / client / f"secret-{round_number:04d}.json"

    def _path(self, client: str, round_number: int) -> Path:
        return self._folder / client / f"round-{round_number:04d}.safetensors"
