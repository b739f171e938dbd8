"""The page on the theory: its table is what the command prints, its example and its figures are what the code gives."""

import json
import re
import sys
from pathlib import Path

import pytest

from docs.redrawn import redrawn
from e2e.conftest import Command
from fedtap.theory.sampling import exact_sampling, sampling

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def told(fedtap: Command, *words: str) -> str:
    done = fedtap("theory", "plan", ROOT / "scenarios" / "paper-flava.yaml", *words)
    assert done.code == 0, done.err
    return done.out


def test_the_table_is_the_commands(fedtap: Command) -> None:
    section = PAGE.split("## Before a run")[1].split("## In a run")[0]
    page = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    printed = [
        re.split(r"\s{2,}", line.strip()) for line in told(fedtap).splitlines() if "/" in line and line[:2] != "- "
    ]
    assert len(page) == 14
    assert [[cell for cell in row if cell] for row in page] == printed
    words = " ".join(section.split())
    for line in told(fedtap).splitlines():
        if line.startswith("- "):
            assert line in words


def test_the_prose_beside_it_is_right(fedtap: Command) -> None:
    plan = json.loads(told(fedtap, "--json"))
    rarest = [part["component"] for part in plan["components"] if part["updates"] < 39]
    heads = {f"head/{name}" for name in ("tiny_imagenet", "cifar100", "fashion_mnist", "mmlu")}
    domains = {f"domain/{name}_answering" for name in ("law", "medicine", "moral")}
    assert set(rarest) == heads | domains
    rho = sampling(30, 3, 2).rho
    assert round(2 * rho - 1, 2) == 0.96  # of one or two holders: rho = P(1) + P(2) / 2
    six = json.loads(told(fedtap, "--json", "--set", "clients_per_round=6"))
    assert not any(part["starves"] for part in six["components"])


def test_the_example_by_hand() -> None:
    pi, rho, phi = exact_sampling(10, 3, 2)
    assert (pi * 45, rho * 24) == (24, 22.5)
    assert (round(float(pi), 2), round(float(rho), 2), round(float(phi), 2)) == (0.53, 0.94, 0.91)
    assert "`fedtap.theory.sampling.sampling(10, 3, 2)`" in PAGE


def test_the_figures_are_what_the_script_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import theory_figures

    from fedtap.reporting.html.figure_files import write_figures

    drawn = write_figures(theory_figures.price() + theory_figures.sharing() + theory_figures.tightness(), tmp_path)
    for m in (2, 8):  # the price's baseline is one pair, which needs as many clients as are drawn
        assert theory_figures.of(1, m, theory_figures.MANY).price == pytest.approx(1)
        assert f"{theory_figures.MANY} clients a pair, 2 or 8 of all drawn" in PAGE
    del sys.modules["theory_figures"]
    named = set(re.findall(r"\(figures/(theory-\w+\.svg)\)", PAGE))
    assert {path.name for path in drawn} == named
    numbers = re.compile(r"-?\d+\.\d+")
    for path in drawn:
        committed = (ROOT / "docs" / "figures" / path.name).read_text(encoding="utf-8")
        now = [float(x) for x in numbers.findall(path.read_text(encoding="utf-8"))]
        assert [float(x) for x in numbers.findall(committed)] == pytest.approx(
            now, abs=0.01
        )  # another matplotlib may round


STUDIES = {"synthetic": 1, "real": 2, "real-eight": 0}
"""The stored studies of pairs, and how many figures of each the page shows."""


@pytest.mark.parametrize("name", STUDIES)
def test_the_studys_tables_and_figures_are_what_its_stored_numbers_give(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert len(redrawn(f"pairs-{name}", PAGE, monkeypatch, tmp_path)) == STUDIES[name]
    rows = [
        line.split("|")[3:-1]
        for line in PAGE.split("## What a study shows")[1].split("\n## ")[0].splitlines()
        if line.startswith("|") and " loss" in line[:40]
    ]
    results = ROOT / "benchmarks" / "results"
    stored = [(results / f"pairs-{each}.md").read_text(encoding="utf-8") for each in STUDIES]
    assert len(rows) == 8 + 16
    for row in rows:
        cells = [cell.strip().strip("*") for cell in row]
        assert any(" | ".join(cells[-4:]) in each for each in stored)


def test_every_symbol_stands_in_the_list_before_it_is_used() -> None:
    before, after = PAGE.split("## Three numbers")
    known = before.split("## The words")[1]
    for symbol in (
        r"$\eta$",
        r"\gamma=\eta\tau",
        "$G_k(w)$",
        r"$\zeta_k^2(w)$",
        r"$\sigma_k^2$",
        "$L$",
        r"$\Delta$",
        r"$F^\ast$",
        "$N$",
        "$m$",
    ):
        assert symbol in known
    for symbol in (r"\pi", r"\rho", r"\varphi", r"\kappa"):
        assert symbol not in before
        assert symbol in after


def test_links_lead_somewhere() -> None:
    titles = [line.lstrip("# ") for line in PAGE.splitlines() if line.startswith("#")]
    headings = {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert anchor in headings
    assert not re.search(r"\b[A-Z]+_(TABLE|ADVICE|EXAMPLE|BOUND)\b", PAGE)
