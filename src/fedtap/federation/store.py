"""A client's private state on disk, versioned by round, whole or absent.

A round is asked for again after a crash of the server; the client then goes on from its newest state of an EARLIER round, so
that a state saved in the aborted attempt is not trained on twice. No commit message is needed, and nobody's state is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentState
from fedtap.federation.words import Strict, required
from fedtap.runtime.errors import UserError
from fedtap.runtime.private import FILE, private_folder
from fedtap.runtime.sealed import Identity, read_sealed_json, write_sealed_json
from fedtap.runtime.sealed_tensors import read_sealed_tensors, write_sealed_tensors

_MODEL = "::"
_MEND = "restore it from a copy, or start anew with another --out"


class _Told(Strict):
    """What stands beside the tensors. A seal is no signature: nothing of it is used before it has this form."""

    models: list[str]
    facts: dict[str, Any]


class ClientStore:
    """One folder, one sub-folder a client, one file a state: ``<client>/round-0007.safetensors``.

    Parameters
    ----------
    folder
        Where the states lie.
    run
        Names the run that they are of; a state of another is refused.
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self._folder = folder
        self._run = run
        self._known: dict[str, list[int]] = {}

    def rounds(self, client: str) -> list[int]:
        """Return the rounds after which states of a client are held, in order."""
        files = (self._folder / client).glob("round-*.safetensors")
        numbers = (file.stem.removeprefix("round-") for file in files)
        return sorted(int(number) for number in numbers if number.isdecimal())

    def expect(self, client: str, rounds: Sequence[int]) -> None:
        """Remember from elsewhere that a client has kept states of these rounds: without them it must not begin anew."""
        self._known[client] = sorted({*self._known.get(client, []), *rounds})

    def check(self, client: str, before: int) -> None:
        """Check that the state to go on from in a round is there, if there has been one.

        Raises
        ------
        UserError
            If the client has taken part, and its states of that time are gone.
        """
        taken = [number for number in self._known.get(client, []) if number < before]
        if taken and not any(taken[-1] <= number < before for number in self.rounds(client)):
            raise UserError(
                f"{self._path(client, taken[-1])}: missing, and client '{client}' has taken part up to round {taken[-1]}; "
                "restore it from a copy, or start anew with another --out"
            )

    def load(self, client: str, before: int) -> ClientState | None:
        """Return the newest state from a round earlier than ``before``, or None if there is none.

        Raises
        ------
        UserError
            If its file is damaged, of another client, run or round, or is gone though the client has taken part.
        """
        self.check(client, before)
        earlier = [number for number in self.rounds(client) if number < before]
        if not earlier:
            return None
        path = self._path(client, earlier[-1])
        flat, facts = read_sealed_tensors(path, self._identity(client, "state", earlier[-1]), _MEND)
        try:
            told = required(_Told, facts)
            models: dict[str, dict[str, Tensor]] = {model: {} for model in told.models}
            for label, tensor in flat.items():
                model, _, rest = label.partition(_MODEL)
                models[model][rest] = tensor
            return ClientState({name: ComponentState.from_flat(flat) for name, flat in models.items()}, told.facts)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged or truncated ({error}); {_MEND}") from error

    def save(self, client: str, round_number: int, state: ClientState) -> None:
        """Keep a state as that after a round, then forget all but the newest of the earlier ones."""
        tensors = {
            f"{model}{_MODEL}{label}": tensor
            for model, components in sorted(state.models.items())
            for label, tensor in components.flat().items()
        }
        facts = {"models": sorted(state.models), "facts": dict(state.facts)}
        path = self._path(client, round_number)
        private_folder(private_folder(self._folder) / client)
        write_sealed_tensors(path, tensors, facts, self._identity(client, "state", round_number))
        path.chmod(FILE)
        self._known[client] = [*[n for n in self._known.get(client, []) if n < round_number][-1:], round_number]
        self._forget(client, round_number)

    def files(self, client: str, before: int) -> list[Path]:
        """Return the files that a request needs: the newest state from a round earlier than ``before``, and secrets."""
        earlier = [self._path(client, number) for number in self.rounds(client) if number < before]
        return [*earlier[-1:], *sorted((self._folder / client).glob("secret-*.json"))]

    def tidy(self, client: str) -> None:
        """Forget, of states that another store has made, what :meth:`save` would have forgotten."""
        rounds = self.rounds(client)
        if rounds:
            self._forget(client, rounds[-1])

    def forget_from(self, round_number: int) -> None:
        """Forget the states of all clients from a round on: what was made of them then is to be made anew."""
        for path in sorted(self._folder.glob("*/round-*.safetensors")):
            number = path.stem.removeprefix("round-")
            if number.isdecimal() and int(number) >= round_number:
                path.unlink(missing_ok=True)

    def _forget(self, client: str, newest: int) -> None:
        """Forget all but the newest of the states from before a round."""
        earlier = [number for number in self.rounds(client) if number < newest]
        for number in earlier[:-1]:
            self._path(client, number).unlink(missing_ok=True)

    def keep_secret(self, client: str, round_number: int, text: str) -> None:
        """Keep what a client must not lose within a round, and not tell; that of other rounds is forgotten."""
        path = self._secret(client, round_number)
        private_folder(private_folder(self._folder) / client)
        write_sealed_json(path, {"secret": text}, self._identity(client, "secret", round_number))
        path.chmod(0o600)
        for other in path.parent.glob("secret-*.json"):
            if other != path:
                other.unlink(missing_ok=True)

    def secret(self, client: str, round_number: int) -> str | None:
        """Return what :meth:`keep_secret` keeps for a round, or None."""
        path = self._secret(client, round_number)
        if not path.exists():
            return None
        mend = "remove it: the round begins anew without it"
        return str(read_sealed_json(path, self._identity(client, "secret", round_number), mend)["secret"])

    def forget_secret(self, client: str, round_number: int) -> None:
        """Forget it."""
        self._secret(client, round_number).unlink(missing_ok=True)

    def _identity(self, client: str, what: str, round_number: int) -> Identity:
        return {"what": what, "run": self._run, "client": client, "round": round_number}

    def _secret(self, client: str, round_number: int) -> Path:
        return self._folder / client / f"secret-{round_number:04d}.json"

    def _path(self, client: str, round_number: int) -> Path:
        return self._folder / client / f"round-{round_number:04d}.safetensors"
