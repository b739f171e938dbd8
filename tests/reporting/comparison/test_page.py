"""The pages of comparisons and sweeps: self-contained, true to the numbers, and whole with many methods."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from fedtap.reporting.comparison.figures import rank_figure
from fedtap.reporting.comparison.markdown import comparison_markdown
from fedtap.reporting.comparison.page import comparison_page
from fedtap.reporting.comparison.summary import comparison_sentences
from fedtap.reporting.comparison.tables import apart, family_grid, gains_grid, paired_grid, stands_out
from fedtap.reporting.html.grid import Best, Grid
from fedtap.reporting.sweep.page import sweep_markdown, sweep_page, sweep_sentences
from fedtap.reporting.sweep.series import gain_at, lines, scale_of
from synthetic_comparison import NAMES, synthetic_comparison

VOID = {"meta", "br", "hr", "col", "path", "use", "rect"}


class Balanced(HTMLParser):
    """Checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def check(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert page.count("<script") == 1  # its own, which sorts tables


@pytest.fixture(scope="module")
def many() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return synthetic_comparison()


def test_the_page_is_whole_with_twenty_two_methods(many: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    result, costs = many
    page = comparison_page(result, costs)
    check(page)
    for name in NAMES:
        assert name in page
    assert page.count('class="plot"') == 3 + 3  # intervals, ranks, own against others; bytes, steps, seconds
    assert "probe (4 of 9 tasks)" in page
    assert "Ten small clients &amp; more." in page


def test_the_story_follows_from_the_numbers(many: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    result, _ = many
    best = max((row for row in result["delta"] if row["method"] != "probe"), key=lambda row: row["delta_percent"])
    first, second, *_ = comparison_sentences(result)
    assert best["method"] in first
    assert f"{best['delta_percent']:+.1f} %" in first
    assert ("excludes 0" in first) == (best["ci95"][0] > 0)
    behind = [
        row["method"]
        for row in result["splits"]["test"]["all"]["against"]
        if row["p_holm"] < 0.05 and row["difference"] < 0
    ]
    assert ("behind it" in second) == bool(behind)


def test_ranks_say_of_each_method_what_the_tests_of_gains_say(
    many: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    result, costs = many
    page = comparison_page(result, costs)
    against, tests = result["against"], result["splits"]["test"]["all"]["against"]
    far = {row["method"] for row in tests if row["p_holm"] is not None and row["p_holm"] < 0.05}
    assert apart(result) == far
    assert far
    told = page[page.index("By the paired tests of gains below") :].partition("</p>")[0]
    assert f"cannot be told from {against}" in told
    assert ("(hollow)" in told) is bool(far)
    drawn = rank_figure(result["ranks"], far, seeds=3)
    everybody = rank_figure(result["ranks"], (), seeds=3)
    ranked = {row["method"] for row in result["ranks"]}
    assert drawn.count("fill-opacity: 0;") - everybody.count("fill-opacity: 0;") == len(far & ranked)
    assert "probe" not in ranked  # it serves a part


def test_single_clients_stand_in_a_table_and_runs_are_led_to_where_they_are() -> None:
    result, costs = synthetic_comparison(["local", "tap"], seeds=1)
    page = comparison_page(result, costs, {"tap": {0: "runs/tap-seed0/report.html"}})
    assert page.count('href="runs/') == 1
    row = next(row for row in result["clients"] if row["client"] == "c5")
    assert f"{row['gains']['tap']:+.1f}" in page[page.index("Client by client") :]
    assert row["tasks"] == 2


def test_one_method_and_one_seed_make_a_page_too() -> None:
    result, costs = synthetic_comparison(["local", "tap"], seeds=1)
    page = comparison_page(result, costs)
    check(page)
    assert "with one seed they say nothing of other seeds" in page
    assert "mean gain over local, %; one seed" in page  # in the figure, which is a file of its own too
    (row,) = result["delta"]
    ends = f"{row['ci95'][0]:+.1f} to {row['ci95'][1]:+.1f}, one seed"
    assert f'<td class="num">{ends}</td>' in page  # in the tables of gains and of tests
    assert f"({ends})" in comparison_sentences(result)[0]
    assert f"| {ends} |" in comparison_markdown(result, costs)
    for newer in ("ranks", "clients"):  # which an older comparison.json has not
        del result[newer]
    result["incomplete"] = [{"method": "ditto", "why": "seed 0: no space left & <more>"}]
    page = comparison_page(result, costs)
    assert "no space left &amp; &lt;more&gt;" in page
    assert "Left out, since their runs are not complete: ditto." in comparison_sentences(result)


def intervals(text: str) -> list[str]:
    """Return every interval that a page or a table shows, with what stands right behind it."""
    return re.findall(r"[+-]?\d[\d.e-]* to [+-]?\d[\d.e-]*(?:, one seed)?", text)


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_interval_of_one_seed_says_so_and_those_of_several_do_not(seeds: int) -> None:
    result, costs = synthetic_comparison(["local", "fedavg", "tap"], seeds=seeds)
    for text in (comparison_page(result, costs), comparison_markdown(result, costs)):
        shown = intervals(text)
        assert len(shown) > 5
        assert {interval.endswith(", one seed") for interval in shown} == {seeds == 1}


def test_fewer_than_five_clients_get_a_dash_and_each_table_says_why_once() -> None:
    result, costs = synthetic_comparison(["local", "fedavg", "tap"], clients=4)
    every = [*result["delta"], *result["rows"], *result["pairs"]]
    every += [row for split in result["splits"].values() for row in [*split["rows"], *split["all"]["against"]]]
    assert {row["ci95"] for row in every} == {None}
    page, text = comparison_page(result, costs), comparison_markdown(result, costs)
    assert intervals(page) == intervals(text) == []
    grid = gains_grid(result["splits"]["test"], "x", "local")
    assert [row[2] for row in grid.rows] == ["–", "–"]
    assert grid.note.startswith("A dash in place of an interval: fewer than five clients")
    assert grid.html().count(grid.note) == grid.markdown().count(grid.note) == 1
    # gains, every metric and tests, on own and on other clients' data; every pair; tests without reconstruction
    assert page.count(grid.note) == 9
    assert text.count(grid.note) == 4
    assert "No line: fewer than five clients have results there." in page
    first = comparison_sentences(result)[0]
    assert "no interval is given, since fewer than five clients have results there" in first
    assert "(–)" not in first


def test_where_all_intervals_are_there_no_table_speaks_of_dashes() -> None:
    result, _ = synthetic_comparison(["local", "tap"])
    held_out = result["splits"]["unseen"]  # one client
    own = gains_grid(result["splits"]["test"], "x", "local")
    assert own.note == ""
    assert gains_grid(held_out, "x", "local").note
    assert "of fewer than five clients and so without an interval" in comparison_sentences(result)[2]
    nothing = {
        "method": "tap",
        "difference": None,
        "ci95": None,
        "p": None,
        "p_holm": None,
        "wins": 1,
        "losses": 0,
        "n": 1,
    }
    assert paired_grid([nothing], "x", seeds=2).note == ""  # no mean either: the base is at 0


def test_the_best_of_each_column_is_marked_and_what_is_not_served_is_a_dash() -> None:
    split = {
        "rows": [
            {"family": "image_generation", "metric": "mse", "primary": True, "method": m, "mean": v}
            for m, v in (("local", 0.3), ("tap", 0.2))
        ],
        "baselines": [{"family": "image_generation", "metric": "mse", "mean": 0.4}],
    }
    grid = family_grid(split, ["local", "tap", "probe"], "own test data")
    assert grid.rows == [["trivial baseline", "0.400"], ["local", "0.300"], ["tap", "0.200"], ["probe", "–"]]
    assert [isinstance(row[1], Best) for row in grid.rows] == [False, False, True, False]
    assert "| tap | **0.200** |" in grid.markdown()
    assert "best" in grid.html()


def test_the_table_of_gains_marks_no_method_that_serves_a_part(
    many: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    result, _ = many
    for split in result["splits"].values():
        grid = gains_grid(split, "x", "local")
        marked = [row[0] for row in grid.rows if isinstance(row[1], Best)]
        assert len(marked) <= 1
        assert "probe" not in marked


@pytest.mark.parametrize(("spread", "marked"), [(0.0005, ["tap"]), (0.2, [])])
def test_the_table_of_gains_marks_who_is_ahead_of_all_by_more_than_chance(spread: float, marked: list[str]) -> None:
    result, _ = synthetic_comparison(["local", "ditto", "tap"], spread=spread)
    grid = gains_grid(result["splits"]["test"], "x", "local")
    assert [row[0] for row in grid.rows if isinstance(row[1], Best)] == marked
    tests = result["splits"]["test"]["all"]["against"]
    told = comparison_sentences(result)[1]
    assert ("cannot be told from it" in told) is not bool(marked)
    assert all((row["p_holm"] < 0.05) is bool(marked) for row in tests)
    elsewhere = {**result["splits"]["test"]["all"], "against": [{**row, "against": "ditto"} for row in tests]}
    assert stands_out({"all": elsewhere}) is None


def test_markdown_tables_have_as_many_cells_as_heads(many: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    text = comparison_markdown(*many)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert Grid("c", ["a|b"], [["1"]]).markdown().startswith("| a\\|b |")


def point(setting: str, series: str, settings: dict[str, str], gain: float | None) -> dict[str, Any]:
    row = {"family": "image_generation", "metric": "mse", "mean": 0.1, "ci95": [0.05, 0.2]}
    value = None if gain is None else {"delta_percent": gain, "ci95": [gain - 1, gain + 1], "over": "local"}
    costs = {"steps_total": 10, "bytes_down": 10**6, "bytes_up": 10**6}
    splits = {"test": {"rows": [row], "gain": value}}
    return {"setting": setting, "series": series, "settings": settings, "clients": 4, "splits": splits, "costs": costs}


@pytest.fixture
def sweep() -> dict[str, Any]:
    result, _ = synthetic_comparison(["local", "tap"], seeds=1)
    points = [
        point("tap, margin=0", "tap", {"margin": "0"}, 1.0),
        point("tap, margin=0.001", "tap", {"margin": "0.001"}, 5.0),
        point("tap, margin=10", "tap", {"margin": "10"}, 2.0),
        point("tap:gate=paired", "tap:gate=paired", {}, 3.0),
        point("local", "local", {}, None),
    ]
    axes = [{"key": "margin", "values": ["0", "0.001", "10"]}]
    return {**result, "axes": axes, "points": points, "fixed": [], "incomplete": [], "base": "local"}


def test_a_sweeps_page_and_story(sweep: dict[str, Any]) -> None:
    costs = [{"method": each["setting"], "seconds": 4.0} for each in sweep["points"]]
    page = sweep_page(sweep, costs)
    check(page)
    assert page.count('class="plot"') == 3
    assert sweep_sentences(sweep) == [
        "tap: the mean gain on own test data is highest at margin = 0.001, +5.0 % (+4.0 to +6.0, one seed), and lowest at "
        "margin = 0, +1.0 % (0.0 to +2.0, one seed); their intervals do not overlap.",
        "tap:gate=paired, whatever margin is: +3.0 % (+2.0 to +4.0, one seed).",
        "Gains are relative to local at the same setting.",
    ]
    text = sweep_markdown(sweep, costs)
    assert "| tap:gate=paired | +3.0 (+2.0 to +4.0, one seed) |" in text
    assert "| local | 0.100 (0.050 to 0.200, one seed) |" in text
    assert "intervals over clients; there is one seed" in page
    assert "A dash in place of an interval" not in page + text
    several = sweep_page({**sweep, "seeds": [0, 1]}, costs)
    assert "one seed" not in several
    assert "(+2.0 to +4.0)" in several


def test_a_sweep_of_few_clients_has_dashes_and_says_why(sweep: dict[str, Any]) -> None:
    for each in sweep["points"]:
        for found in (each["splits"]["test"]["gain"], *each["splits"]["test"]["rows"]):
            if found:
                found["ci95"] = None
    page, text = sweep_page(sweep, []), sweep_markdown(sweep, [])
    check(page)
    assert intervals(text) == []
    assert "| tap:gate=paired | +3.0 (–) |" in text
    assert "| local | 0.100 (–) |" in text
    for shown in (page, text):
        assert shown.count("A dash in place of an interval: fewer than five clients") == 2  # gains, and metrics
    assert sweep_sentences(sweep)[-1] == "Where no interval is given, fewer than five clients have results."


def test_what_the_setting_does_not_apply_to_is_level(sweep: dict[str, Any]) -> None:
    found = {line.name: line for line in lines(sweep, gain_at("test"))}
    assert set(found) == {"tap", "tap:gate=paired"}
    assert found["tap"].at["10"] == (2.0, [1.0, 3.0])
    assert found["tap:gate=paired"].everywhere == (3.0, [2.0, 4.0])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["0.1", "1", "10"], "linear"),
        (["0.1", "1", "11"], "log"),
        (["0", "0.1", "11"], "symlog"),
        (["off", "on"], "names"),
        (["10", "30", "100"], "linear"),
    ],
)
def test_more_than_two_decades_are_logarithmic(values: list[str], kind: str) -> None:
    assert scale_of({"key": "x", "values": values}).kind == kind
