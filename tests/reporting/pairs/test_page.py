"""The page of a study of pairs: its words and names say no more than it measured, in one order whatever that of the file."""

import json
from pathlib import Path

from fedtap.reporting.pairs.page import NOTE, pairs_markdown, pairs_page

STORED = Path(__file__).parents[3] / "benchmarks" / "results"


def test_sharing_is_called_a_net_effect() -> None:
    result = json.loads((STORED / "pairs-real.json").read_text(encoding="utf-8"))
    told = pairs_markdown(result)
    assert "sharing (net), equal updates +0.013 (0.013), sharing (net), equal rounds +0.061 (0.004)" in told
    assert "In logs the difference is -0.002 (0.005), below 0 where personal models win something back." in told
    assert "It is the net of all that sharing changes" in NOTE
    page = pairs_page(result)
    assert "In the figure a bar reaches two standard errors to each side." in page
    assert "change of the log of the loss" in page  # the axis
    assert page.count("sharing (net), equal rounds") > 2  # table, sentence and legend


def test_the_order_of_the_file_does_not_matter() -> None:
    result = json.loads((STORED / "pairs-synthetic.json").read_text(encoding="utf-8"))
    problem = result["problems"]["synthetic"]
    other = {
        kind: {**problem[kind], "alone": dict(reversed(problem[kind]["alone"].items()))} for kind in reversed(problem)
    }
    assert list(other) != list(problem)
    told = pairs_markdown(result)
    assert pairs_markdown({**result, "problems": {"synthetic": other}}) == told
    assert told.index("unlike pairs") < told.index(", alike pairs")
