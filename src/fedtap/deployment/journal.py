"""What a node remembers of the runs that it takes part in, apart from their folders: so that it sees when one of them is gone.

Private states lie in a run's folder below ``store``. Were that removed, the client would begin anew without a word, and its
account of private steps with it; this file, beside them, knows better. Not the states themselves (``store.py``), nor the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json

FILE = "runs.json"


class Journal:
    """One file of JSON: by run the rounds of which states are held, a digest of the data, and whether anything was spent."""

    def __init__(self, store: Path, client: str, run: str) -> None:
        self.path = store / FILE
        self._of = {"what": "runs", "client": client}
        self._run = run

    def rounds(self) -> list[int]:
        """Return the rounds of the run of which states were last held."""
        return [int(number) for number in self._entry().get("rounds", [])]

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
        before = self._entry().get("data")
        if before is not None and before != fingerprint:
            raise UserError(
                f"{self.path}: the client's data are others than when the run began; put back what it had, or start a new run"
            )
        if before is None:
            self._write({"data": fingerprint})

    @property
    def spent(self) -> bool:
        """Whether any run has spent something of the node's account of private steps."""
        return any(entry.get("spent") for entry in self._read().values())

    def note_spent(self) -> None:
        """Remember that the account is not empty."""
        if not self._entry().get("spent"):
            self._write({"spent": True})

    def _entry(self) -> dict[str, Any]:
        return dict(self._read().get(self._run, {}))

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        runs = read_sealed_json(self.path, self._of, "restore it from a copy").get("runs")
        if not isinstance(runs, dict) or not all(isinstance(entry, dict) for entry in runs.values()):
            raise UserError(f"{self.path}: 'runs' must be entries by run; restore it from a copy")
        return runs

    def _write(self, change: dict[str, Any]) -> None:
        runs = self._read()
        runs[self._run] = {**runs.get(self._run, {}), **change}
        write_sealed_json(self.path, {"runs": runs}, self._of)
