r"""LP-FT: FedAvg, then heads first and after them everything. arXiv 2511.12695, after Kumar et al. 2022, arXiv 2202.10054.

.. math::
    h_i = \mathrm{AdamW}^{T'_h}(f_i(w, \cdot), w_{head}), \quad
    v_i = \mathrm{AdamW}^{T' - T'_h}(f_i, (w, h_i))

A head that does not fit yet would pull the features about; fitted first (linear probing), it leaves them where they are. Both
phases keep the steps that are best on the client's validation split.

Differences from the paper: the :math:`T'` fine-tuning steps of all methods are shared between both phases (``head_share``); its
heads are linear, here a task's whole head is trained first.
"""

from __future__ import annotations

from pydantic import Field

from fedtap.algorithms.base import ClientState, Params
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient


class LpFtParams(Params):
    """Parameters of LP-FT.

    ``head_share`` is the share of the fine-tuning steps that goes to the heads alone, to the nearest step.
    """

    head_share: float = Field(default=0.5, ge=0, le=1)


class LpFt(FedAvg):
    """FedAvg with a fine-tuning of heads, then of all."""

    name = "lp_ft"
    summary = "fedavg, then local fine-tuning of the heads first and of everything after"
    source = "arXiv 2511.12695; Kumar et al. 2022, arXiv 2202.10054"
    deployed = "finetuned"
    Params = LpFtParams
    params: LpFtParams

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the heads of the finished slice, then the whole."""
        steps = client.scenario.training.finetune_steps
        head_steps = round(self.params.head_share * steps)
        probed = client.finetune(received, head_steps, "probe", only=_is_head)
        tuned = client.finetune(probed.state, steps - head_steps, "finish")
        kept = probed.kept_steps + tuned.kept_steps
        return ClientState({"finetuned": tuned.state}, {"finetune_steps_kept": kept})

    def models(self, received: ComponentState, state: ClientState) -> dict[str, ComponentState]:
        """Return the slice and the fine-tuned model."""
        return {"federated": received, **state.models}


def _is_head(key: ComponentKey, name: str) -> bool:
    return key.kind == "head"
