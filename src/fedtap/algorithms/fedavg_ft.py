r"""FedAvg, then fine-tuning: after the last round each client trains its slice for T' steps at a low rate.

.. math:: v_i = \mathrm{AdamW}^{T'}(f_i, w_{plan(i)})

The steps kept are those best on the client's validation split, the rule by which every method chooses its final model. The
simplest personalization, and the rival to beat (see e.g. Cheng et al. 2021, arXiv 2108.07313). With ``refit`` (ours, off by
default) heads that have a closed form are then set to their optimum, see :mod:`refit`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.algorithms.base import ClientState, Params
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState
from fedtap.personalization.refit import refit_heads
from fedtap.training.client import LocalClient


class FedAvgFineTuningParams(Params):
    """Parameters of fine-tuning: ``refit`` ends it with heads at the optimum of their training loss (:mod:`refit`)."""

    refit: bool = False


class FedAvgFineTuning(FedAvg):
    """FedAvg with a personal fine-tuning."""

    name = "fedavg_ft"
    summary = "fedavg, then local fine-tuning"
    source = "Cheng et al. 2021, arXiv 2108.07313"
    deployed = "finetuned"
    Params = FedAvgFineTuningParams
    params: FedAvgFineTuningParams

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the finished slice."""
        tuned = client.finetune(received, client.scenario.training.finetune_steps, "finish")
        final, decisions = refit_heads(client, tuned.state) if self.params.refit else (tuned.state, [])
        return ClientState({"finetuned": final}, {"finetune_steps_kept": tuned.kept_steps}, decisions)

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and the fine-tuned model."""
        return {"federated": received, **state.models}
