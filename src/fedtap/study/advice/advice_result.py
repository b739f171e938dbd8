"""``fedtap.AdviceResult``: what pilots leave, at hand in Python. Not here: how they are made (advise.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.reporting.advice.sentences import advice_sentence, advice_sentences
from fedtap.reporting.advice.tables import advice_grid
from fedtap.reporting.html.markup import Markup
from fedtap.results.frames import frame
from fedtap.results.run_result import RunResult
from fedtap.results.shown import Told
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded
from fedtap.study.comparison_result import ComparisonResult
from fedtap.study.study_result import StudyResult, check_fits, ends, read_rows, read_study
from fedtap.study.variants import file_name

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = (
    "method",
    "standing",
    "seeds",
    "percent",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_shared",
    "hurt",
    "hurt_by_federated",
    "clients",
    "steps",
    "bytes",
)
COSTS = ("method", "seeds", "steps_total", "bytes_down", "bytes_up", "seconds", "peak_rss_bytes")


class AdviceResult(StudyResult):
    """Advice on a federation: as a dictionary what its advice.json holds, with the sentence, the table and the way to the runs.

    Returned by :func:`fedtap.advise`; :meth:`open` gives that of a folder. Intervals are of 95 %, from ``low`` to ``high``.

    Examples
    --------
    .. code-block:: python

        found = fedtap.advise("mine.yaml", out="runs/advice")
        print(found.advice)
        found.frame[["method", "standing", "percent", "low", "high"]]
        found.comparison.plot_gains()
    """

    _file = "comparison"

    @classmethod
    def open(cls, folder: str | Path) -> AdviceResult:
        """Return the advice in its folder.

        Raises
        ------
        UserError
            If there is none, or its file is not what `fedtap advise` writes.
        """
        place = expanded(folder)
        found = cls(place, read_study(place, "advice.json", "fedtap advise", "rows", "kept", "tied", "use", "seeds"))
        check_fits(place / "advice.json", lambda: (found._told(), found._rows(), found.methods.index(found.method)))
        return found

    def __repr__(self) -> str:
        return f"AdviceResult({str(self._folder)!r}: {self.method})"

    @property
    def method(self) -> str:
        """The label of the method that is advised."""
        return str(self.get("use", ""))

    @property
    def advice(self) -> str:
        """The advice, in a sentence or two."""
        return advice_sentence(self) if self else ""

    @property
    def summary(self) -> list[str]:
        """The advice, what it rests on, what it cost, and what more would cost, in sentences."""
        return advice_sentences(self, self._costs) if self else []

    @property
    def methods(self) -> list[str]:
        """The labels of the methods that were tried, the highest mean gain first."""
        return [str(row["method"]) for row in self.get("rows", [])]

    @property
    def frame(self) -> DataFrame:
        """Each method's mean relative gain over the base, how it stands to the first, how many clients it hurts, what it asks."""
        return frame(self._rows(), ROWS)

    @property
    def costs(self) -> DataFrame:
        """What a run of each method cost, mean over its seeds: steps, bytes, seconds, the most memory."""
        return frame(self._costs, COSTS)

    @property
    def comparison(self) -> ComparisonResult:
        """The comparison of the methods that came through to the last rung, with all of its seeds."""
        return ComparisonResult.open(self._folder)

    def run(self, method: str, seed: int | None = None) -> RunResult:
        """Return one of the runs; ``seed`` is by default the first.

        Raises
        ------
        UserError
            If there is no such run; a method that is out has fewer seeds than the others.
        """
        if method not in self.methods:
            raise UserError(f"no method '{method}' in {self._folder}; {nearest(method, self.methods)}")
        return self._run(file_name(method), seed)

    def _rows(self) -> list[Mapping[str, Any]]:
        """Return the rows with each interval, and each share of clients, as columns."""
        found: list[Mapping[str, Any]] = []
        for row in self.get("rows", []):
            between = ends({"ci95": row["difference_ci95"]})
            (hurt, clients), (by_federated, _) = row["hurt_base"] or (None, None), row["hurt_yardstick"] or (None, None)
            found.append(
                {
                    **row,
                    **ends(row),
                    "percent": row["delta_percent"],
                    "difference_low": between["low"],
                    "difference_high": between["high"],
                    "hurt": hurt,
                    "hurt_by_federated": by_federated,
                    "clients": clients,
                }
            )
        return found

    @cached_property
    def _costs(self) -> list[Mapping[str, Any]]:
        """The rows of advice-costs.json."""
        return read_rows(self._folder / "advice-costs.json")

    def _told(self) -> Told:
        if not self:
            return "", [], Markup()
        heading = f"{self.get('scenario', '')} · {len(self.methods)} methods · {self.get('runs', 0)} runs"
        return heading, self.summary, advice_grid(self).html()
