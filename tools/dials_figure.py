"""Draws the figure of the dials in docs/scenarios.md: `python tools/dials_figure.py` writes docs/figures/dials.png.

Rows: a picture of easy-VQA and a digit as clients with each shift see them; a sentence as they read it; what four clients of whom
half are in conflict call the ten digits. All of it is what fedtap.data.dials makes of real examples.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedtap.data.dials.conflict import exchanged
from fedtap.data.dials.shift import repainted, reworded
from fedtap.data.images import resize
from fedtap.data.sources import source
from fedtap.scenario.dials import PictureShift, TextShift
from fedtap.scenario.scenario import build_scenario

FILE = Path(__file__).parents[1] / "docs" / "figures" / "dials.png"
SENTENCE = "a warm and funny film that never loses sight of its people"
TASK = {"name": "digits", "type": "classification", "modality": "image", "domain": "digits", "source": "digits"}


def pictures() -> list[np.ndarray]:
    """Return a picture of each of two sources, as 96 x 96 pixels."""
    found = []
    for name, type, number in (("easy_vqa", "reconstruction", 40), ("digits", "classification", 7)):
        (client,) = build_scenario(
            {"name": "figure", "clients": [{"id": "a", "tasks": [{**TASK, "type": type, "source": name}]}]},
            place="figure",
            folder=Path(),
        ).clients
        image = source(name).examples(client.tasks[0], Path())[number].image
        assert image is not None
        found.append(resize(image.load(), 96))
    return found


def names() -> list[str]:
    """Return what each of four clients calls the digits 0 to 9, a line each."""
    raw = {"name": "figure", "data": {"conflict": 0.5}, "clients": [{"id": "site", "count": 4, "tasks": [TASK]}]}
    scenario = build_scenario(raw, place="figure", folder=Path())
    called = exchanged(scenario, 0)
    lines = []
    for client in scenario.clients:
        own = called.get((client.id, "digits"), np.arange(10))
        lines.append(
            f"{client.id}  " + "  ".join(map(str, own)) + ("   in conflict" if (own != range(10)).any() else "")
        )
    return lines


def main() -> None:
    """Draw and write the figure."""
    kinds, examples = get_args(PictureShift), pictures()
    figure = Figure(figsize=(9, 5.6), dpi=110)
    FigureCanvasAgg(figure)
    for row, pixels in enumerate(examples):
        for column, kind in enumerate(kinds):
            axes = figure.add_subplot(4, len(kinds), row * len(kinds) + column + 1)
            axes.imshow(repainted(pixels, kind, "figure") if kind != "as_is" else pixels)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(kind, fontsize=10)
    lines = [f"{kind:<11} {reworded(SENTENCE, kind) if kind != 'as_is' else SENTENCE}" for kind in get_args(TextShift)]
    figure.text(0.06, 0.33, "shift of texts\n\n" + "\n".join(lines), family="monospace", fontsize=9, va="bottom")
    title = "conflict: 0.5 - what is called 0 1 2 ... 9 elsewhere is called"
    figure.text(0.06, 0.05, f"{title}\n\n" + "\n".join(names()), family="monospace", fontsize=9, va="bottom")
    figure.savefig(FILE, metadata={"Software": None})


if __name__ == "__main__":
    main()
