"""The job as a loop of PyTorch alone: the floor. ``python bare.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from job import BATCH, CLIP, ROUNDS, STEPS, Report, accuracy, handed, optimizer
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
model, clients = handed(Path(sys.argv[1]))
names = [name for name, _ in model.named_parameters()]
server = {name: value.detach().clone() for name, value in model.named_parameters()}
report = Report()
report.begin()
for _ in range(ROUNDS):
    total = {name: torch.zeros_like(value) for name, value in server.items()}
    for client in clients:
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(server[name])
        model.train()
        steps = optimizer(model.parameters())
        loader = DataLoader(TensorDataset(*client["train"]), batch_size=BATCH, shuffle=True)
        for features, labels in list(loader)[:STEPS]:
            steps.zero_grad()
            torch.autograd.backward(model.loss(features, labels))
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            steps.step()
        for name, value in model.named_parameters():
            total[name] += value.detach() / len(clients)
    server = total
    report.round()
with torch.no_grad():
    for name, value in model.named_parameters():
        value.copy_(server[name])
report.end(accuracy(model, clients))
