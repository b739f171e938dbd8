r"""TAP at equal compute, as good as we know how: a personal model that costs no step. Ours; see docs/research-log.md.

The paper's rule trains two models, so at equal steps each gets half. Here W gets all of them, with the term of :mod:`disentafl`
that keeps the latents of different pairs apart. Each task is trained under the better of two heads, the received one and the
client's own, which has to be better by a tenth of the loss: where clients contradict each other their heads stay at home and the
trunk is shared, where they do not all is shared (:mod:`fedtap.personalization.start`). X is the exponential mean over time of the
client's own trained slices; after the last round the slice, under the better heads, takes the whole finish, each task's path
of the finished slice moves back towards X by the factor that is best on the client's validation split, and heads that have a
closed form are set to their optimum (:mod:`refit`):

.. math::
    w_{head(o)} \leftarrow X_{head(o)} \;\text{ iff }\;
    f^{val}_o(w[head \leftarrow X]) < (1 - m) f^{val}_o(w), \quad
    W_i = \mathrm{AdamW}^{E}(f_i + \gamma \, \overline{\cos^2}, w), \quad
    X \leftarrow X + p (W_i - X) \text{ in each participation}, \\
    F = \mathrm{AdamW}^{T'}(f_i, w), \quad
    F[c] \leftarrow F[c] + a_o (X[c] - F[c]), \; c \in path(i, o), \quad
    F_{head} \leftarrow \arg\min_{h} \; f_i + \mu \|h - F_{head}\|^2

It is :mod:`tap` with other defaults, and each can be set back. X's adoption of W (stage 1) is then a step of the mean, and what
the federation knows in general comes with the slice (stage 2) in the place of distillation, which gave nothing measurable.

Differences from the paper: ``personal: shared``, ``start: chosen`` with ``start_margin: 0.1``, ``judge: calibrated``, ``replace:
average``, ``mix: end``, ``distil: off``, ``disentangle: 0.5``, ``refit: on``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from fedtap.algorithms.tap import NonNegative, Share, Tap, TapParams, mixing, switch
from fedtap.training.judge import Judge


class TapBestParams(TapParams):
    """Parameters of TAP, with other defaults."""

    personal: Literal["separate", "shared"] = "shared"
    start: Literal["received", "chosen"] = "chosen"
    start_margin: Share = 0.1
    judge: Judge = "calibrated"
    replace: Annotated[Literal["hard", "soft", "average", "off"], BeforeValidator(switch)] = "average"
    mix: Annotated[Literal["off", "start", "end"], BeforeValidator(mixing)] = "end"
    disentangle: NonNegative = 0.5
    distil: bool = False
    refit: bool = True


class TapBest(Tap):
    """All steps to the federated model, each task under the better head; a mean over time comes back in at the end."""

    name = "tap_best"
    summary = "tap at equal compute: all steps to the federated model, heads at home where validation says so"
    source = "this project; after Lee et al. 2025, arXiv 2509.26524"
    Params = TapBestParams
    params: TapBestParams
