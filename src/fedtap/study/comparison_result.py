"""``fedtap.ComparisonResult``: what a comparison leaves, at hand in Python. Not here: how it is made (compare.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedtap.reporting.comparison.summary import comparison_sentences
from fedtap.reporting.comparison.tables import SPLIT_NAMES, gains_grid
from fedtap.reporting.html.markup import Markup
from fedtap.results.frames import frame
from fedtap.results.run_result import RunResult
from fedtap.results.shown import Told
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded
from fedtap.study.study_result import StudyResult, check_fits, ends, read_study
from fedtap.study.variants import file_name

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedtap.reporting.html.svg import Drawing

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


class ComparisonResult(StudyResult):
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

    _file = "comparison"

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

    @property
    def methods(self) -> list[str]:
        """The labels of the methods that are compared."""
        return [str(method["method"]) for method in self.get("methods", [])]

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
        return self._run(file_name(method), seed)

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

    def _told(self) -> Told:
        heading = f"{self.get('scenario', '')} · {len(self.methods)} methods · seeds {', '.join(map(str, self.seeds))}"
        if "test" not in self.get("splits", {}):
            return heading, self.summary, Markup()
        return heading, self.summary, gains_grid(self["splits"]["test"], SPLIT_NAMES["test"], self["base"]).html()


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its interval as two columns."""
    found = {**row, **ends(row)}
    return found if "delta_percent" not in row else {**found, "percent": row["delta_percent"]}
