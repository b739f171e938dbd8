"""What the results of a comparison and of a sweep have in common: their folder, costs, runs and how a notebook shows them.

Not here: what is in them (comparison_result.py, sweep_result.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fedtap.results.run_result import RunResult
from fedtap.results.shown import Told, shown
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.storage import read_json
from fedtap.runtime.text import one_line

UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class StudyResult(dict[str, Any], ABC):
    """What many runs came to: as a dictionary what the JSON file of its folder holds."""

    _file: ClassVar[str]
    """What the page and the JSON file are called, without what their names end with."""

    def __init__(self, folder: str | Path, told: Mapping[str, Any]) -> None:
        super().__init__(told)
        self._folder = Path(folder)

    def _repr_html_(self) -> str:
        return shown(self._told, self.report)

    @abstractmethod
    def _told(self) -> Told:
        """Return what a notebook shows."""

    @property
    def folder(self) -> Path:
        """Where the study is, its runs below it."""
        return self._folder

    @property
    def seeds(self) -> list[int]:
        """The seeds that every run was made with."""
        return list(self.get("seeds", []))

    @property
    def report(self) -> Path:
        """The page of the study."""
        return self._folder / f"{self._file}.html"

    def _run(self, name: str, seed: int | None) -> RunResult:
        """Return a run by what the study's runs are called, and its seed, by default the first."""
        known = [str(each) for each in self.seeds]
        chosen = str(seed) if seed is not None else known[0] if known else "0"
        if chosen not in known:
            raise UserError(f"no seed {chosen} in {self._folder}; {nearest(chosen, known)}")
        return RunResult.open(self._folder / "runs" / f"{name}-seed{chosen}")

    @cached_property
    def _costs(self) -> list[Mapping[str, Any]]:
        """The rows of costs.json."""
        return read_rows(self._folder / "costs.json")


def read_rows(path: Path) -> list[Mapping[str, Any]]:
    """Return the rows in a JSON file of costs; raises :class:`UserError` if it holds none."""
    told = read_json(path)
    rows = told.get("rows") if isinstance(told, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: holds no rows; restore it from a copy")
    return rows


def read_study(folder: Path, name: str, command: str, *keys: str) -> Mapping[str, Any]:
    """Return what a study's JSON file holds; raises :class:`UserError` if there is none, or it lacks one of the keys."""
    if not (folder / name).is_file():
        raise UserError(f"{folder}: holds no {name}; give the folder of a finished `{command}`")
    told = read_json(folder / name)
    lacking = [key for key in keys if not isinstance(told, dict) or key not in told]
    if lacking:
        raise UserError(
            f"{folder / name}: '{lacking[0]}' is missing; restore the file, or give the same `{command}` again"
        )
    found: Mapping[str, Any] = told
    return found


def check_fits(path: Path, look: Callable[[], object]) -> None:
    """Raise :class:`UserError` if what is made of a file cannot be made of it: somebody else may have written it."""
    try:
        look()
    except UNFIT as error:
        told = one_line(f"{type(error).__name__}: {error}", 120)
        raise UserError(f"{path}: is not what a study writes ({told}); restore it from a copy") from error


def ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's interval as two columns."""
    low, high = row.get("ci95") or (None, None)
    return {"low": low, "high": high}
