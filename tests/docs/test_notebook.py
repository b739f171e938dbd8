"""The notebook of examples/ runs, and what is kept of its last execution names no machine.

Its cells are run as a kernel runs them, without one: a cell's last expression is shown, as HTML or as a picture where it can be.
"""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "examples" / "first-federation.ipynb"
NOTEBOOK: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
LARGEST = 200_000  # bytes


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def shown(value: Any) -> str:
    """Return how a notebook shows a value."""
    for name in ("_repr_html_", "_repr_png_"):
        if hasattr(value, name):
            return str(getattr(value, name)())
    return repr(value)


def run(cell: dict[str, Any], names: dict[str, Any]) -> str:
    """Run a cell, and return what is shown of its last expression; nothing where it ends with a semicolon."""
    tree = ast.parse(source(cell))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(FILE), "exec"), names)
    value = None if last is None else eval(compile(ast.Expression(last.value), str(FILE), "eval"), names)
    return "" if value is None or source(cell).rstrip().endswith(";") else shown(value)


@pytest.mark.slow
def test_every_cell_runs_and_shows_something_where_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas", reason="the extra pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    for cell in CODE:
        capsys.readouterr()
        value = run(cell, names)
        assert bool(value) == any(output["output_type"] == "execute_result" for output in cell["outputs"]), value
        printed = "".join("".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream")
        assert bool(capsys.readouterr().out) == bool(printed)
    assert set(names["result"].gains["client"]) == {"north", "east", "south", "west"}
    assert names["result"].report.is_file()


def test_it_was_executed_from_top_to_bottom_without_a_fault() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result", "display_data", "stream"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_it_is_small_and_names_no_machine() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    for place in ("/tmp", "/home", "/root", "/work", "/usr", "site-packages"):
        assert place not in text


def test_its_links_lead_somewhere() -> None:
    text = "".join(source(cell) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) >= 2
    for link in links:
        assert (FILE.parent / link).is_file(), link
