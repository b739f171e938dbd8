r"""TAP at equal compute, as good as we know how: a personal model that costs no step. Ours; see docs/research-log.md.

The paper's rule trains two models, so at equal steps each gets half. Here W gets all of them. X is the exponential mean over time
of the client's own trained slices; after the last round the slice takes the whole finish, and each task's path of the finished
slice moves back towards X by the factor that is best on the client's validation split:

.. math::
    X \leftarrow X + p (W_i - X) \text{ in each participation}, \quad
    F = \mathrm{AdamW}^{T'}(f_i, w), \quad
    F[c] \leftarrow F[c] + a_o (X[c] - F[c]), \; c \in path(i, o)

It is :mod:`tap` with other defaults, and each can be set back. X's adoption of W (stage 1) is then a step of the mean, and what
the federation knows in general comes with the slice (stage 2) in the place of distillation, which gave nothing measurable.

Differences from the paper: ``personal: shared``, ``replace: average``, ``mix: end``, ``distil: off``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from fedtap.algorithms.tap import Tap, TapParams, mixing, switch


class TapBestParams(TapParams):
    """Parameters of TAP, with other defaults."""

    personal: Literal["separate", "shared"] = "shared"
    replace: Annotated[Literal["hard", "soft", "average", "off"], BeforeValidator(switch)] = "average"
    mix: Annotated[Literal["off", "start", "end"], BeforeValidator(mixing)] = "end"
    distil: bool = False


class TapBest(Tap):
    """All steps to the federated model; the personal one is a mean over time, and comes back in at the end."""

    name = "tap_best"
    summary = "tap at equal compute: all steps to the federated model, the personal one a mean over time"
    source = "this project; after Lee et al. 2025, arXiv 2509.26524"
    Params = TapBestParams
    params: TapBestParams
