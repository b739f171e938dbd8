"""The floors of the house: an import goes down only. Read with `ast`, so that an import within a function counts too.

The floors themselves stand in docs/architecture.md, as a picture: what is drawn there is what is tested here.
"""

import ast
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtap.algorithms.registry import algorithms

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "fedtap"
DRAWING = ROOT / "docs" / "architecture.md"
VOCABULARY = ("pairs", "components", "batch")
"""The only floor whose rooms, which are files, may use each other; no circle."""
NEVER = {("network", "data")}
"""Imports that go down and yet must not be: a network knows batches of features, not where they come from."""
DOORS = ("__init__.py", "__main__.py")
"""The package's own entrances, which open onto the upper floors."""
ENGINES = {"flwr": "engines/flower/", "ray": "engines/ray"}
"""Packages that one engine alone may know."""
LISTS = ("algorithms", "data/sources")
"""Rooms that are lists by nature: a method a file, a source a file."""
FILES = sorted(SRC.rglob("*.py"))


def drawn() -> list[list[str]]:
    """Return the floors as they are drawn, ground first."""
    picture = DRAWING.read_text(encoding="utf-8").split("## Floors")[1].split("```")[1]
    return [line.split() for line in reversed(picture.strip().splitlines()[1:])]


FLOORS = drawn()
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> Iterator[str]:
    """Iterate over the modules that a file imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "fedtap":
                yield from (f"fedtap.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def named(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def room(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def refused(path: Path) -> list[str]:
    """Return the imports of a file that do not go down."""
    mine = room(path)
    found = []
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "fedtap" or parts[1:] in ([], ["__version__"]) or parts[1] == mine:
            continue
        goes_down = FLOOR[parts[1]] < FLOOR[mine] and (mine, parts[1]) not in NEVER
        if not goes_down and not {mine, parts[1]} <= set(VOCABULARY):
            found.append(module)
    return found


def test_every_room_is_drawn_once() -> None:
    assert Counter(room(path) for path in FILES if named(path) not in DOORS).keys() == FLOOR.keys()
    assert sum(map(len, FLOORS)) == len(FLOOR)


@pytest.mark.parametrize("path", [path for path in FILES if named(path) not in DOORS], ids=named)
def test_an_import_goes_down(path: Path) -> None:
    assert refused(path) == []


@pytest.mark.parametrize("upper", range(1, len(FLOORS) - 1))
def test_a_floor_stands_on_the_one_below(upper: int) -> None:
    """Two floors of which none needs the other would be drawn as one. (The command calls `fedtap.run`, which is `launch`.)"""
    below = {
        module.split(".")[1]
        for path in FILES
        if named(path) not in DOORS and room(path) in FLOORS[upper]
        for module in imports(path)
        if module.startswith("fedtap.")
    }
    assert below & set(FLOORS[upper - 1]), f"{FLOORS[upper]} needs nothing of {FLOORS[upper - 1]}"


def test_the_vocabulary_has_no_circle() -> None:
    below = {
        name: {m.split(".")[1] for m in imports(SRC / f"{name}.py") if m.startswith("fedtap.")} & set(VOCABULARY)
        for name in VOCABULARY
    }
    laid: set[str] = set()
    while below:
        ready = {name for name, needs in below.items() if needs <= laid}
        assert ready, f"these import each other: {sorted(below)}"
        laid |= ready
        below = {name: needs for name, needs in below.items() if name not in ready}


@pytest.mark.parametrize("package", ENGINES)
def test_one_engine_alone_knows_its_package(package: str) -> None:
    knowing = {named(path) for path in FILES for module in imports(path) if module.split(".")[0] == package}
    assert all(name.startswith(ENGINES[package]) for name in knowing)


def test_nothing_asks_which_method_it_is() -> None:
    names = set(algorithms()) - {"probe", "colora"}  # one is a kind of component too, the other a way of adaptation
    asking = [
        f"{named(path)}:{node.lineno}"
        for path in FILES
        if room(path) != "algorithms"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in names
    ]
    assert asking == []


def test_files_are_short_and_rooms_are_small() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) < 120
    held = Counter(path.parent.relative_to(SRC).as_posix() for path in FILES)
    assert held["."] <= 6
    assert {place: number for place, number in held.items() if number > 20 and place not in LISTS} == {}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("network/made_up.py", "from fedtap.data.loader import ClientData"),
        ("training/made_up.py", "from fedtap.federation.server import Server"),
        ("tasks/made_up.py", "from fedtap.backbones.base import Tower"),
        ("pairs.py", "from fedtap import tasks"),
        ("experiment/made_up.py", "def late():\n    import fedtap.cli"),
        # The three that the house once had: a run that knew the deployment, a rule that knew the methods, data that knew models.
        ("experiment/made_up.py", "def late():\n    from fedtap.deployment.rehearsal import rehearse"),
        ("personalization/made_up.py", "from fedtap.algorithms.base import Algorithm"),
        ("data/made_up.py", "from fedtap.backbones.base import Tower"),
    ],
)
def test_the_check_itself_sees_an_import_that_goes_up(
    place: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    monkeypatch.setattr(f"{__name__}.SRC", tmp_path)
    assert len(refused(path)) == 1
