"""The page of a study of pairs, and its tables as Markdown: how much of the decline is coverage, averaging, sharing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.markdown import provenance_line
from fedtap.reporting.html.grid import Grid
from fedtap.reporting.html.markup import Markup, join
from fedtap.reporting.html.page import Section, made_with, page, section
from fedtap.reporting.html.templating import piece
from fedtap.reporting.sweep.series import Line, Scale

Values = Mapping[str, Any]
PROBLEM_NAMES = {
    "synthetic": "tanh teachers",
    "plain": "real tasks, plain network",
    "experts": "real tasks, network of experts",
}
OUTCOME_NAMES = {
    "training": "training loss, served model",
    "test": "test loss, served model",
    "personal": "test loss, personal model",
    "personal over served": "personal model's test loss over the served one's",
}
EFFECT_NAMES = {
    "coverage": "coverage",
    "averaging": "lost averaging",
    "sharing": "sharing (net), equal updates",
    "sharing at T1": "sharing (net), equal rounds",
    "decline": "all together, equal rounds",
}
KINDS = ("unlike", "alike")
DRAWN = ("coverage", "averaging", "sharing", "sharing at T1")
HEIGHT = "change of the log of the loss"
NOTE = (
    "Logs of losses, K pairs against one, paired by pair and seed, with standard errors; +0.10 is a loss a tenth higher. "
    "Coverage: private trunk at T1 against T1/pi rounds. Lost averaging: private trunk, T1/pi, K pairs against one. Sharing "
    "(net): shared against private trunk, above 0 where the shared one is worse. It is the net of all that sharing changes: "
    "interference, more examples behind a trunk, and at equal rounds more updates. That of unlike pairs less that "
    "of alike ones is the nearest to interference alone. In the rows of personal over served, below 0 is what personal models "
    "win back of what more pairs cost."
)


def pairs_page(result: Values) -> str:
    """Return the page of a study; ``result`` is what pairs.json holds."""
    return page(
        kind="Study",
        title="pairs",
        heading="What modality-task pairs cost",
        about=f"K = {', '.join(map(str, result['pairs']))} pairs, three clients a pair, two clients a round",
        facts=made_with(result),
        figures=[(str(len(result["problems"])), "problems"), (str(len(result["seeds"])), "seeds")],
        notice=_notice(result),
        summary=("What the numbers say", pairs_sentences(result)),
        sections=[_section(result, problem) for problem in result["problems"]],
        footer=("Written by fedtap from pairs.json of this folder; docs/theory.md says what the effects are.",),
    )


def pairs_markdown(result: Values) -> str:
    """Return a study as Markdown."""
    parts = [
        "# Study of pairs",
        f"Seeds {', '.join(map(str, result['seeds']))}. {provenance_line(result)}",
        *pairs_sentences(result),
        NOTE,
    ]
    for problem in result["problems"]:
        for grid in _grids(result, problem):
            parts += [f"## {grid.caption}", grid.markdown()]
    return "\n\n".join(parts) + "\n"


def pairs_sentences(result: Values) -> list[str]:
    """Return for each problem and kind how the losses stand at the most pairs, why, and what personal models win back."""
    told = []
    for problem, kinds in result["problems"].items():
        for kind, found in _by_kind(kinds):
            most = max(effect["pairs"] for effect in found["effects"])
            at = {effect["effect"]: effect for effect in _of(found["effects"], pairs=most, outcome="training")}
            if not {*DRAWN, "decline"} <= at.keys():
                continue
            parts = ", ".join(f"{EFFECT_NAMES[name]} {_pm(at[name])}" for name in DRAWN)
            told.append(
                f"{PROBLEM_NAMES[problem]}, {kind} pairs: with {most} pairs the training loss of the served model is "
                f"{at['decline']['factor']:.2f} times that with one, at equal rounds. In logs: {parts}."
            )
            told += _personal(found, most)
    if result["quick"]:
        told.append("This is the quick size: it shows that everything works, and its numbers mean nothing.")
    return told


def _personal(found: Values, most: int) -> list[str]:
    served, own, won = (
        next(iter(_of(found["effects"], pairs=most, outcome=outcome, effect="decline")), None)
        for outcome in ("test", "personal", "personal over served")
    )
    if served is None or own is None or won is None:
        return []
    return [
        f"On test data the served model's loss is {served['factor']:.2f} times as high as with one pair, that of personal models "
        f"{own['factor']:.2f} times. In logs the difference is {_pm(won)}, below 0 where personal models win something back."
    ]


def _section(result: Values, problem: str) -> Section | None:
    from fedtap.reporting.sweep.figures import sweep_figure  # matplotlib takes a second

    shown = [piece("note", f"{NOTE} In the figure a bar reaches two standard errors to each side.")]
    panels = {
        f"{kind}: {OUTCOME_NAMES[outcome]}": _lines(found, outcome)
        for kind, found in _by_kind(result["problems"][problem])
        for outcome in ("training", "test")
    }
    numbers = sorted({int(at) for lines in panels.values() for line in lines for at in line.at})
    scale = Scale("pairs K", {str(number): float(number) for number in numbers}, "log")
    if numbers:
        name = PROBLEM_NAMES[problem]
        shown.append(piece("figure", sweep_figure(panels, scale, f"pairs {problem}", zero=True, label=HEIGHT)))
        return section(name[0].upper() + name[1:], *shown, join(grid.html() for grid in _grids(result, problem)))
    return section(PROBLEM_NAMES[problem], piece("paragraph", "No run is complete."))


def _lines(found: Values, outcome: str) -> list[Line]:
    """Return the effects over K, with two standard errors to each side."""
    lines = []
    for name in DRAWN:
        at = {}
        for effect in _of(found["effects"], outcome=outcome, effect=name):
            mean, error = effect["mean"], effect["se"]
            at[str(effect["pairs"])] = mean, None if error is None else (mean - 2 * error, mean + 2 * error)
        lines.append(Line(EFFECT_NAMES[name], at))
    return [line for line in lines if line.at]


def _grids(result: Values, problem: str) -> list[Grid]:
    """Return, for each kind, the effects by K and outcome, and the losses of all arms against K = 1."""
    made = []
    for kind, found in _by_kind(result["problems"][problem]):
        rows = [
            [
                str(number),
                OUTCOME_NAMES[outcome],
                *(
                    next(
                        (_pm(effect) for effect in _of(found["effects"], pairs=number, outcome=outcome, effect=name)),
                        "–",
                    )
                    for name in EFFECT_NAMES
                ),
            ]
            for number in result["pairs"]
            for outcome in OUTCOME_NAMES
            if _of(found["effects"], pairs=number, outcome=outcome)
        ]
        name = f"{PROBLEM_NAMES[problem]}, {kind} pairs"
        over = {effect["over"] for effect in found["effects"]}
        note = f"Standard errors are over {' or '.join(sorted(over))}."
        made.append(Grid(f"Effects: {name}", ["K", "outcome", *EFFECT_NAMES.values()], rows, 2, note))
        made.append(_levels(result, found, name))
    return made


def _levels(result: Values, found: Values, name: str) -> Grid:
    arms = [(trunk, length) for trunk in ("private", "shared") for length in result["lengths"]]
    rows = []
    for number in result["pairs"]:
        for outcome in OUTCOME_NAMES:
            cells = [
                next((f"{level['factor']:.3f}" for level in _of(found["levels"], **about)), "–")
                for trunk, length in arms
                for about in [{"pairs": number, "outcome": outcome, "trunk": trunk, "length": length}]
            ]
            if set(cells) != {"–"}:
                rows.append([str(number), OUTCOME_NAMES[outcome], *cells])
    alone = ", ".join(
        f"{OUTCOME_NAMES[outcome]} {found['alone'][outcome]:.3g}"
        for outcome in OUTCOME_NAMES
        if outcome in found["alone"]
    )
    apart = ", ".join(f"K = {row['pairs']}, {row['length']}: {row['mean']:.2g}" for row in found["zeta2_pairs"])
    note = f"With one pair: {alone}." + (
        f" Disagreement between pairs on what they share, at the end: {apart}." if apart else ""
    )
    return Grid(
        f"Losses as multiples of those with one pair: {name}",
        ["K", "outcome", *(f"{trunk}, {length}" for trunk, length in arms)],
        rows,
        2,
        note,
    )


def _by_kind(kinds: Mapping[str, Values]) -> list[tuple[str, Values]]:
    """Return the kinds that there are, in one order whatever that of the file is."""
    return [(kind, kinds[kind]) for kind in KINDS if kind in kinds]


def _of(rows: Sequence[Values], **about: Any) -> list[Values]:
    return [row for row in rows if all(row[key] == value for key, value in about.items())]


def _pm(effect: Values) -> str:
    error = "" if effect["se"] is None else f" ({effect['se']:.3f})"
    return f"{effect['mean']:+.3f}{error}"


def _notice(result: Values) -> Markup:
    if not result["incomplete"]:
        return Markup()
    items = piece("bullets", [(row["run"], row["why"]) for row in result["incomplete"]])
    return piece("notice", "Left out, since they did not end well:", items)
