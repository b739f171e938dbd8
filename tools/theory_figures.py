"""Draws the figures of docs/theory.md: `python tools/theory_figures.py` writes docs/figures/theory-*.svg.

All of them are closed forms or exact recursions; nothing is drawn at random, and the same code gives the same bytes. The example
is the simplest there is: K pairs with as many clients each, one curvature, an optimum for each pair, and noisy gradients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.svg import MARKS, SERIES, STYLE, inline
from fedtap.theory.bound import ComponentTerms, one_step_bound
from fedtap.theory.sampling import Sampling, sampling

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
PAIRS = (1, 2, 4, 8, 16, 32)
CLIENTS, MANY = 3, 8
"""A pair; ``MANY`` for the price, where one pair alone must have as many clients as a round draws."""
STEP, NOISE, GAP, APART, ROUNDS = 0.1, 2.0, 4.0, 0.5, 60
"""gamma, sigma^2, the squared distance to the optimum at the start, the variance of the pairs' optima, T_1; curvature 1."""


def of(pairs: int, drawn: int, clients: int = CLIENTS) -> Sampling:
    """Return the sampling of a component that one of K pairs holds; ``clients`` a pair, at least as many as are drawn."""
    return sampling(clients * pairs, clients, drawn)


def distances(start: float, chance: float, variance: float, rounds: int) -> list[float]:
    """Return E |w - optimum|^2 after 0, 1, ... rounds, of which each trains with a chance and adds a variance."""
    found = [start]
    for _ in range(rounds):
        moved = (1 - STEP) ** 2 * found[-1] + STEP**2 * variance
        found.append((1 - chance) * found[-1] + chance * moved)
    return found


def private(pairs: int, drawn: int, rounds: int) -> float:
    """Return the mean excess loss of pairs that each have a component of their own."""
    mine = of(pairs, drawn)
    return distances(GAP, mine.pi, mine.rho * NOISE, rounds)[-1] / 2


def shared(pairs: int, drawn: int, rounds: int, apart: float) -> float:
    """Return the mean excess loss of pairs that share one; ``apart`` is the variance of their optima were there very many."""
    clients = CLIENTS * pairs
    trunk = sampling(clients, clients, drawn)
    zeta2 = apart * (1 - 1 / pairs)
    return (distances(GAP, 1.0, trunk.phi * zeta2 + trunk.rho * NOISE, rounds)[-1] + zeta2) / 2


def draw(axes: Axes, place: int, y: list[float], label: str) -> None:
    """Draw one line over K."""
    axes.plot(PAIRS, y, color=SERIES[place], marker=MARKS[place], label=label)


def over_pairs(axes: Axes, title: str, label: str) -> None:
    """Finish a panel whose x is K."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(PAIRS, [str(k) for k in PAIRS])
    axes.set_title(title)
    axes.set_xlabel("pairs K")
    axes.set_ylabel(label)
    axes.legend(loc="best")


def price() -> Markup:
    """Return what the bound asks of a pair's own component in rounds, one pair alone being 1: coverage times lost averaging."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.3), layout="constrained")
        for place, drawn in enumerate((2, 8)):
            axes = figure.add_subplot(1, 2, place + 1)
            found = [of(pairs, drawn, MANY) for pairs in PAIRS]
            draw(axes, 0, [1 / each.pi for each in found], "coverage, 1 / pi")
            draw(axes, 1, [drawn * each.rho for each in found], "lost averaging, m rho")
            draw(axes, 2, [each.price for each in found], "both: rounds, by the bound")
            axes.set_yscale("log", base=2)
            axes.set_yticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
            over_pairs(axes, f"{MANY} clients a pair, m = {drawn} a round", "times that of one pair")
        return inline(figure, "Theory price")


def sharing() -> Markup:
    """Return the loss of a component of one's own against a shared one, for pairs that are alike and pairs that are not."""
    drawn = 2
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.5), layout="constrained")
        for place, longer in enumerate((False, True)):
            axes = figure.add_subplot(1, 2, place + 1)
            rounds = [round(ROUNDS / of(pairs, drawn).pi) if longer else ROUNDS for pairs in PAIRS]
            each = list(zip(PAIRS, rounds, strict=True))
            draw(axes, 0, [private(k, drawn, t) for k, t in each], "a component of its own")
            draw(axes, 1, [shared(k, drawn, t, APART) for k, t in each], "shared, pairs unlike")
            draw(axes, 2, [shared(k, drawn, t, 0.0) for k, t in each], "shared, pairs alike")
            axes.set_ylim(bottom=0)
            over_pairs(
                axes, "rounds / pi: equal updates" if longer else f"{ROUNDS} rounds", "excess loss, mean over pairs"
            )
        return inline(figure, "Theory sharing")


def tightness() -> Markup:
    """Return the bound of one local step beside what happens, pairs with components of their own."""
    drawn = 2
    truth, bounds = [], []
    for pairs in PAIRS:
        mine = of(pairs, drawn)
        left = np.mean(
            distances(GAP, mine.pi, mine.rho * NOISE, ROUNDS)[:-1]
        )  # |G|^2 is the distance, the curvature being 1
        part = ComponentTerms(mine.share, mine.pi, mine.rho, mine.phi, mine.pi, 0.0, NOISE)
        given = {"gap": GAP / 2, "smoothness": 1.0, "rate": STEP, "rounds": ROUNDS}
        truth.append(float(left))
        bounds.append(one_step_bound([part] * pairs, **given).total / mine.pi)
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.3), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, 0, truth, "what happens")
        draw(axes, 1, bounds, "the bound")
        axes.set_yscale("log")
        over_pairs(axes, f"{ROUNDS} rounds", "squared gradient, mean over rounds")
        return inline(figure, "Theory bound")


if __name__ == "__main__":
    for file in write_figures("".join((price(), sharing(), tightness())), FOLDER):
        print(file)
