r"""FedBN's analogue for layer normalisation: normalisations stay at home. Li, Jiang, Zhang, Kamp, Dou 2021, arXiv 2102.07623.

With :math:`\gamma_i` the scales and shifts of client i's normalisations and w all else:

.. math::
    (w_i, \gamma_i) \leftarrow \mathrm{AdamW}^E(f_i, (w, \gamma_i)), \quad
    w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

Differences from the paper: **this is the LayerNorm analogue.** The paper's normalisations are BatchNorm, whose running
statistics describe a client's data; a transformer's LayerNorm keeps no statistics, and only its affine map stays at home. It
normalises in encoders, fusion layers and heads (:mod:`fedtap.network.normalisation` says which tensors those are); where the
fusion's layers are frozen and adapted (``network.adaptation: lora``), its normalisations are frozen too, the same everywhere, and
those of encoders and heads stay. After the last round comes the low-rate fine-tuning of every personalising method; clients that
never took part first train their normalisations (:mod:`partial`). Optimizer, steps and averaging per component are the harness's.
"""

from __future__ import annotations

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.partial import Partial
from fedtap.components import ComponentKey
from fedtap.network.normalisation import check_names, is_normalisation
from fedtap.training.client import LocalClient


class FedBn(Partial):
    """Average all but the normalisations."""

    name = "fedbn"
    summary = "average all but the normalisations (the LayerNorm analogue)"
    source = "Li et al. 2021, arXiv 2102.07623"

    def travels(self, key: ComponentKey, name: str) -> bool:
        """All but normalisations travels."""
        return not is_normalisation(name)

    def start(self, client: LocalClient) -> ClientState:
        """Start the normalisations at the common start.

        Raises
        ------
        ValueError
            If one of the client's components has a normalisation that its name does not show.
        """
        check_names(client.network.architecture, client.plan)
        return super().start(client)
