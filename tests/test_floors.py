"""The floors of the house: an import goes down only. Read with `ast`, so that an import within a function counts too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtap.algorithms.registry import algorithms

SRC = Path(__file__).parents[1] / "src" / "fedtap"
FLOORS = (
    (
        *("errors", "explain", "plain_yaml", "pairs", "settings", "safety", "backbone", "clients", "spread", "config"),
        *("accounting", "storage", "components", "randomness", "memory", "threads", "batch"),
    ),
    ("tasks", "backbones", "data"),
    ("network",),
    ("training",),
    ("algorithms",),
    ("federation",),
    ("engines", "evaluation", "reporting"),
    ("experiment",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
NEIGHBOURS = {
    # towers take pictures, and the normalised image space is defined once
    ("backbones", "fedtap.data.images"),
    # the feature cache and the encoded data are about towers
    ("data", "fedtap.backbones.base"),
}
"""Imports between two rooms of one floor, each with its reason. The rooms of the ground floor may use each other."""
FORBIDDEN = {("network", "data")}
"""Imports that go down and yet must not be: a network knows batches of features, not where they come from."""
DOORS = ("__init__.py", "__main__.py")
"""The package's own entrances, which open onto the upper floors."""
FILES = sorted(SRC.rglob("*.py"))


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
        same_ground = FLOOR[mine] == FLOOR[parts[1]] == 0
        goes_down = FLOOR[parts[1]] < FLOOR[mine] and (mine, parts[1]) not in FORBIDDEN
        if goes_down or same_ground or (mine, module) in NEIGHBOURS:
            continue
        found.append(module)
    return found


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in FILES if named(path) not in DOORS} == set(FLOOR)


@pytest.mark.parametrize("path", [path for path in FILES if named(path) not in DOORS], ids=named)
def test_an_import_goes_down(path: Path) -> None:
    assert refused(path) == []


def test_every_exception_is_still_needed() -> None:
    used = {(room(path), module) for path in FILES if named(path) not in DOORS for module in imports(path)}
    assert used >= NEIGHBOURS


def test_the_ground_floor_has_no_circle() -> None:
    below = {
        name: {module.split(".")[1] for module in imports(SRC / f"{name}.py") if module.startswith("fedtap.")}
        for name in FLOORS[0]
    }
    laid: set[str] = set()
    while below:
        ready = {name for name, needs in below.items() if needs <= laid}
        assert ready, f"these import each other: {sorted(below)}"
        laid |= ready
        below = {name: needs for name, needs in below.items() if name not in ready}


def test_only_its_own_engine_knows_flower() -> None:
    knowing = {named(path) for path in FILES for module in imports(path) if module.split(".")[0] == "flwr"}
    assert all(name.startswith("engines/flower") for name in knowing)


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


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("network/made_up.py", "from fedtap.data.loader import ClientData"),
        ("training/made_up.py", "from fedtap.federation.server import Server"),
        ("tasks/made_up.py", "from fedtap.backbones.base import Tower"),
        ("config.py", "from fedtap import tasks"),
        ("experiment/made_up.py", "def late():\n    import fedtap.cli"),
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
