"""The job on pfl (Apple's pfl-research). ``python on_pfl.py FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("PFL_PYTORCH_DEVICE", "cpu")

import numpy as np
import torch
from job import BATCH, CLIENTS, CLIP, LR, ROUNDS, STEPS, WEIGHT_DECAY, Report, accuracy, handed
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel

torch.set_num_threads(1)
np.random.seed(0)
model, clients = handed(Path(sys.argv[1]))
type(model).metrics = lambda self, features, labels, eval=False: {}  # type: ignore[attr-defined]
report = Report()


def adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Return a client's optimizer."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)


class Rounds(TrainingProcessCallback):  # type: ignore[type-arg]
    """Takes note of rounds."""

    def after_central_iteration(self, *given: Any, **more: Any) -> tuple[bool, Any]:
        """Go on."""
        report.round()
        return False, _none


from pfl.metrics import Metrics  # noqa: E402 - beside its use

_none = Metrics()
turn = iter(range(ROUNDS * CLIENTS * 2))
federated = FederatedDataset(
    make_dataset_fn=lambda user: PyTorchTensorDataset(clients[user]["train"]),
    user_sampler=lambda: next(turn) % CLIENTS,
)
wrapped = PyTorchModel(model, adamw, torch.optim.SGD(model.parameters(), lr=1.0))
report.begin()
FederatedAveraging().run(
    NNAlgorithmParams(
        central_num_iterations=ROUNDS,
        evaluation_frequency=ROUNDS + 1,
        train_cohort_size=CLIENTS,
        val_cohort_size=0,
    ),
    SimulatedBackend(training_data=federated, val_data=None),
    wrapped,
    NNTrainHyperParams(
        local_batch_size=BATCH,
        local_num_epochs=None,
        local_num_steps=STEPS,
        local_learning_rate=LR,
        local_max_grad_norm=CLIP,
    ),
    NNEvalHyperParams(local_batch_size=None),
    [Rounds()],
)
report.end(accuracy(model, clients))
