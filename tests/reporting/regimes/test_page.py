"""The page of a study of regimes, from gains that are made up: its words, tables and map say what these say."""

import re
from typing import Any

from fedtap.reporting.regimes.map_figure import Panel, map_figure
from fedtap.reporting.regimes.page import regimes_markdown, regimes_page, regimes_sentences
from fedtap.study.regimes.design import SINGLE, cells
from fedtap.study.regimes.effects import over_points, point_rows, with_holm
from fedtap.study.statistics import Gain

CLIENTS = "abcdefgh"
MADE_WITH = {"fedtap": "0", "commit": "", "torch": "2", "python": "3", "machine": "one"}


def gains(level: float) -> list[Gain]:
    """Return gains around a level, a little different from client to client."""
    spread = {client: 0.1 * (place - 3.5) for place, client in enumerate(CLIENTS)}
    return [
        Gain(seed, client, "digits", "f", "accuracy", 0.5, 0.5, level + spread[client], 0)
        for seed in (0, 1)
        for client in CLIENTS
    ]


def study(*, without: str = "") -> dict[str, Any]:
    """Return a study of four cells: what `mine` gains over fedavg_ft is 3 points less in conflict 0, 3 more in conflict 1."""
    found = {}
    for point in cells((0.0, 1.0), (16, 96)):
        levels = {"local": 0.0, "fedavg_ft": 5.0, "mine": 2.0 if point.conflict == 0 else 8.0, "other": -2.0}
        levels["federated"] = -1.0
        found[point.name] = {label: gains(level if label != "local" else 0.0) for label, level in levels.items()}
        found[point.name]["local"] = [Gain(*tuple_of(gain), 0.0, 0) for gain in found[point.name]["local"]]
    rows = {name: point_rows(its, ["local", "fedavg_ft", "mine", "other"]) for name, its in found.items()}
    with_holm(rows)
    points = [
        {
            "point": point.name,
            "about": point.about,
            "conflict": point.conflict,
            "examples": point.examples,
            "cell": True,
            "clients": 8,
            "client_tasks": 8,
            "rows": rows[point.name],
            "costs": [],
        }
        for point in cells((0.0, 1.0), (16, 96))
        if point.name != without
    ]
    return {
        **MADE_WITH,
        "quick": False,
        "network": "plain",
        "seeds": [0, 1],
        "methods": ["local", "fedavg_ft", "mine", "other"],
        "points": points,
        "counted": list(found),
        "over": over_points(found, SINGLE),
        "incomplete": [{"point": without, "method": "mine", "why": "<b>lost</b>"}] if without else [],
        "toy": [
            {"conflict": 0.0, "examples": 16, "risk": {"local": 2.0, "fedavg_ft": 1.0, "choice": 0.5}
             | {"tap, training losses": 1.5, "tap, validation": 1.0}}
        ],
    }  # fmt: skip


def tuple_of(gain: Gain) -> tuple[Any, ...]:
    return (gain.seed, gain.client, gain.task, gain.family, gain.metric, gain.value, gain.base)


def test_sentences_name_who_leads_and_where_a_method_is_worst() -> None:
    told = " ".join(regimes_sentences(study()))
    assert "0% of the clients in conflict, 16 examples: fedavg_ft has the highest mean (+5.0)." in told
    assert "100% of the clients in conflict, 96 examples: mine has the highest mean (+8.0)." in told
    assert "Over 4 points mine is 0.0 " in told.replace("+0.0", "0.0").replace("-0.0", "0.0")
    assert re.search(r"at the least -3\.0 \(conflict-0-examples-(16|96)\)", told)
    assert "federated has the highest" not in told
    assert "not told apart" not in told  # mine from other neither, of which neither is one of the rivals


def test_the_tables_have_every_difference() -> None:
    told = regimes_markdown(study())
    (line,) = [
        line
        for line in told.split("## conflict-1-examples-16")[1].split("##")[0].splitlines()
        if line.startswith("| mine |")
    ]
    assert "**+8.0" in line
    assert line.count("+3.0 (+3.0 to +3.0)*") == 2  # less fedavg_ft, which is the better single too
    assert line.rstrip().endswith("| 0% | 0% |")


def test_a_star_is_for_who_is_ahead_of_all_others() -> None:
    told = study()
    for row in told["points"][0]["rows"]:
        for test in row["against"].values():
            test["p_holm"] = 0.2
    first, *others = regimes_markdown(told).split("## conflict-")[1:]
    assert "**" not in first
    assert all("**" in other for other in others)


def test_the_map_changes_sign_between_its_columns() -> None:
    page = regimes_page(study())
    figure = page.split("Gain over the better of local and fedavg_ft, in points")[1].split("</svg>")[0]
    assert re.findall(r">([+-]\d\.\d)<", figure.replace("−", "-"))[:4] == ["-3.0", "-3.0", "+3.0", "+3.0"]
    assert page.count("<svg") == 2
    incomplete = regimes_page(study(without="conflict-0-examples-16"))
    assert "&lt;b&gt;lost&lt;/b&gt;" in incomplete
    assert "<b>lost" not in incomplete


def test_a_line_is_drawn_only_where_a_whole_map_changes_its_sign() -> None:
    def lines(values: dict[tuple[float, float], float]) -> int:
        cells_ = {cell: (value, False) for cell, value in values.items()}
        return map_figure([Panel("one", cells_)], "map", "in points").count("stroke-width: 1.6")

    whole = {(0.0, 16.0): -1.0, (0.0, 96.0): -1.0, (1.0, 16.0): 1.0, (1.0, 96.0): 1.0}
    assert lines(whole) == 1
    assert lines({cell: abs(value) for cell, value in whole.items()}) == 0
    del whole[1.0, 96.0]
    assert lines(whole) == 0
