"""``fedtap theory``: which components of a federation starve, before it is run; and after, beside what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fedtap.cli.options import AsJson, Method, RunFolder, ScenarioFile, Settings
from fedtap.cli.screen import examples, say, say_json, show_table


class RunByDefault(TyperGroup):
    """A group whose command ``report`` may be left out: ``fedtap theory RUN``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take what is no command's name for the folder of a run."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["report", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=RunByDefault,
    help="What modality-task pairs cost: before a run (plan SCENARIO), and beside what was seen (RUN).",
    epilog=examples("fedtap theory plan quickstart", "fedtap theory runs/quickstart"),
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback(invoke_without_command=True)
def theory(context: typer.Context) -> None:
    """Say what modality-task pairs cost: before a run (plan SCENARIO), and beside what was seen (RUN)."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    "plan",
    epilog=examples(
        "fedtap theory plan paper-flava",
        "fedtap theory plan quickstart --set clients_per_round=8",
    ),
)
def plan(
    path: ScenarioFile,
    settings: Settings = None,
    method: Method = None,
    every: Annotated[
        bool, typer.Option("--all", help="A row for each component, not for each set of holders.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how often each component will be trained, how well averaged, which starve, and what would change it.

    Neither data nor weights are needed.
    """
    from fedtap.experiment.convergence import convergence_plan
    from fedtap.scenario.data import SIZES
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    told = convergence_plan(loaded, method).to_json()
    if as_json:
        say_json(told)
        return
    rows = [
        (
            _names(group),
            str(len(group[0]["holders"])),
            str(len({task for part in group for task in part["tasks"]})),
            f"{group[0]['pi']:.2f}",
            f"{group[0]['rho']:.2f}",
            f"{group[0]['phi']:.2f}",
            f"{group[0]['updates']:.0f}",
            f"{group[0]['price']:.1f}",
            "starves" if group[0]["starves"] else "",
        )
        for group in _groups(told["components"], every=every)
    ]
    head = ("components", "holders", "tasks", "pi", "rho", "phi", "updates", "price", "")
    title = (
        f"{told['clients']} clients, {told['clients_per_round']} a round, {told['rounds']} rounds, {told['pairs']} pairs. "
        "tasks: of all the components of a row. pi: share of rounds that train it; rho, phi: what is left of noise and of "
        "disagreement, if holders count alike; price: the bound's rounds where noise rules, 1 for what all clients hold"
    )
    show_table(head, rows, title=title, numeric_from=1)
    for line in told["advice"]:
        say(f"- {line}")
    if any(loaded.data.size(task, "train") == "all" for client in loaded.participants for task in client.tasks):
        say(
            f"- data that are taken whole count as {SIZES['train']} examples a task here: how many there are is not known yet"
        )


@app.command(
    "gate",
    epilog=examples(
        "fedtap theory gate quickstart",
        "fedtap theory gate quickstart --set gate=paired --set alpha=0.05",
    ),
)
def gate(path: ScenarioFile, settings: Settings = None, method: Method = None, as_json: AsJson = False) -> None:
    """Say what TAP's gate can promise with each client's validation split, and how often a run asks that split.

    Neither data nor weights are needed.
    """
    from fedtap.experiment.verdicts import verdict_plan
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    level, plans = verdict_plan(loaded, method)
    if as_json:
        say_json({"alpha": level, "splits": [plan.to_json() for plan in plans]})
        return
    groups: dict[tuple[int, int], list[str]] = {}
    for plan in plans:
        groups.setdefault((plan.examples, plan.verdicts), []).append(f"{plan.client}/{plan.task}")
    by_size = {(plan.examples, plan.verdicts): plan for plan in plans}
    rows = [
        (
            ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else ""),
            str(plan.examples),
            str(plan.verdicts),
            f"{plan.harm:.3f}",
            f"{plan.missed:.3f}",
            f"{plan.sure:.2f}",
        )
        for size, names in sorted(groups.items())
        for plan in [by_size[size]]
    ]
    head = ("client/task", "examples", "verdicts", "margin 0: harm, missed", f"alpha {level:g}: missed", "sure of all")
    title = (
        "In standard deviations of the difference of two losses: what a margin of 0 loses, and misses, at most on average; what "
        "a confident gate misses. Sure of all: the gain, as a share of that difference's range, from which on no verdict is wrong"
    )
    show_table(head, rows, title=title, numeric_from=1)
    say(
        "- For one decision a margin of 0 on validation (gate=validation) has the least worst case, if harm and missed gain "
        "count alike; a confident one misses more."
    )
    params = loaded.method if method is None else {}
    if params.get("gate", "margin") == "margin" and params.get("personal", "separate") == "separate":
        say(
            "- As it is set the gate compares training losses, and asks no validation example: the table is for gate=validation."
        )
    say(
        "- With several tasks a client, guard_adoption=on keeps one task's replacement from making another worse there."
    )


@app.command("report", epilog=examples("fedtap theory runs/quickstart", "fedtap theory report runs/quickstart --json"))
def report(run: RunFolder, as_json: AsJson = False) -> None:
    """Say what a run showed beside what was expected: updates, averaging, and, with `theory: on`, whose tasks pull apart.

    The word `report` may be left out.
    """
    from fedtap.experiment.convergence import plan_of_run
    from fedtap.reporting.run.record import read_run
    from fedtap.reporting.run.theory import HEAD, about_looks, cells
    from fedtap.theory.observed import logged_plan, observed

    record = read_run(run)
    expected = logged_plan(record.events) or plan_of_run(record.config, run)
    seen = observed(expected, record.events)
    if as_json:
        say_json(
            {
                "rounds": seen.rounds,
                "components": [
                    {
                        "component": part.name,
                        "holders": len(part.plan["holders"]),
                        "expected_updates": part.expected,
                        "updates": part.updates,
                        "rho_expected": part.plan["rho"],
                        "rho": part.rho,
                        "looks": [dict(look) for look in part.seen],
                    }
                    for part in seen.components
                ],
                "looks": [dict(look) for look in seen.looks],
                "apart": seen.apart(),
                "left": seen.left,
            }
        )
        return
    title = f"{seen.rounds} rounds: updates and rho, expected and seen; the rest are means over the looks"
    show_table(HEAD, [cells(part) for part in seen.components], title=title, numeric_from=1)
    for line in about_looks(seen, record.config):
        say(f"- {line}")


def _groups(components: Sequence[Mapping[str, Any]], *, every: bool) -> list[list[Mapping[str, Any]]]:
    """Return components in groups with the same holders, in the order given; each alone if ``every``."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for part in components:
        groups.setdefault((part["component"],) if every else tuple(part["holders"]), []).append(part)
    return list(groups.values())


def _names(group: Sequence[Mapping[str, Any]], most: int = 2) -> str:
    """Return the names of a group, heads and domains first, since people know those."""
    order = {"head": 0, "domain": 1, "encoder": 2}
    names = sorted((part["component"] for part in group), key=lambda name: (order.get(name.partition("/")[0], 3), name))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
