r"""FedPer: heads stay at home. Arivazhagan, Aggarwal, Singh, Choudhary 2019, arXiv 1912.00818.

With body w and head :math:`h_i` (the paper's base and personalization layers), trained jointly:

.. math::
    (w_i, h_i) \leftarrow \mathrm{AdamW}^E(f_i, (w, h_i)), \quad w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

Differences from the paper: the personalization layers are the task heads, none of the layers before them; a client has one head
for each of its tasks. Each client trains in the rounds in which it is sampled, where in the paper all do. After the last round
comes every personalising method's low-rate fine-tuning; clients that never took part first train their heads (:mod:`partial`).
Optimizer, steps and averaging per component are the harness's.
"""

from __future__ import annotations

from fedtap.algorithms.partial import Partial
from fedtap.components import ComponentKey


class FedPer(Partial):
    """Average all but the heads."""

    name = "fedper"
    summary = "average all but the heads"
    source = "Arivazhagan et al. 2019, arXiv 1912.00818"

    def travels(self, key: ComponentKey, name: str) -> bool:
        """All but heads travels."""
        return key.kind != "head"
