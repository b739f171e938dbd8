r"""FedSA-LoRA: of low-rank adapters A is averaged and B stays at home. Guo, Zeng, Wang, Fan, Wang, Qu 2024, arXiv 2410.01463.

With a frozen matrix W and its adapter :math:`W + \frac{\alpha}{r} A B` (a row times a matrix: A reads, B writes),

.. math::
    (A_i, B_i, w_i) \leftarrow \mathrm{AdamW}^E(f_i, (A, B_i, w)), \quad
    A \leftarrow \sum_i n_i A_i / \sum_i n_i

A learns what clients have in common, B what is a client's own; the mean of A times the mean of B would not be the mean of AB
either. All else that is trained, w, is averaged as A is.

Differences from the paper: what is frozen there is a pretrained model. Where a scenario trains its fusion layers from a start
(``network.adaptation: full``) the method freezes and adapts them instead (``lora``). Heads and encoders' ends travel, since every
method here has them. After the last round comes the low-rate fine-tuning of every personalising method; clients that never took
part first train their B (:mod:`partial`). Optimizer, steps and averaging per component are the harness's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fedtap.algorithms.partial import Partial
from fedtap.components import ComponentKey


class FedSaLora(Partial):
    """Average all but the second factors of adapters."""

    name = "fedsa_lora"
    summary = "average all but the second factors (B) of low-rank adapters"
    source = "Guo et al. 2024, arXiv 2410.01463"
    adaptations: ClassVar[Mapping[str, str]] = {"full": "lora"}

    def travels(self, key: ComponentKey, name: str) -> bool:
        """All but an adapter's second factor travels."""
        return not name.endswith("_B")
