r"""FedAvg, then fine-tuning: after the last round each client trains its slice for T' steps at a low rate.

.. math:: v_i = \mathrm{AdamW}^{T'}(f_i, w_{plan(i)})

The steps kept are those best on the client's validation split, the rule by which every method chooses its final model. The
simplest personalization, and the rival to beat (see e.g. Cheng et al. 2021, arXiv 2108.07313).
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient


class FedAvgFineTuning(FedAvg):
    """FedAvg with a personal finish."""

    name = "fedavg_ft"
    summary = "fedavg, then local fine-tuning"
    source = "Cheng et al. 2021, arXiv 2108.07313"
    deployed = "finetuned"

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the finished slice."""
        tuned = client.finish(received, client.scenario.training.finish_steps, "finish")
        return ClientState({"finetuned": tuned.state}, {"finish_steps_kept": tuned.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and the fine-tuned model."""
        return {"federated": received, **state.models}
