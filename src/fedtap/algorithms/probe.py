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
from fedtap.components import ComponentKey, ComponentState
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
        fitted: dict[ComponentKey, Mapping[str, torch.Tensor]] = {}
        for pair in client.pairs:
            splits = client.data.tasks[pair.task]
            train, validation = (splits[name].whole() for name in ("train", "validation"))
            x, vx = (probe_features(part).double().numpy() for part in (train, validation))
            key = probe_key(pair)
            classes = received[key]["bias"].shape[0]
            weight, bias = fit_probe(x, train.target.numpy(), vx, validation.target.numpy(), classes).folded()
            fitted[key] = {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
        return ClientState({"personal": ComponentState(fitted)})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the averaged and the fitted classifier."""
        return {"federated": received, **state.models}
