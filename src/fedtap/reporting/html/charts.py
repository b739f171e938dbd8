"""Small charts of lines and of bars as SVG, each with its own legend, large enough to be read on a phone. From numbers alone.

They take their colours from the page, and need no plotting library, which would take longer than all the rest of a report. Not
here: figures for papers (svg.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.templating import render

WIDTH, HEIGHT = 360.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 28.0, 54.0
SERIES = 6
"""Colours that the style sheet has."""
MOST_POINTS = 400
"""Of a line; more could not be told apart."""
_LETTER = 6.6  # pixels


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name, which colour and mark it has, and its points in the order of x."""

    name: str
    place: int
    points: Sequence[tuple[float, float]]


def line_chart(title: str, description: str, lines: Sequence[Line], across: str) -> Markup:
    """Return lines over a whole-numbered axis that is called ``across``; ``description`` is for who does not see it."""
    kept = [Line(line.name, line.place, _thinned(line.points)) for line in lines]
    xs = [x for line in kept for x, _ in line.points]
    ys = [y for line in kept for _, y in line.points]
    low, high = min(xs), max(xs)
    ticks = steps(min(ys), max(ys))
    place_x, place_y = _scale(low, high, LEFT, WIDTH - RIGHT), _scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    drawn = []
    for line in kept:
        at = [(place_x(x), place_y(y)) for x, y in line.points]
        marks = [_mark(line.place, x, y) for x, y in at] if len(at) <= 40 else []
        drawn.append({"colour": 1 + line.place % SERIES, "path": _path(at), "marks": marks})
    return _chart(
        title,
        description,
        across=across,
        lines=drawn,
        bars=[],
        along=[(place_x(x), f"{x:g}") for x in whole_steps(low, high)],
        up=[(place_y(y), f"{y:g}") for y in ticks],
        names=[(line.name, line.place) for line in kept],
    )


def bar_chart(title: str, description: str, groups: Mapping[str, Mapping[int, float]], across: str) -> Markup:
    """Return a bar for each group at each place, from 0 on."""
    xs = sorted({x for values in groups.values() for x in values})
    ticks = steps(0.0, max((y for values in groups.values() for y in values.values()), default=0.0))
    place_x = _scale(min(xs) - 0.5, max(xs) + 0.5, LEFT, WIDTH - RIGHT)
    place_y = _scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    width = (place_x(1.0) - place_x(0.0)) * 0.8 / len(groups)
    bars = []
    for number, values in enumerate(groups.values()):
        for x, y in values.items():
            left = place_x(x) + (number - len(groups) / 2) * width
            top = place_y(y)
            colour = 1 + number % SERIES
            bars.append(
                {"colour": colour, "x": left, "y": top, "w": width * 0.92, "h": max(0.0, HEIGHT - BOTTOM - top)}
            )
    return _chart(
        title,
        description,
        across=across,
        lines=[],
        bars=bars,
        along=[(place_x(x), f"{x:g}") for x in whole_steps(min(xs), max(xs))],
        up=[(place_y(y), f"{y:g}") for y in ticks],
        names=[(name, number) for number, name in enumerate(groups) if name],
    )


def steps(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers, evenly apart, from at or below ``low`` to at or above ``high``; about ``most`` of them.

    >>> steps(0.13, 1.9), steps(0.0, 0.0)
    ([0.0, 0.5, 1.0, 1.5, 2.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    if high - low <= 1e-9 * abs(high):  # equal, as far as a picture goes
        high = low + (abs(low) or 1.0)
    size = 10 ** math.floor(math.log10((high - low) / most))
    fits = (times for times in (1, 2, 5, 10) if math.ceil(high / size / times) - math.floor(low / size / times) <= most)
    size *= next(fits, 20)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [float(f"{number * size:.12g}") for number in range(first, max(last, first + 1) + 1)]


def whole_steps(low: float, high: float, most: int = 7) -> list[float]:
    """Return whole numbers from ``low`` to ``high``, evenly apart, about ``most`` of them at the most.

    >>> whole_steps(1, 4), whole_steps(1, 30)
    ([1.0, 2.0, 3.0, 4.0], [5.0, 10.0, 15.0, 20.0, 25.0, 30.0])
    """
    size = max(1.0, steps(0.0, max(1.0, high - low), most - 1)[1])
    return [number * size for number in range(math.ceil(low / size), math.floor(high / size) + 1)]


def _chart(title: str, description: str, *, names: Sequence[tuple[str, int]], **drawn: object) -> Markup:
    legend, at = [], LEFT
    for name, place in names if len(names) > 1 else ():
        legend.append({"x": at, "name": name, "colour": 1 + place % SERIES, "mark": _mark(place, at + 4, HEIGHT - 8)})
        at += 20 + _LETTER * len(name)
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
    return render("chart.html", title=title, description=description, legend=legend, frame=frame, **drawn)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    middle = 0.5 if high == low else 0.0  # one value alone stands in the middle
    return lambda value: round(start + (end - start) * ((value - low) / span + middle), 1)


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    every = math.ceil(len(points) / MOST_POINTS)
    return points[::every]


def _path(at: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in at)


def _mark(place: int, x: float, y: float) -> str:
    """Return a mark as a path: by its place a square, a triangle, a diamond or, first of all, a disc."""
    shapes = (
        "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
        "m-2.7-2.7h5.4v5.4h-5.4z",
        "m0-3.4l3.2 5.8h-6.4z",
        "m0-3.8l3.2 3.8l-3.2 3.8l-3.2-3.8z",
    )
    return f"M{x:g} {y:g}{shapes[place % len(shapes)]}"
