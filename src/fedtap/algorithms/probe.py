r"""The probe: logistic regression on the frozen towers' pooled features. Classification only.

``federated``: FedAvg of a linear classifier. ``personal``: fitted to the client's own examples to the optimum (scikit-learn,
L2 penalty chosen on validation), the rival that any network on top of the same features has to match:

.. math:: \min_{W, b} \; \sum_j \mathrm{CE}(W x_j + b, y_j) + \|W\|^2 / (2C)

Tasks of other types have no probe; their clients send nothing for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState
from fedtap.network.probe import probe_features, probe_key
from fedtap.training.client import LocalClient
from fedtap.training.linear import fit_probe


class LinearProbe(FedAvg):
    """Logistic regression on frozen features."""

    name = "probe"
    summary = "logistic regression on the frozen pooled features (classification only)"
    source = "Alain & Bengio 2016, arXiv 1610.01644"
    architecture = "probe"
    deployed = "personal"

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fit each classification task on the client's training split."""
        fitted: dict[str, ComponentState] = {}
        for pair in client.pairs:
            splits = client.data.tasks[pair.task]
            whole = {
                name: splits[name].take(range(len(splits[name])), range(len(splits[name])), torch.device("cpu"))
                for name in ("train", "validation")
            }
            x, y = (probe_features(whole["train"]).double().numpy(), whole["train"].target.numpy())
            vx, vy = (probe_features(whole["validation"]).double().numpy(), whole["validation"].target.numpy())
            key = probe_key(pair)
            classes = received[key]["bias"].shape[0]
            weight, bias = fit_probe(x, y, vx, vy, classes).folded()
            tensors = {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
            fitted[pair.task] = ComponentState({key: tensors})
        merged = ComponentState()
        for one in fitted.values():
            merged = merged.merge(one)
        return ClientState({"personal": merged})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the averaged and the fitted classifier."""
        return {"federated": received, **state.models}
