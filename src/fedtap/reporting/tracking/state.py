"""tracking.json: what is known of a run in each tracker, so that a resumed run goes on there, and tells nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json

FILE = "tracking.json"
_MEND = "remove it: then the run is tracked as a new one"


@dataclass(frozen=True, slots=True)
class Place:
    """Of a run in one tracker: its id there, the last round that was told, and of how many rounds the results were."""

    id: str
    round: int = 0
    final: int = 0


class _PlaceTold(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    round: Annotated[int, Field(ge=0, le=2_000_000)]
    final: Annotated[int, Field(ge=0, le=2_000_000)]


class _Told(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    trackers: Annotated[dict[str, _PlaceTold], Field(max_length=20)]


class TrackingState:
    """What tracking.json says of a run, read once and written whenever something was told.

    Parameters
    ----------
    folder
        The run's.
    run
        The run's name in all its files.

    Raises
    ------
    UserError
        If the file is damaged, or of another run.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._path, self._of = folder / FILE, {"what": "tracking", "run": run}
        self._places: dict[str, Place] = {}
        if self._path.exists():
            told = read_sealed_json(self._path, self._of, _MEND)
            try:
                found = _Told.model_validate(told).trackers
            except ValidationError as error:
                raise UserError(f"{self._path}: not what a run writes; {_MEND}") from error
            self._places = {name: Place(**place.model_dump()) for name, place in found.items()}

    def __getitem__(self, tracker: str) -> Place | None:
        """Return what is known of the run in a tracker, if it is there."""
        return self._places.get(tracker)

    def begun(self, tracker: str, id: str) -> None:
        """Note by what a tracker knows the run."""
        if tracker not in self._places or self._places[tracker].id != id:
            self._places[tracker] = Place(id)
            self._write()

    def told(self, tracker: str, *, round: int | None = None, final: int | None = None) -> None:
        """Note which ``round`` a tracker was told, or of how many rounds the ``final`` results."""
        place = self._places[tracker]
        self._places[tracker] = replace(
            place, round=place.round if round is None else round, final=place.final if final is None else final
        )
        self._write()

    def _write(self) -> None:
        told: Mapping[str, Any] = {name: asdict(place) for name, place in self._places.items()}
        write_sealed_json(self._path, {"trackers": told}, self._of)
