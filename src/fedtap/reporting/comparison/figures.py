"""The figures of a comparison: gains with intervals on each split, own against cross-client gain, gain against cost.

Each is drawn (for a notebook, or a file), and put into a page as SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from matplotlib import rc_context

from fedtap.reporting.comparison.tables import SPLIT_NAMES, ranked, with_share
from fedtap.reporting.html.formatting import ONE_SEED
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.svg import INK, SERIES, STYLE, Drawing, inline

Values = Mapping[str, Any]
COSTS: Mapping[str, tuple[str, Callable[[Values], float | None]]] = {
    "bytes": ("MB down and up in a run", lambda row: (row["bytes_down"] + row["bytes_up"]) / 1e6),
    "steps": ("local steps of a run", lambda row: row["steps_total"]),
    "seconds": ("seconds of a run, one thread", lambda row: row.get("seconds")),
}
PANEL, ROW, LETTER = 2.9, 0.27, 0.068  # inches: a panel's width, a method's height, a letter's width


def forest_figure(splits: Mapping[str, Values], base: str, *, seeds: int) -> Markup:
    """Return :func:`forest` for a page."""
    description = f"Mean relative gain over {base} with 95 % intervals, per split and method"
    return inline(forest(splits, base, seeds=seeds), description)


def forest(splits: Mapping[str, Values], base: str, *, seeds: int) -> Drawing:
    """Return mean gains with 95 % intervals, a panel a split, a row a method, sorted by own test data.

    Filled marks are over all tasks, hollow ones leave reconstruction out; a mark without an interval has no line. ``seeds`` is
    how many there are.
    """
    order = [row["method"] for row in ranked(splits["test"]["all"]["delta"])]
    place = {method: len(order) - number for number, method in enumerate(order)}
    shown = [with_share(row) for row in ranked(splits["test"]["all"]["delta"])]
    labels = max((len(name) for name in shown), default=0) * LETTER
    size = (labels + PANEL * len(splits), 1.0 + ROW * len(order))
    with rc_context(STYLE):
        figure = Drawing(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        for axes, (split, values) in zip(panels, splits.items(), strict=True):
            axes.axvline(0, color=INK, linewidth=0.9, alpha=0.6)
            _marks(axes, values["all"]["delta"], place, shift=0.0, colour=SERIES[0], hollow=False)
            if "without_reconstruction" in values:
                rows = values["without_reconstruction"]["delta"]
                _marks(axes, rows, place, shift=-0.32, colour=SERIES[1], hollow=True)
            axes.set_title(SPLIT_NAMES[split])
            axes.set_xlabel(f"mean gain over {base}, %" + _one(seeds))
            axes.set_yticks(list(place.values()), shown)
            axes.set_ylim(0.3, len(order) + 0.6)
            axes.tick_params(axis="y", length=0)
        handles, names = panels[0].get_legend_handles_labels()
        if len(names) > 1:
            figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def rank_figure(ranks: Sequence[Values], apart: Collection[str], *, seeds: int) -> Markup:
    """Return mean ranks with 95 % intervals, a row a method, the best on top; hollow marks are of methods in ``apart``."""
    names = [str(row["method"]) for row in ranks]
    labels = max(map(len, names)) * LETTER
    with rc_context(STYLE):
        figure = Drawing(figsize=(labels + 2 * PANEL, 0.9 + ROW * len(ranks)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(ranks):
            y = len(ranks) - place
            if row["ci95"]:
                axes.plot(row["ci95"], [y, y], color=SERIES[0], linewidth=2.0, alpha=0.75)
            face = "none" if row["method"] in apart else SERIES[0]
            axes.plot([row["rank"]], [y], "o", color=SERIES[0], markerfacecolor=face, markersize=6)
        axes.set_xlabel(f"mean rank among {len(ranks)} methods, 1 is best" + _one(seeds))
        axes.set_yticks([len(ranks) - place for place in range(len(ranks))], names)
        axes.set_ylim(0.3, len(ranks) + 0.7)
        axes.tick_params(axis="y", length=0)
        return inline(figure, "Mean rank of each method over client-tasks and seeds, with 95 % intervals")


def trade_figure(own: Sequence[Values], cross: Sequence[Values], *, seeds: int) -> Markup:
    """Return :func:`trade` for a page."""
    description = "Gain on own test data against gain on other clients' test data, per method"
    return inline(trade(own, cross, seeds=seeds), description)


def trade(own: Sequence[Values], cross: Sequence[Values], *, seeds: int) -> Drawing:
    """Return own-test gain against cross-client gain, a point a method with its name, and intervals as thin lines."""
    other = {row["method"]: row for row in cross}
    points = [
        (row, other[row["method"]])
        for row in own
        if row["delta_percent"] is not None and other.get(row["method"], {}).get("delta_percent") is not None
    ]
    names = ["(base)", *(with_share(a) for a, _ in points)]
    at = [(0.0, 0.0), *((a["delta_percent"], b["delta_percent"]) for a, b in points)]
    bars = [(None, None), *((a["ci95"], b["ci95"]) for a, b in points)]
    return _scatter(
        names,
        at,
        bars,
        whole=[True, *(a["client_tasks"] == a["of"] for a, _ in points)],
        across="personalization: mean gain on own test data, %" + _one(seeds),
        up="generality: mean gain on other clients' test data, %",
    )


def cost_figure(own: Sequence[Values], costs: Sequence[Values], base: str, what: str, *, seeds: int) -> Markup:
    """Return :func:`spent` for a page."""
    description = f"Gain on own test data against {COSTS[what][0]}, per method"
    return inline(spent(own, costs, base, what, seeds=seeds), description)


def spent(own: Sequence[Values], costs: Sequence[Values], base: str, what: str, *, seeds: int) -> Drawing:
    """Return the gain on own test data against what a run costs, a point a method; the base is at no gain.

    ``what`` is ``bytes`` (down and up), ``steps`` or ``seconds``.
    """
    label, of = COSTS[what]
    cost = {row["method"]: found for row in costs if (found := of(row)) is not None}
    rows = [row for row in own if row["delta_percent"] is not None and row["method"] in cost]
    at = [(cost[row["method"]], row["delta_percent"]) for row in rows]
    names, bars = [with_share(row) for row in rows], [(None, row["ci95"]) for row in rows]
    whole = [row["client_tasks"] == row["of"] for row in rows]
    if base in cost:
        at, names = [(cost[base], 0.0), *at], [f"{base} (base)", *names]
        bars, whole = [(None, None), *bars], [True, *whole]
    return _scatter(
        names,
        at,
        bars,
        whole=whole,
        across=label,
        up="mean gain on own test data, %" + _one(seeds),
    )


def _scatter(
    names: Sequence[str],
    at: Sequence[tuple[float, float]],
    bars: Sequence[tuple[Any, Any]],
    *,
    whole: Sequence[bool],
    across: str,
    up: str,
) -> Drawing:
    """Return points with their names, and their intervals along both axes as thin lines; the first is a square, the base."""
    with rc_context(STYLE):
        figure = Drawing(figsize=(8.6, 5.6), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.9, alpha=0.6)
        if any(x for x, _ in bars):
            axes.axvline(0, color=INK, linewidth=0.9, alpha=0.6)
        for number, ((x, y), (wide, high), full) in enumerate(zip(at, bars, whole, strict=True)):
            if wide:
                axes.plot(wide, [y, y], color=SERIES[0], linewidth=0.9, alpha=0.3)
            if high:
                axes.plot([x, x], high, color=SERIES[0], linewidth=0.9, alpha=0.3)
            base = number == 0 and not wide and not high and y == 0
            colour = INK if base else SERIES[0]
            face = colour if full else "none"
            mark = "s" if base else "o"
            axes.plot([x], [y], marker=mark, markersize=6, color=colour, markerfacecolor=face, linestyle="none")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.margins(0.08)
        figure.draw_without_rendering()  # so that it is known where points come to lie
        _name(axes, names, at)
    return figure


def _one(seeds: int) -> str:
    """Return what an axis adds to its name where its intervals are of one seed."""
    return f"; {ONE_SEED}" if seeds == 1 else ""


def _marks(
    axes: Any, rows: Sequence[Values], place: Mapping[str, int], *, shift: float, colour: str, hollow: bool
) -> None:
    label = "without reconstruction" if hollow else "all tasks"
    for row in rows:
        if row["delta_percent"] is None or row["method"] not in place:
            continue
        y = place[row["method"]] + shift
        if row["ci95"]:
            axes.plot(row["ci95"], [y, y], color=colour, linewidth=1.0 if hollow else 2.0, alpha=0.75)
        face = "none" if hollow else colour
        size = 4 if hollow else 6
        axes.plot([row["delta_percent"]], [y], "o", color=colour, markerfacecolor=face, markersize=size, label=label)
        label = "_nolegend_"


def _name(axes: Any, names: Sequence[str], at: Sequence[tuple[float, float]]) -> None:
    """Write each point's name where it covers the least of other names and points: greedy, from the crowded to the lonely."""
    height, letter = 10.0, 5.0  # display units of a line and of a letter at this size
    spots = [tuple(spot) for spot in axes.transData.transform(at)]
    frame = axes.bbox
    boxes: list[tuple[float, float, float, float]] = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for name, (x, y), xy in zip(names, spots, at, strict=True):
        width = letter * len(name)
        best: tuple[float, float, float] | None = None
        for ring in (1.0, 2.0, 3.0, 4.5):
            for dx, dy in ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1)):
                left = x + dx * (7 + 4 * (ring - 1)) - (width if dx < 0 else width / 2 if dx == 0 else 0)
                low = y - height / 2 + dy * (9 * ring)
                box = (left, low, left + width, low + height)
                outside = box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0 or box[3] > frame.y1
                cost = sum(_overlap(box, other) for other in boxes) + 40 * (ring - 1) + (1e6 if outside else 0)
                if best is None or cost < best[0]:
                    best = (cost, left, low)
        assert best is not None
        _, left, low = best
        boxes.append((left, low, left + width, low + height))
        far = abs(low + height / 2 - y) > 14
        line = {"arrowstyle": "-", "color": INK, "alpha": 0.35, "linewidth": 0.6} if far else None
        axes.annotate(
            name,
            xy,
            xytext=(left - x, low - y),
            textcoords="offset pixels",
            fontsize=9,
            va="bottom",
            arrowprops=line,
        )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
