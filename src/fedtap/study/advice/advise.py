"""``fedtap advise``: pilots of a few methods on the user's own federation, until one is ahead, or nothing tells the rest apart.

Pilots are ordinary runs of a comparison, in its folder, by its harness: `fedtap compare` goes on from them. Not here: who is out
and when to stop (halving.py), and what is made of it (verdict.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap.experiment.provenance import provenance
from fedtap.metrics import primary_metrics
from fedtap.reporting.html.formatting import listed, plural
from fedtap.reporting.progress.choice import batch_progress
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.lock import locked
from fedtap.runtime.overrides import Overrides
from fedtap.runtime.storage import write_bytes, write_json
from fedtap.scenario.scenario import Scenario
from fedtap.study.advice.advice_result import AdviceResult
from fedtap.study.advice.candidates import candidates
from fedtap.study.advice.halving import FIRST, Gains, Race, Rung, Terms, halve
from fedtap.study.advice.price import Price
from fedtap.study.advice.verdict import verdict
from fedtap.study.batch import Job, Observer, reports_of
from fedtap.study.compare import BASE, RECORD, about, jobs_of, write_comparison
from fedtap.study.folder import begin, checked_seeds, describe, failure, prepared, run_all, tell
from fedtap.study.outcome import COUNTED, MEASURED, cost_rows, gather
from fedtap.study.statistics import Gain, client_task_gains
from fedtap.study.variants import Variant

SCHEMA = 1
YARDSTICK = "fedavg"
"""By which the federated model is meant, where it is among the methods: the same for all."""
SEEDS = tuple(range(6))


def advise(
    scenario: str | Path | Scenario,
    methods: str | Sequence[str] | None = None,
    *,
    out: str | Path,
    seeds: Sequence[int] = SEEDS,
    budget: int | None = None,
    tolerance: float = 1.0,
    overrides: Overrides = (),
    jobs: int | None = None,
    device: str = "auto",
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
) -> AdviceResult:
    """Say which method a federation should use, from pilots on it, and what it took to know.

    All methods run with three seeds; those that are then behind the first by more than noise are out, the others run with twice
    as many, and so on, until one is left, all that are left are level, or the seeds or the budget are used.

    Parameters
    ----------
    scenario
        A YAML file, or a scenario already loaded (then ``overrides`` must be empty).
    methods
        Labels, as for :func:`fedtap.compare`; by default local, fedavg, fedavg_ft, fedper, choice, tap and tap_best, and the
        scenario's own. ``local`` is always among them.
    out
        The folder, which may be that of a comparison of the same scenario: ``runs/<method>-seed<seed>``, advice.json, advice.md,
        advice-costs.json, and the comparison of the methods that came through to the last rung.
    seeds
        All that there may be, in the order in which they are used.
    budget
        How many runs there may be, those that are finished already counted too; None: as many as it takes.
    tolerance
        Points of percent of gain; methods whose difference is surely smaller are level.
    overrides, jobs, device, observers, progress
        As for :func:`fedtap.compare`.

    Returns
    -------
    AdviceResult
        A dictionary of what advice.json holds, which has the advice as a sentence, its table, the comparison and the runs as
        attributes.

    Raises
    ------
    UserError
        If anything given is wrong, or ``out`` holds another comparison; nothing is run then.
    RunError
        If runs failed; it names them. The advice is written nevertheless over the methods that have all their runs, if there are
        two.
    """
    loaded = prepared(scenario, overrides)
    entered = candidates(loaded, methods, observers)
    terms = _terms(entered, seeds, budget, tolerance)
    folder = Path(out)
    plan = jobs_of(entered, terms.seeds, folder)
    everything = [job for its in plan.values() for job in its]
    with locked(folder), batch_progress(progress) as shown:
        observers = (*observers, *shown)
        begin(folder, RECORD, describe(loaded), everything, device=device, at_a_time=jobs)
        pilots = _Pilots(folder, loaded, entered, plan, jobs, device, observers)
        race = halve([entry.label for entry in entered], terms, pilots.play)
        result = _write(folder, loaded, pilots, race, terms) if race.looks else {}
    if pilots.failed:
        raise RunError(failure(pilots.failed, race.spent, "advice.md" if result else ""))
    return AdviceResult(folder, result)


def _terms(entered: Sequence[Variant], seeds: Sequence[int], budget: int | None, tolerance: float) -> Terms:
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UserError(f"--tolerance {tolerance}: give points of percent, 0 or more")
    terms = Terms(BASE, tuple(checked_seeds(seeds)), budget, tolerance)
    many = len(entered)
    if budget is not None and budget < many:
        more = f", {FIRST * many} for {FIRST} seeds of each" if len(terms.seeds) >= FIRST else ""
        raise UserError(
            f"--budget {budget}: a run of each of the {many} methods takes {many}; give that at the least{more}, or name fewer "
            "with --methods"
        )
    return terms


class _Pilots:
    """What has been run: gains and costs of each method over all seeds that it has, and why others are left out."""

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        entered: Sequence[Variant],
        plan: Mapping[str, Sequence[Job]],
        at_a_time: int | None,
        device: str,
        observers: Sequence[Observer],
    ) -> None:
        self.entered = {entry.label: entry for entry in entered}
        self.plan = plan
        self.gains: dict[str, list[Gain]] = {}
        self.costs: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.incomplete: dict[str, str] = {}
        self._folder, self._at_a_time, self._device, self._observers = folder, at_a_time, device, observers
        self._deployed = {label: entry.algorithm.deployed for label, entry in self.entered.items()}
        self._served = {label: entry.served() for label, entry in self.entered.items()}
        self._primary = primary_metrics(pair for client in scenario.clients for pair in client.pairs)
        self._rungs = 0

    def play(self, rung: Rung) -> Gains:
        """Do a rung's runs, and return the gains of those that have all of theirs; nothing if the base has not."""
        self._rungs += 1
        self._tell(rung)
        new = [job for label in rung.runners for job in self._its(label, rung)[-rung.added :]]
        failed = run_all(
            self._folder, RECORD, new, at_a_time=self._at_a_time, device=self._device, observers=self._observers
        )
        self.failed |= failed
        gathered = gather({label: self._its(label, rung) for label in rung.runners}, self.failed)
        if BASE in gathered.labels:
            gathered.drop_silent(BASE, self._deployed, self._served)
        self.incomplete |= gathered.incomplete
        if BASE not in gathered.labels:
            return {}
        found = {
            label: client_task_gains(gathered.runs, label, base=BASE, deployed=self._deployed, primary=self._primary)
            for label in gathered.labels
        }
        self.gains |= found
        for row in cost_rows(gathered, (*COUNTED, *MEASURED)):
            self.costs[row["method"]] = {**row, "seeds": len(rung.seeds)}
        return found

    def prices(self) -> dict[str, Price]:
        """Return what a run of each method takes."""
        return {
            label: Price(
                label,
                cost["steps_total"],
                cost["bytes_down"] + cost["bytes_up"],
                len(self.entered[label].algorithm.model_names),
            )
            for label, cost in self.costs.items()
        }

    def _its(self, label: str, rung: Rung) -> Sequence[Job]:
        return self.plan[label][: len(rung.seeds)]

    def _tell(self, rung: Rung) -> None:
        if rung.set_aside:
            names = listed(rung.set_aside, most=len(rung.set_aside))
            tell(self._observers, f"set aside for want of budget, not shown to be worse: {names}")
        names = listed(rung.methods, most=len(rung.methods))
        beside = "" if rung.base in rung.methods else f", and {rung.base} as the base"
        seeds = ", ".join(map(str, rung.seeds[-rung.added :]))
        tell(
            self._observers,
            f"rung {self._rungs}: {names}{beside}; seed{'' if rung.added == 1 else 's'} {seeds}, {plural(rung.runs, 'run')}",
        )


def _write(folder: Path, scenario: Scenario, pilots: _Pilots, race: Race, terms: Terms) -> dict[str, Any]:
    """Write the advice, and the comparison of those that came through to the last rung."""
    found = verdict(race, pilots.gains, pilots.prices(), base=BASE, yardstick=YARDSTICK)
    rows = {row["method"] for row in found["rows"]}
    result = {
        "schema": SCHEMA,
        **provenance(),
        "scenario": scenario.name,
        "config": describe(scenario)["config"],
        "base": BASE,
        "yardstick": YARDSTICK if YARDSTICK in rows else None,
        "asked": {"seeds": list(terms.seeds), "budget": terms.budget},
        "tolerance": terms.tolerance,
        "methods": [about(entry) for label, entry in pilots.entered.items() if label in rows],
        "incomplete": [{"method": label, "why": why} for label, why in pilots.incomplete.items()],
        **found,
    }
    costs = [pilots.costs[label] for label in sorted(rows)]
    from fedtap.reporting.advice.markdown import advice_markdown
    from fedtap.reporting.advice.sentences import advice_sentences

    last = race.looks[-1].rung
    jobs = {label: pilots.plan[label][: len(last.seeds)] for label in pilots.entered if label in last.runners}
    entered = [pilots.entered[label] for label in jobs]
    headline = advice_sentences(result, costs)
    write_comparison(folder, scenario, entered, gather(jobs, pilots.failed), None, reports_of(jobs), headline)
    write_json(folder / "advice-costs.json", {"schema": SCHEMA, "rows": costs})
    write_bytes(folder / "advice.md", advice_markdown(result, costs).encode())
    write_json(folder / "advice.json", result)
    return result
