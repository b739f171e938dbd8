r"""DisentAFL, then fine-tuning: :mod:`disentafl` with the personal fine-tuning of :mod:`fedavg_ft`.

.. math:: v_i = \mathrm{AdamW}^{T'}(f_i, w_{plan(i)})

Differences from the paper: beside those of :mod:`disentafl`, the fine-tuning, which lets it be compared with methods that
personalise. It has no term between latents: it is what every personalising method ends with.
"""

from __future__ import annotations

from fedtap.algorithms.disentafl import DisentAfl, DisentAflParams
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning, FedAvgFineTuningParams


class DisentAflFineTuningParams(DisentAflParams, FedAvgFineTuningParams):
    """Parameters of both."""


class DisentAflFineTuning(DisentAfl, FedAvgFineTuning):
    """DisentAFL with a personal fine-tuning."""

    name = "disentafl_ft"
    summary = "disentafl, then local fine-tuning"
    source = "Chen & Zhang 2024, 10.1609/aaai.v38i10.29010"
    deployed = "finetuned"
    Params = DisentAflFineTuningParams
    params: DisentAflFineTuningParams
