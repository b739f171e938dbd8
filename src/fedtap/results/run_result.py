"""``fedtap.RunResult``: what a run leaves, at hand in Python. Not here: how it is made (experiment), and shown (reporting)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.reporting.run.decisions import timelines
from fedtap.reporting.run.headline import comparisons, deployed_model
from fedtap.reporting.run.headline import sentences as headline
from fedtap.reporting.run.record import RunRecord, read_results, read_run
from fedtap.reporting.run.series import loss_curves, round_seconds, traffic
from fedtap.reporting.run.standings import standings
from fedtap.reporting.run.tables import family_table
from fedtap.results import run_tables
from fedtap.results.frames import frame
from fedtap.results.shown import Told, shown
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedtap.models.personal_model import PersonalModel
    from fedtap.reporting.html.svg import Drawing
    from fedtap.reporting.run.gains import Comparison


class RunResult(dict[str, Any]):
    """A finished run: as a dictionary what its results.json holds, and as attributes the rest of its folder.

    Returned by :func:`fedtap.run`; :meth:`open` gives that of a folder. Beyond results.json nothing is read before it is asked
    for, and everything is read once. Tables are data frames of pandas (extra ``pandas``), figures are matplotlib's; a notebook
    shows both, and a result too.

    Examples
    --------
    .. code-block:: python

        result = fedtap.run("quickstart")
        result.gains.sort_values("percent")  # who gains least from its personal model
        result.plot_losses().savefig("losses.pdf")
        result.personal("c1").predict(task="sentiment", text="a warm and funny film")
    """

    def __init__(self, folder: str | Path, results: Mapping[str, Any]) -> None:
        super().__init__(results)
        self._folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> RunResult:
        """Return the result of a finished run in its folder.

        Raises
        ------
        UserError
            If there is no such folder, no finished run in it, or results.json is not what the run left.
        """
        place = expanded(folder)
        return cls(place, read_results(place))

    def __repr__(self) -> str:
        return f"RunResult({str(self._folder)!r}: {self.method}, seed {self.seed})"

    def _repr_html_(self) -> str:
        return shown(self._told, self._folder / "report.html")

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self._folder

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self["method"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self["seed"])

    @property
    def scenario(self) -> str:
        """The scenario's name."""
        return str(self._record.config.get("name") or self._record.run.get("scenario") or "")

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved scenario, as run.json holds it."""
        return self._record.config

    @property
    def clients(self) -> list[str]:
        """The clients' names, those that never took part too."""
        return [str(client["id"]) for client in self._record.clients]

    @property
    def deployed(self) -> str:
        """Which of its models a client would use."""
        return deployed_model(self._record.run, self._standings)

    @property
    def headline(self) -> list[str]:
        """The result in a sentence or two, as on top of the report."""
        return headline(self._comparisons, self.deployed, self._standings)

    @property
    def results(self) -> DataFrame:
        """Every value: client, task, family, model, split (``test``, ``cross``, ``unseen``), metric, value, n (examples)."""
        return frame(self["rows"], run_tables.RESULTS)

    @property
    def gains(self) -> DataFrame:
        """The deployed model against each rival on every client's task, on the client's own test data.

        ``percent`` is the relative gain over ``base``, more is better; ``p`` that of the paired test on the same examples,
        after Holm's correction, missing where nothing can be said; ``beyond_noise`` whether it is below 5 %.
        """
        return frame(run_tables.gains(self._comparisons), run_tables.GAINS)

    @property
    def rounds(self) -> DataFrame:
        """Each round: how many clients answered and were lost, seconds, bytes, replacements of those weighed, mean losses."""
        rows = run_tables.rounds(self._record.events)
        losses = dict.fromkeys(key for row in rows for key in row if key not in run_tables.ROUNDS)
        return frame(rows, (*run_tables.ROUNDS, *losses))

    @property
    def losses(self) -> DataFrame:
        """The mean training loss of each model of each client's task, by round."""
        return frame(run_tables.losses(self._record.events, self._record.pairs()), run_tables.LOSSES)

    @property
    def validation(self) -> DataFrame:
        """What models scored on clients' own validation data, by round, where ``evaluation.validation_every`` asked for it.

        A row for each metric of each model of a client's task: of the model as the client had just trained it, and of its
        personal one.
        """
        return frame(run_tables.validation(self._record.events), run_tables.VALIDATION)

    @property
    def decisions(self) -> DataFrame:
        """What was decided on personal models: in the rounds (``replace``), and after the last (``distil``).

        ``changed`` tells whether the personal model became another, ``first`` whether there was no choice yet.
        """
        return frame(run_tables.decided(self._record.events), run_tables.DECISIONS)

    @property
    def cost(self) -> DataFrame:
        """What the run cost: seconds by phase and in all, bytes, steps, the most memory."""
        return frame(run_tables.cost(self._record.cost), run_tables.COST)

    def plot_gains(self, over: str | None = None) -> Drawing:
        """Return a figure of every client task's gain; ``over`` names a rival, by default the strongest kind that there is.

        Raises
        ------
        UserError
            If the run has no such rival.
        """
        from fedtap.results.run_plots import gains

        return gains(self._against(over))

    def plot_losses(self) -> Drawing:
        """Return a figure of the mean training losses by round, a panel for each family of tasks.

        Raises
        ------
        UserError
            If the run's log has no losses.
        """
        from fedtap.results.run_plots import losses

        curves = loss_curves(self._record.events, self._record.pairs())
        if not curves:
            raise UserError(
                f"{self._folder}: its log has no losses; where noise makes updates private they stay at clients"
            )
        return losses(curves)

    def plot_decisions(self) -> Drawing:
        """Return a figure of when the federated model took the personal one's place, client task by client task.

        Raises
        ------
        UserError
            If nothing of the kind was decided.
        """
        from fedtap.results.run_plots import replacements

        lines = timelines(self._record.events, list(self._record.pairs()))
        if not lines:
            raise UserError(
                f"{self._folder}: method '{self.method}' replaced no models, so that there is nothing to draw"
            )
        return replacements(lines)

    def plot_cost(self) -> Drawing:
        """Return a figure of the bytes and the seconds of each round."""
        from fedtap.results.run_plots import cost

        return cost(traffic(self._record.events), round_seconds(self._record.events))

    def personal(self, client: str, model: str | None = None, *, device: str = "cpu") -> PersonalModel:
        """Return a client's model, to be asked or saved; ``model`` names one, by default the one that the method deploys.

        Raises
        ------
        UserError
            If there is no such client or model, or the run saved none (``evaluation.save``).
        """
        from fedtap.models.personal_model import PersonalModel

        return PersonalModel.from_run(self._folder, client, model, device=device)

    @property
    def report(self) -> Path:
        """The report, one HTML file; it is written first where it is missing."""
        path = self._folder / "report.html"
        if not path.exists():
            from fedtap.reporting.run.report import write_report

            write_report(self._folder)
        return path

    @cached_property
    def _record(self) -> RunRecord:
        record = read_run(self._folder)
        if record.rows != self["rows"]:
            raise UserError(
                f"{self._folder}: holds other results than these, of a run that went on or was made anew; open it again: "
                f"fedtap.RunResult.open({str(self._folder)!r})"
            )
        return record

    @cached_property
    def _standings(self) -> list[Any]:
        return standings(self["rows"], self._record.config)

    @cached_property
    def _comparisons(self) -> list[Comparison]:
        return comparisons(self._record.run, self._standings, self._record.outcomes)

    def _against(self, over: str | None) -> Comparison:
        found = {each.other: each for each in self._comparisons}
        if not found:
            raise UserError(f"{self._folder}: the run has no other model that '{self.deployed}' could be held against")
        if over is not None and over not in found:
            raise UserError(
                f"over '{over}': the run has no such model beside '{self.deployed}'; {nearest(over, found)}"
            )
        return found[over] if over is not None else next(iter(found.values()))

    def _told(self) -> Told:
        heading = f"{self.scenario} · {self.method} · seed {self.seed}"
        return heading, self.headline, family_table(self._standings)
