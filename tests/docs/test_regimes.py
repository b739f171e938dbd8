"""What the results say of the studies of regimes is what their stored numbers say."""

import json
import re
from pathlib import Path

import pytest

from docs.redrawn import redrawn
from fedtap.study.regimes.design import BASE, POINTS, SINGLE

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Which method, where")[1].split("\n## ")[0]
FROZEN = "tap_best:start=chosen+judge=calibrated+start_margin=0.1"
COLUMNS = ("fedavg_ft", "fedper", "choice", "tap", "tap_best", FROZEN)


def table(section: str) -> list[str]:
    """Return the lines with numbers of a section's first table."""
    return [line for line in section.split("\n#")[0].splitlines() if re.match(r"\| .*[+-]\d", line)]


def told(mean: float, ci95: list[float]) -> str:
    """Return a mean and its interval as the page has them."""
    return f"{mean:+.1f} ({ci95[0]:+.1f} to {ci95[1]:+.1f})"


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("regimes*.json")))
def test_tables_and_figures_are_what_the_stored_numbers_give(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert bool(redrawn(name, SECTION, monkeypatch, tmp_path)) == (name == "regimes-map")


def test_the_table_of_the_page_is_the_stored_one() -> None:
    stored = json.loads((RESULTS / "regimes.json").read_text(encoding="utf-8"))
    assert [point["point"] for point in stored["points"]] == [point.name for point in POINTS]
    lines = [line.replace("**", "").strip("|").split("|") for line in table(SECTION)]
    *points, means = lines
    assert len(points) == len(POINTS)
    found = []
    for line, point in zip(points, stored["points"], strict=True):
        rows = {row["method"]: row for row in point["rows"]}
        found.append([rows[method]["gain"] for method in COLUMNS])
        assert [cell.strip() for cell in line[1:7]] == [f"{gain:+.1f}" for gain in found[-1]]
        best = max(SINGLE, key=lambda method: rows[method]["gain"] if method != BASE else 0.0)
        test = rows[FROZEN]["against"][best]
        assert line[7].strip() == f"`{best}` {told(test['difference'], test['ci95'])}"
    assert [cell.strip() for cell in means[1:7]] == [
        f"{sum(each) / len(each):+.1f}" for each in zip(*found, strict=True)
    ]


def test_what_is_said_over_all_points_is_stored() -> None:
    stored = json.loads((RESULTS / "regimes.json").read_text(encoding="utf-8"))
    words = " ".join(SECTION.split())
    for row in stored["over"]:
        if row["method"] == FROZEN:
            low, high = row["ci95"]
            said = f"`{row['against']}` by {row['difference']:.1f}"
            assert (
                f"{said} points ({low:+.1f} to {high:+.1f})" in words or f"{said} ({low:+.1f} to {high:+.1f})" in words
            )
            assert row["worst"] >= -1.2


def test_the_table_of_stage_2_is_the_stored_one() -> None:
    stored = json.loads((RESULTS / "regimes-stage2.json").read_text(encoding="utf-8"))
    lines = [
        [cell.strip() for cell in line.replace("**", "").strip("|").split("|")][1:]
        for line in table(SECTION.split("### What stage 2 costs and is worth")[1])
    ]
    wanted = []
    for point in stored["points"]:
        rows = {row["method"]: row for row in point["rows"]}
        with_it, without = rows["tap"], rows["tap:distil=off"]
        test = with_it["against"]["tap:distil=off"]
        worth = told(test["difference"], test["ci95"])
        wanted.append([f"{with_it['gain']:+.1f}", f"{without['gain']:+.1f}", worth])
    assert lines == wanted


def test_the_table_of_twice_the_compute_is_the_stored_one() -> None:
    stored = json.loads((RESULTS / "regimes-compute.json").read_text(encoding="utf-8"))
    section = SECTION.split("### TAP with the paper's compute")[1]
    *lines, means = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in table(section)]
    columns = ("tap", "tap:compute=paper", FROZEN)
    found = []
    for line, point in zip(lines, stored["points"], strict=True):
        rows = {row["method"]: row for row in point["rows"]}
        steps = {cost["method"]: cost["steps_total"] for cost in point["costs"]}
        assert (steps["tap"], steps["tap:compute=paper"], steps[FROZEN]) == (760, 1520, 760)
        found.append([rows[method]["gain"] for method in columns])
        test = rows["tap:compute=paper"]["against"]["tap"]
        assert line == [*(f"{gain:+.1f}" for gain in found[-1]), told(test["difference"], test["ci95"])]
    assert means[:3] == [f"{sum(each) / len(each):+.1f}" for each in zip(*found, strict=True)]
    for row in stored["over"]:
        if row["method"] == "tap:compute=paper" and row["against"] != "fedavg_ft":
            assert f"{told(row['difference'], row['ci95'])} over `{row['against']}`" in section


def test_the_table_of_long_training_is_the_stored_one() -> None:
    """But for its last two columns, which ``tools/gains_in_conflict.py`` counts in the runs themselves."""
    stored = json.loads((RESULTS / "regimes-long.json").read_text(encoding="utf-8"))
    (point,) = stored["points"]
    rows = {row["method"]: row for row in point["rows"]}
    steps = {cost["method"]: cost["steps_total"] for cost in point["costs"]}
    assert {steps.pop("tap:compute=paper"), *steps.values()} == {5120, 2560}
    names = {
        "tap with the paired gate": "tap:gate=paired",
        "tap, twice the steps": "tap:compute=paper",
        "tap, as published": "tap",
    }

    lines = [
        [cell.strip() for cell in line.replace("**", "").strip("|").split("|")]
        for line in table(SECTION.split("### Trained for long")[1])
    ]
    assert {names.get(name, name) for name, *_ in lines} == rows.keys() - {"federated"}
    for name, gain, behind, *_ in lines:
        method = names.get(name, name)
        assert gain == ("" if method == BASE else told(rows[method]["gain"], rows[method]["ci95"]))
        test = rows["tap_best"]["against"].get(method)
        assert behind == ("" if test is None else told(test["difference"], test["ci95"]))
        assert test is None or test["p_holm"] < 0.02
    assert rows["tap_best"]["hurt"]["local"] == 0


def test_what_is_said_of_long_training_with_experts_is_stored() -> None:
    stored = json.loads((RESULTS / "regimes-long-experts.json").read_text(encoding="utf-8"))
    ((point,), words) = stored["points"], " ".join(SECTION.split())
    against = next(row for row in point["rows"] if row["method"] == "tap_best")["against"]
    for method in SINGLE:
        assert f"{told(against[method]['difference'], against[method]['ci95'])} over `{method}`" in words
