"""``fedtap.SweepResult``: what a sweep leaves, at hand in Python. Not here: how it is made (sweep.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.sweep.page import sweep_grids, sweep_sentences
from fedtap.reporting.sweep.panels import Panels, cost_panels, family_panels, gain_panels
from fedtap.reporting.sweep.series import scale_of
from fedtap.results.frames import frame
from fedtap.results.run_result import RunResult
from fedtap.results.shown import Told
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded
from fedtap.study.grid import point_name
from fedtap.study.study_result import StudyResult, check_fits, ends, read_study

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedtap.reporting.html.svg import Drawing

MEANS = ("family", "metric", "mean", "low", "high", "client_tasks")
GAIN = ("percent", "low", "high", "over", "wins", "losses", "n")
COSTS = ("steps_total", "bytes_down", "bytes_up", "seconds", "peak_rss_bytes")


class SweepResult(StudyResult):
    """A sweep of settings: as a dictionary what its sweep.json holds, with tables, figures and the way to its runs.

    Returned by :func:`fedtap.sweep`; :meth:`open` gives that of a folder. Its tables have a column for each swept setting, as
    text; intervals are of 95 %, from ``low`` to ``high``.

    Examples
    --------
    .. code-block:: python

        found = fedtap.sweep("quickstart", {"method.margin": [0.001, 0.01, 0.1]}, out="runs/margins", base="local")
        found.gains[["method.margin", "percent"]]
        found.plot_gains()
    """

    _file = "sweep"

    @classmethod
    def open(cls, folder: str | Path) -> SweepResult:
        """Return the sweep in its folder.

        Raises
        ------
        UserError
            If there is none, or its file is not what a sweep writes.
        """
        place = expanded(folder)
        found = cls(place, read_study(place, "sweep.json", "fedtap sweep", "axes", "points", "seeds"))
        check_fits(place / "sweep.json", lambda: (found._told(), found._gains(), found._families()))
        return found

    def __repr__(self) -> str:
        return f"SweepResult({str(self._folder)!r}: {len(self.settings)} settings of {', '.join(self.keys_swept)})"

    @property
    def keys_swept(self) -> list[str]:
        """The settings that were swept, the first of them the figures' axis."""
        return [str(axis["key"]) for axis in self.get("axes", [])]

    @property
    def settings(self) -> list[str]:
        """What each method at each setting is called."""
        return [str(point["setting"]) for point in self.get("points", [])]

    @property
    def summary(self) -> list[str]:
        """What the numbers say, in sentences."""
        return sweep_sentences(self) if self else []

    @property
    def gains(self) -> DataFrame:
        """The mean gain at each setting, by split, in percent; settings whose gain is over nothing are left out."""
        return frame(self._gains(), (*self._about, *GAIN))

    @property
    def families(self) -> DataFrame:
        """The mean of each family's metric at each setting, by split."""
        return frame(self._families(), (*self._about, *MEANS))

    @property
    def costs(self) -> DataFrame:
        """What a run costs at each setting, mean over seeds: steps, bytes, seconds, the most memory."""
        found = {row.get("method"): row for row in self._costs}
        points = self.get("points", [])
        rows = [
            {**point["settings"], **found.get(point["setting"], {}), "setting": point["setting"]} for point in points
        ]
        return frame(rows, ("setting", *self.keys_swept, *COSTS))

    def run(self, setting: str, seed: int | None = None) -> RunResult:
        """Return one of the runs; ``setting`` is one of :attr:`settings`, ``seed`` by default the first.

        Raises
        ------
        UserError
            If there is no such run.
        """
        points = {str(point["setting"]): point for point in self.get("points", [])}
        if setting not in points:
            raise UserError(f"no setting '{setting}' in {self._folder}; {nearest(setting, points)}")
        values = points[setting]["settings"]
        label = setting.removesuffix("".join(f", {key}={value}" for key, value in values.items()))
        return self._run(point_name(label, values), seed)

    def plot_gains(self) -> Drawing:
        """Return a figure of the mean gain against the first swept setting, a panel for each split.

        Raises
        ------
        UserError
            If no gains are given: clients differ from setting to setting, and no base was named.
        """
        panels = gain_panels(self) if self else {}
        if not panels:
            raise UserError(f"{self._folder}: there are no gains to draw; name a base, for example base='local'")
        return self._drawn(panels, zero=True)

    def plot_families(self) -> Drawing:
        """Return a figure of each family's metric on own test data against the first swept setting."""
        return self._drawn(family_panels(self) if self else {})

    def plot_cost(self) -> Drawing:
        """Return a figure of bytes and seconds of a run against the first swept setting."""
        return self._drawn(cost_panels(self, self._costs) if self else {})

    def _gains(self) -> list[Mapping[str, Any]]:
        return [
            {**about, **gain, "percent": gain["delta_percent"], **ends(gain)}
            for about, values in self._splits()
            if (gain := values.get("gain"))
        ]

    def _families(self) -> list[Mapping[str, Any]]:
        return [{**about, **row, **ends(row)} for about, values in self._splits() for row in values["rows"]]

    def _drawn(self, panels: Panels, *, zero: bool = False) -> Drawing:
        from fedtap.reporting.sweep.figures import panelled

        if not panels:
            raise UserError(f"{self._folder}: has no results to draw; are its runs finished?")
        return panelled(panels, scale_of(self["axes"][0]), zero=zero)

    @property
    def _about(self) -> tuple[str, ...]:
        return ("setting", "series", *self.keys_swept, "split")

    def _splits(self) -> list[tuple[dict[str, Any], Any]]:
        return [
            ({"setting": point["setting"], "series": point["series"], **point["settings"], "split": split}, values)
            for point in self.get("points", [])
            for split, values in point["splits"].items()
        ]

    def _told(self) -> Told:
        swept = ", ".join(f"{axis['key']} = {', '.join(axis['values'])}" for axis in self.get("axes", []))
        heading = f"{self.get('scenario', '')} · {swept}"
        return heading, self.summary, sweep_grids(self, self._costs)[0].html() if self else Markup()
