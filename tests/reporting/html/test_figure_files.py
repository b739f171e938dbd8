"""Figures of a page as files: well-formed, whole, and in the page's colours."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from matplotlib.figure import Figure

from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.html.svg import SERIES, inline

NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn(title: str, points: list[float]) -> str:
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot(points, color=SERIES[1], marker="o")
    return str(inline(figure, title))


def test_each_figure_is_a_file_that_stands_alone(tmp_path: Path) -> None:
    page = (
        f"<html><p>before</p>{drawn('Gain on others&#x27; data', [1, 2])}<p/>{drawn('Cost, by setting', [3, 1])}</html>"
    )
    page = page.replace("&amp;#x27;", "&#x27;")
    files = write_figures(page, tmp_path / "figures")
    assert [file.name for file in files] == ["gain-on-others-data.svg", "cost-by-setting.svg"]
    for file in files:
        root = ElementTree.parse(file).getroot()
        assert root.tag == f"{NAMESPACE}svg"
        style = root.find(f"{NAMESPACE}style")
        assert style is not None
        rules = str(style.text)
        used = {part.split(")")[0] for part in file.read_text().split("var(")[1:]}
        assert {"--series-2", "--ink"} <= used
        assert all(f"{name}:" in rules for name in used), "a colour of the page is missing from the file"
        assert "prefers-color-scheme: dark" in rules
    assert len({file.read_bytes() for file in files}) == 2


def test_the_same_page_gives_the_same_bytes_and_one_without_figures_none(tmp_path: Path) -> None:
    page = drawn("Gain", [1, 2])
    first, second = (write_figures(page, tmp_path / name)[0].read_bytes() for name in "ab")
    assert first == second
    assert write_figures("<html></html>", tmp_path / "c") == []
    assert not (tmp_path / "c").exists()
