"""Charts: points where the numbers say, axes of round numbers, something to read whatever comes."""

import re

import pytest

from fedtap.reporting.html.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, bar_chart, line_chart, steps


def test_a_line_runs_from_corner_to_corner_of_its_axes() -> None:
    svg = line_chart("loss", "the loss", [Line("one", 0, [(1, 0.0), (2, 1.0), (3, 2.0)])], "round")
    (path,) = re.findall(r'<path d="([^"]*)" class="line-1"/>', svg)
    places = [tuple(map(float, point.split())) for point in path[1:].split("L")]
    middle = (LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM + TOP) / 2
    assert places == [(LEFT, HEIGHT - BOTTOM), pytest.approx(middle), (WIDTH - RIGHT, TOP)]
    assert re.findall(r"<text [^>]*>([^<]*)</text>", svg) == [
        "loss",
        "0",
        "0.5",
        "1",
        "1.5",
        "2",
        "1",
        "2",
        "3",
        "round",
    ]


def test_bars_are_as_high_as_their_numbers_and_of_their_group() -> None:
    svg = bar_chart("MB", "bytes", {"down": {1: 4.0, 2: 2.0}, "up": {1: 1.0, 2: 0.0}}, "round")
    bars = re.findall(r'height="([\d.]+)" class="fill-(\d)"/>', svg)
    whole = HEIGHT - BOTTOM - TOP
    assert [(float(high), group) for high, group in bars] == [
        (pytest.approx(whole, abs=0.1), "1"), (pytest.approx(whole / 2, abs=0.1), "1"),
        (pytest.approx(whole / 4, abs=0.1), "2"), (0.0, "2"),
    ]  # fmt: skip
    assert ">down</text>" in svg
    assert ">up</text>" in svg


@pytest.mark.parametrize(
    "ys", [[0.5], [0.0, 0.0], [-3.0, 2.0], [1e-90, 2e-90], [1e90, 1e99], [1e16, 1e16 + 2], list(range(5000))]
)
def test_whatever_numbers_come_there_is_a_chart_of_a_bounded_size(ys: list[float]) -> None:
    svg = line_chart("a < b", "c", [Line("<", 9, list(enumerate(ys, start=1)))], "round")
    assert "nan" not in svg
    assert "inf" not in svg
    assert "a &lt; b" in svg
    assert len(svg) < 12_000
    ticks = steps(min(ys), max(ys))
    assert ticks[0] <= min(ys)
    assert ticks[-1] >= max(ys)
    assert 2 <= len(ticks) <= 8
