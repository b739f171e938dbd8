"""``fedtap.ComparisonResult``: what a comparison leaves, at hand in Python. Not here: how it is made (compare.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedtap.reporting.comparison.summary import comparison_sentences
from fedtap.reporting.comparison.tables import SPLIT_NAMES, gains_grid
from fedtap.reporting.html.markup import Markup
from fedtap.results.frames import frame
from fedtap.results.run_result import RunResult
from fedtap.results.shown import Told, shown
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded
from fedtap.runtime.storage import read_json
from fedtap.runtime.text import one_line
from fedtap.study.variants import file_name

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedtap.reporting.html.svg import Drawing

UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
SCOPES = ("all", "without_reconstruction")
GAINS = (
    "split",
    "scope",
    "method",
    "percent",
    "low",
    "high",
    "wins",
    "losses",
    "n",
    "worst_decile",
    "client_tasks",
    "of",
    "seeds",
)
FAMILIES = (
    "split",
    "method",
    "family",
    "metric",
    "primary",
    "mean",
    "low",
    "high",
    "client_tasks",
    "seeds",
)
TESTS = ("split", "scope", "method", "against", "difference", "low", "high", "p", "p_holm", "wins", "losses", "n")
COSTS = ("method", "steps_total", "bytes_down", "bytes_up", "seconds", "peak_rss_bytes")


class ComparisonResult(dict[str, Any]):
    """A comparison of methods: as a dictionary what its comparison.json holds, with tables, figures and the way to its runs.

    Returned by :func:`fedtap.compare`; :meth:`open` gives that of a folder. Intervals are of 95 %, from ``low`` to ``high``.

    Examples
    --------
    .. code-block:: python

        found = fedtap.compare("quickstart", "local,fedavg_ft,tap", seeds=(0, 1, 2), out="runs/three")
        found.gains.query("split == 'test' and scope == 'all'")
        found.plot_gains()
        found.run("tap", seed=1).report
    """

    def __init__(self, folder: str | Path, comparison: Mapping[str, Any]) -> None:
        super().__init__(comparison)
        self._folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> ComparisonResult:
        """Return the comparison in its folder.

        Raises
        ------
        UserError
            If there is none, or its file is not what a comparison writes.
        """
        place = expanded(folder)
        found = cls(place, read_study(place, "comparison.json", "fedtap compare", "methods", "seeds", "splits"))
        check_fits(place / "comparison.json", lambda: (found._told(), found._rows()))
        return found

    def __repr__(self) -> str:
        return f"ComparisonResult({str(self._folder)!r}: {', '.join(self.methods)})"

    def _repr_html_(self) -> str:
        return shown(self._told, self.report)

    @property
    def folder(self) -> Path:
        """Where the comparison is, its runs below it."""
        return self._folder

    @property
    def methods(self) -> list[str]:
        """The labels of the methods that are compared."""
        return [str(method["method"]) for method in self.get("methods", [])]

    @property
    def seeds(self) -> list[int]:
        """The seeds that every method was run with."""
        return list(self.get("seeds", []))

    @property
    def report(self) -> Path:
        """The page of the comparison."""
        return self._folder / "comparison.html"

    @property
    def summary(self) -> list[str]:
        """What the numbers say, in sentences."""
        return comparison_sentences(self) if self else []

    @property
    def gains(self) -> DataFrame:
        """Each method's mean relative gain over the base, by split and scope (``all``, ``without_reconstruction``)."""
        return frame(self._scoped("delta"), GAINS)

    @property
    def families(self) -> DataFrame:
        """Each method's mean metrics by split and family of tasks; ``primary`` marks the metric that counts."""
        rows = ((split, row) for split, values in self._splits() for row in values["rows"])
        return frame(({**_plain(row), "split": split} for split, row in rows), FAMILIES)

    @property
    def tests(self) -> DataFrame:
        """Each method against the one that is named, or best: the paired difference and its p-values, before and after Holm."""
        return frame(self._scoped("against"), TESTS)

    @property
    def pairs(self) -> DataFrame:
        """Every pair of methods on own test data, with Holm's correction over all of them."""
        return frame(({**_plain(row), "split": "test", "scope": "all"} for row in self.get("pairs", [])), TESTS)

    @property
    def costs(self) -> DataFrame:
        """What a run of each method costs, mean over seeds: steps, bytes, seconds, the most memory."""
        return frame(self._costs, COSTS)

    def run(self, method: str, seed: int | None = None) -> RunResult:
        """Return one of the runs; ``seed`` is by default the first.

        Raises
        ------
        UserError
            If there is no such run.
        """
        if method not in self.methods:
            raise UserError(f"no method '{method}' in {self._folder}; {nearest(method, self.methods)}")
        return opened_run(self._folder, file_name(method), self.seeds, seed)

    def plot_gains(self) -> Drawing:
        """Return a figure of the mean gains with their intervals, a panel for each split.

        Raises
        ------
        UserError
            If nothing was compared.
        """
        from fedtap.reporting.comparison.figures import forest

        return forest(self._something()["splits"], self["base"], seeds=len(self.seeds))

    def plot_trade(self) -> Drawing:
        """Return a figure of what each method gains on own data against what it gains on other clients' data.

        Raises
        ------
        UserError
            If nothing was tested on other clients' data.
        """
        from fedtap.reporting.comparison.figures import trade

        cross = self._something()["splits"].get("cross")
        if cross is None:
            raise UserError(f"{self._folder}: no method was tested on other clients' data (evaluation.cross_examples)")
        return trade(self["delta"], cross["all"]["delta"], seeds=len(self.seeds))

    def plot_cost(self, what: Literal["bytes", "steps", "seconds"] = "bytes") -> Drawing:
        """Return a figure of what each method gains against what a run of it costs.

        Raises
        ------
        UserError
            If ``what`` is none of the three, or nothing was compared.
        """
        from fedtap.reporting.comparison.figures import COSTS, spent

        if what not in COSTS:
            raise UserError(f"plot_cost('{what}'): {nearest(what, COSTS)}")
        self._something()
        return spent(self["delta"], self._costs, self["base"], what, seeds=len(self.seeds))

    def _rows(self) -> list[Mapping[str, Any]]:
        """Return all rows that tables are made of."""
        rows = [row for _, values in self._splits() for row in values["rows"]]
        return [*self._scoped("delta"), *self._scoped("against"), *map(_plain, [*rows, *self.get("pairs", [])])]

    def _splits(self) -> list[tuple[str, Any]]:
        return list(self.get("splits", {}).items())

    def _scoped(self, key: str) -> Iterator[Mapping[str, Any]]:
        for split, values in self._splits():
            for scope in SCOPES:
                for row in values.get(scope, {}).get(key, []):
                    yield {**_plain(row), "split": split, "scope": scope}

    def _something(self) -> ComparisonResult:
        if not self.get("delta"):
            raise UserError(f"{self._folder}: nothing was compared with another method; give two methods at the least")
        return self

    @cached_property
    def _costs(self) -> list[Mapping[str, Any]]:
        return read_costs(self._folder)

    def _told(self) -> Told:
        heading = f"{self.get('scenario', '')} · {len(self.methods)} methods · seeds {', '.join(map(str, self.seeds))}"
        if "test" not in self.get("splits", {}):
            return heading, self.summary, Markup()
        return heading, self.summary, gains_grid(self["splits"]["test"], SPLIT_NAMES["test"], self["base"]).html()


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


def read_costs(folder: Path) -> list[Mapping[str, Any]]:
    """Return the rows of costs.json; raises :class:`UserError` if it cannot be read."""
    told = read_json(folder / "costs.json")
    rows = told.get("rows") if isinstance(told, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{folder / 'costs.json'}: holds no rows; restore it from a copy")
    return rows


def opened_run(folder: Path, name: str, seeds: Iterable[int], seed: int | None) -> RunResult:
    """Return a run of a study by what its runs are called, and its seed, by default the first."""
    known = [str(each) for each in seeds]
    chosen = str(seed) if seed is not None else known[0] if known else "0"
    if chosen not in known:
        raise UserError(f"no seed {chosen} in {folder}; {nearest(chosen, known)}")
    return RunResult.open(folder / "runs" / f"{name}-seed{chosen}")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its interval as two columns."""
    low, high = row.get("ci95") or (None, None)
    found = {**row, "low": low, "high": high}
    return found if "delta_percent" not in row else {**found, "percent": row["delta_percent"]}
