"""The job on PFLlib's FedAvg. ``python on_pfllib.py FOLDER CHECKOUT``, with a checkout of github.com/TsingZ0/PFLlib.

PFLlib reads its data from files beside its code, again each round; they are written when they are not there yet. Its rounds test
nothing here, as nobody's do, and its optimizer is everyone's: it would be SGD, kept from round to round.
"""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job import BATCH, CLIENTS, CLIP, LR, ROUNDS, Report, accuracy, handed, optimizer

FOLDER, CHECKOUT = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
torch.set_num_threads(1)
np.random.seed(0)
model, clients = handed(FOLDER)
classes = int(max(int(client["train"][1].max()) for client in clients)) + 1
data = FOLDER / "pfllib" / "dataset" / "job"
for number, client in enumerate(clients):
    for split in ("train", "test"):
        place = data / split / f"{number}.npz"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            x, y = (tensor.numpy() for tensor in client[split])
            with place.open("wb") as file:
                np.savez_compressed(file, data=np.array({"x": x, "y": y}, dtype=object))
work = FOLDER / "pfllib" / "system"
work.mkdir(exist_ok=True)
os.chdir(work)  # it finds ../dataset, and leaves models and results, from where it runs
sys.path.insert(0, str(CHECKOUT / "system"))

from flcore.clients.clientavg import clientAVG  # noqa: E402 - found once its code is on the path
from flcore.servers.serveravg import FedAvg  # noqa: E402

report = Report()


class Clipped:
    """Everyone's optimizer, which clips the gradient before it steps: PFLlib's loop does not."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self._steps = optimizer(network.parameters())

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._steps.zero_grad()

    def step(self) -> None:
        """Clip and step."""
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), CLIP)
        self._steps.step()


class Client(clientAVG):  # type: ignore[misc]
    """A client with everyone's optimizer, a new one each round."""

    def train(self) -> None:
        """Take the round's steps."""
        self.optimizer = Clipped(self.model)
        super().train()


class Server(FedAvg):  # type: ignore[misc]
    """The server, whose rounds test nothing."""

    def set_clients(self, kind: Any) -> None:
        """Make the clients."""
        super().set_clients(Client)

    def evaluate(self, *given: Any) -> None:
        """Say that there is nothing to say: its last lines ask for the best."""
        self.rs_test_acc.append(0.0)

    def aggregate_parameters(self) -> None:
        """End a round."""
        super().aggregate_parameters()
        report.round()


settings = Namespace(
    model=model,
    device="cpu",
    dataset="job",
    algorithm="FedAvg",
    num_classes=classes,
    num_clients=CLIENTS,
    global_rounds=ROUNDS - 1,  # it does one more than it is asked
    local_epochs=1,
    batch_size=BATCH,
    local_learning_rate=LR,
    learning_rate_decay=False,
    learning_rate_decay_gamma=1.0,
    join_ratio=1.0,
    random_join_ratio=False,
    few_shot=0,
    time_select=False,
    time_threthold=10000,
    goal="job",
    save_folder_name=str(work / "items"),
    top_cnt=100,
    auto_break=False,
    eval_gap=ROUNDS + 1,
    client_drop_rate=0.0,
    train_slow_rate=0.0,
    send_slow_rate=0.0,
    dlg_eval=False,
    dlg_gap=100,
    batch_num_per_client=2,
    num_new_clients=0,
    fine_tuning_epoch_new=0,
)
(work.parent / "results").mkdir(exist_ok=True)
with contextlib.redirect_stdout(sys.stderr):
    server = Server(settings, 0)
    report.begin()
    server.train()
report.end(accuracy(server.global_model, clients))
