"""What a node remembers of the runs that it takes part in, apart from their folders: so that it sees when one of them is gone.

Private states lie in a run's folder below ``store``. Were that removed, the client would begin anew without a word, and its
account of private steps with it; this file, beside them, knows better. Not the states themselves (``store.py``), nor the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json

FILE = "runs.json"
_MEND = "restore it from a copy"


class Entry(BaseModel):
    """Of one run: the rounds of which states are held, a digest of the data, and whether anything was spent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rounds: list[Annotated[int, Field(ge=0)]] = []
    data: str | None = None
    spent: bool = False


class Journal:
    """One file of JSON, an entry a run. It is written whole or not at all, after what it tells of has been written.

    So a node that is killed in between finds more than its journal says, never less.
    """

    def __init__(self, store: Path, client: str, run: str) -> None:
        self.path = store / FILE
        self._of = {"what": "runs", "client": client}
        self._run = run

    def rounds(self) -> list[int]:
        """Return the rounds of the run of which states were last held."""
        return list(self._entry().rounds)

    def note_rounds(self, rounds: Sequence[int]) -> None:
        """Remember of which rounds states are held now."""
        if list(rounds) != self.rounds():
            self._write({"rounds": list(rounds)})

    def check_data(self, fingerprint: str) -> None:
        """Remember the data that the run goes by.

        Raises
        ------
        UserError
            If they were others when it began.
        """
        before = self._entry().data
        if before is not None and before != fingerprint:
            raise UserError(
                f"{self.path}: the client's data are others than when the run began; put back what it had, or start a new run"
            )
        if before is None:
            self._write({"data": fingerprint})

    @property
    def spent(self) -> bool:
        """Whether any run has spent something of the node's account of private steps."""
        return any(entry.spent for entry in self._read().values())

    def note_spent(self) -> None:
        """Remember that the account is not empty."""
        if not self._entry().spent:
            self._write({"spent": True})

    def _entry(self) -> Entry:
        return self._read().get(self._run, Entry())

    def _read(self) -> dict[str, Entry]:
        if not self.path.exists():
            return {}
        runs = read_sealed_json(self.path, self._of, _MEND).get("runs")
        if not isinstance(runs, dict):
            raise UserError(f"{self.path}: 'runs' must be entries by run; {_MEND}")
        try:
            return {run: Entry.model_validate(entry) for run, entry in runs.items()}
        except ValidationError as error:
            raise UserError(f"{self.path}: an entry is not what a node writes; {_MEND}") from error

    def _write(self, change: dict[str, Any]) -> None:
        runs = self._read()
        runs[self._run] = runs.get(self._run, Entry()).model_copy(update=change)
        told = {run: entry.model_dump(exclude_defaults=True) for run, entry in runs.items()}
        write_sealed_json(self.path, {"runs": told}, self._of)
