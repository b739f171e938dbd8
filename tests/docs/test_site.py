"""What the site makes by itself: the reference of commands, the list of public names, links that are right where pages lie.

Not here: that the site is drawn without a warning, which `make docs` shows; MkDocs is no part of what tests need.
"""

import runpy
from pathlib import Path

import pytest
from typer.main import get_command

import fedtap
from fedtap.cli import app

ROOT = Path(__file__).parents[2]
SITE = runpy.run_path(str(ROOT / "tools" / "docs_site.py"))


def test_the_reference_has_every_command_option_and_example() -> None:
    page = SITE["commands"]()

    def look(command: object, path: str) -> int:
        assert f"## `{path}`" in page
        below = getattr(command, "commands", {})
        return 1 + sum(look(below[name], f"{path} {name}") for name in below)

    assert look(get_command(app), "fedtap") == page.count("\n## ")
    section = page.partition("## `fedtap run`")[2].partition("\n## ")[0]
    assert "| `SCENARIO` | required | A YAML file, or the name" in section
    assert "| `--seed` | `0` | All that is random follows from it. |" in section
    assert "| `--workers`, `-w` `N\\|auto` |" in section  # a bar would end the cell
    assert "fedtap run quickstart --method fedavg_ft --seed 1\n" in section
    assert "--help" not in section


def test_the_page_of_python_has_every_public_name() -> None:
    directives = SITE["api"]()
    for name in fedtap.__all__:
        assert (f".{name}" in directives) == (name != "__version__")
        if name != "__version__":
            assert f"::: {getattr(fedtap, name).__module__}.{name}" in directives


@pytest.mark.parametrize(
    ("link", "origin", "place", "right"),
    [
        ("docs/faq.md", "README.md", "index.md", "faq.md"),
        ("docs/figures/a.svg", "README.md", "index.md", "figures/a.svg"),
        ("CHANGELOG.md", "README.md", "index.md", "changelog.md"),
        ("../README.md", "docs/faq.md", "faq.md", "index.md"),
        ("../benchmarks/results/wire.md", "docs/faq.md", "faq.md", "benchmarks/results/wire.md"),
        ("../examples/one_round.py", "docs/tour.md", "tour.md", "project-examples/one_round.py"),
        ("examples/fedavgm.py", "docs/add-a-method.md", "add-a-method.md", "examples/fedavgm.py"),
        ("theory.md", "docs/faq.md", "faq.md", "theory.md"),
        (
            "../../docs/flower.md",
            "examples/three-hospitals/README.md",
            "project-examples/three-hospitals/README.md",
            "../../flower.md",
        ),
        ("elsewhere.txt", "README.md", "index.md", "elsewhere.txt"),
    ],
)
def test_a_link_is_right_in_the_site(link: str, origin: str, place: str, right: str) -> None:
    assert SITE["_origin"](place) == origin
    assert SITE["_mended"](link, origin, place) == right


def test_a_list_has_an_empty_line_before_it_and_code_none_more() -> None:
    assert SITE["_spaced"]("said:\n- one\n- two\n  goes on\n- three\n") == "said:\n\n- one\n- two\n  goes on\n- three\n"
    code = "```\na:\n- b\n```\n"
    assert SITE["_spaced"](code) == code
