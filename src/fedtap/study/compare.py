"""``fedtap compare``: methods times seeds on one scenario, then the statistics and a page. What is finished is not run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap.algorithms.outside import is_file
from fedtap.experiment.provenance import provenance
from fedtap.metrics import primary_metrics
from fedtap.reporting.progress.choice import batch_progress
from fedtap.reporting.run.standings import BASELINES
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.lock import locked
from fedtap.runtime.overrides import Overrides
from fedtap.runtime.storage import write_bytes, write_json
from fedtap.scenario.scenario import Scenario
from fedtap.study.batch import Job, Observer, reports_of
from fedtap.study.comparison import compare_runs
from fedtap.study.comparison_result import ComparisonResult
from fedtap.study.families import Entrant
from fedtap.study.folder import begin, checked_seeds, describe, failure, prepared, run_all, tell
from fedtap.study.outcome import COUNTED, MEASURED, Gathered, cost_rows, gather
from fedtap.study.variants import ALL, Variant, file_name, split_list, unable, variant, variants

SCHEMA = 1
BASE = "local"
RECORD = "compare.json"


def compare(
    scenario: str | Path | Scenario,
    methods: str | Sequence[str] = "all",
    *,
    seeds: Sequence[int] = (0,),
    out: str | Path,
    overrides: Overrides = (),
    jobs: int | None = None,
    device: str = "auto",
    against: str | None = None,
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
) -> ComparisonResult:
    """Run methods with several seeds and return what comes out.

    Parameters
    ----------
    scenario
        A YAML file, or a scenario already loaded (then ``overrides`` must be empty).
    methods
        Labels, or a string of them with commas: names of methods, with settings of their own after a colon
        (``tap:gate=paired+scope=exclusive``); files with a method in them (``mine.py``, ``mine.py:CLASS``), which are called as
        their methods are; ``all`` for every registered method. ``local``, which gains are relative to, is
        added where it is missing.
    seeds
        Each method is run with each.
    out
        The folder: ``runs/<method>-seed<seed>``, comparison.json, comparison.html, comparison.md, figures/, costs.json.
    overrides
        Settings for all methods, as for :func:`fedtap.run`. Models are saved only if ``evaluation.save`` is among them.
    jobs
        Processes at a time; by default one for each core. The results do not depend on it.
    device
        As for :func:`fedtap.run`.
    against
        The label that all others are tested against; by default the best one.
    observers
        Called with the events of :func:`fedtap.study.batch.run_batch`, and with ``note`` (text).
    progress
        As for :func:`fedtap.run`.

    Returns
    -------
    ComparisonResult
        A dictionary of what comparison.json holds, which has tables, figures and the runs as attributes.

    Raises
    ------
    UserError
        If anything given is wrong, or ``out`` holds another comparison; nothing is run then.
    RunError
        If runs failed; it names them. The comparison is written nevertheless over the methods that have all their runs.
    """
    loaded = prepared(scenario, overrides)
    labels = split_list(methods) if isinstance(methods, str) else list(methods)
    entered = variants(loaded, labels)
    if not any(entry.label == BASE for entry in entered):
        entered = [*variants(loaded, [BASE]), *entered]
        tell(observers, f"'{BASE}' is added: gains are relative to it")
    if ALL in labels:
        for name in unable(loaded):
            tell(observers, f"'{name}' is left out: it cannot train the scenario's network.name={loaded.network.name}")
    if against is not None and is_file(against):
        against = variant(loaded, against, place="--against").label
    if against is not None and against not in [entry.label for entry in entered]:
        raise UserError(f"--against {against}: is not among the methods; name it in --methods too")
    folder = Path(out)
    plan = jobs_of(entered, checked_seeds(seeds), folder)
    everything = [job for its in plan.values() for job in its]
    config = describe(loaded)
    with locked(folder), batch_progress(progress) as shown:
        observers = (*observers, *shown)
        begin(folder, RECORD, config, everything, device=device, at_a_time=jobs)
        failed = run_all(folder, RECORD, everything, at_a_time=jobs, device=device, observers=observers)
        result = write_comparison(folder, loaded, entered, gather(plan, failed), against, reports_of(plan))
    if failed:
        raise RunError(failure(failed, len(everything), "comparison.html" if result else ""))
    return ComparisonResult(folder, result)


def jobs_of(entered: Sequence[Variant], seeds: Sequence[int], folder: Path) -> dict[str, list[Job]]:
    """Return the runs of each method."""
    return {
        entry.label: [
            Job(name, entry.scenario, seed, folder / "runs" / name)
            for seed in seeds
            for name in [f"{file_name(entry.label)}-seed{seed}"]
        ]
        for entry in entered
    }


def write_comparison(
    folder: Path,
    scenario: Scenario,
    entered: Sequence[Variant],
    gathered: Gathered,
    against: str | None,
    reports: Mapping[str, Mapping[int, str]],
    headline: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the comparison and its page over the methods that are complete; nothing if the base is not, or is alone.

    ``headline`` stands at the head of the page.
    """
    if BASE not in gathered.labels or len(gathered.labels) < 2:
        return {}
    deployed = {entry.label: entry.algorithm.deployed for entry in entered}
    served = {entry.label: entry.served() for entry in entered}
    gathered.drop_silent(BASE, deployed, served)
    primary = primary_metrics(pair for client in scenario.clients for pair in client.pairs)
    found = compare_runs(
        gathered.runs,
        [Entrant(label, deployed[label], served[label]) for label in gathered.labels],
        primary=primary,
        base=BASE,
        baselines=BASELINES,
        against=against if against in gathered.labels else None,
    )
    result = {
        "schema": SCHEMA,
        **provenance(),
        "scenario": scenario.name,
        "config": describe(scenario)["config"],
        "base": BASE,
        "seeds": sorted({run.seed for run in gathered.runs}),
        "methods": [about(entry) for entry in entered if entry.label in gathered.labels],
        "incomplete": [{"method": label, "why": why} for label, why in gathered.incomplete.items()],
        "costs": cost_rows(gathered, COUNTED),
        **found,
    }
    costs = cost_rows(gathered, (*COUNTED, *MEASURED))
    write_json(folder / "comparison.json", result)
    write_json(folder / "costs.json", {"schema": SCHEMA, "rows": costs})
    from fedtap.reporting.comparison.markdown import comparison_markdown
    from fedtap.reporting.comparison.page import comparison_page
    from fedtap.reporting.html.figure_files import write_figures

    write_bytes(folder / "comparison.md", comparison_markdown(result, costs).encode())
    shown = comparison_page(result, costs, reports, headline)
    write_bytes(folder / "comparison.html", shown.encode())
    write_figures(shown, folder / "figures")
    return result


def about(entry: Variant) -> dict[str, Any]:
    """Return what a comparison says of a method: what it is, and its settings."""
    settings = dict(entry.scenario.method)
    name = settings.pop("name")
    return {
        "method": entry.label,
        "name": name,
        "summary": entry.algorithm.summary,
        "source": entry.algorithm.source,
        "deployed": entry.algorithm.deployed,
        "settings": settings,
    }
