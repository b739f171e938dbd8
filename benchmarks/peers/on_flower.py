"""The job on Flower's simulation (Ray), one client at a time on one core. ``python on_flower.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation
from job import BATCH, CLIENTS, CLIP, ROUNDS, STEPS, Report, accuracy, handed, optimizer
from torch.utils.data import DataLoader, TensorDataset

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
torch.set_num_threads(1)
report = Report()
final: list[Any] = []


def client_app(folder: Path) -> ClientApp:
    """Return the app of the clients, each of which reads what it was handed."""

    class Site(NumPyClient):
        def __init__(self, number: int) -> None:
            self.model, clients = handed(folder)
            self.data = clients[number]["train"]

        def fit(self, parameters: Any, config: Any) -> Any:
            torch.set_num_threads(1)
            with torch.no_grad():
                for value, given in zip(self.model.parameters(), parameters, strict=True):
                    value.copy_(torch.from_numpy(given))
            self.model.train()
            steps = optimizer(self.model.parameters())
            for features, labels in list(DataLoader(TensorDataset(*self.data), batch_size=BATCH, shuffle=True))[:STEPS]:
                steps.zero_grad()
                torch.autograd.backward(self.model.loss(features, labels))
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
                steps.step()
            return [value.detach().numpy() for value in self.model.parameters()], len(self.data[0]), {}

    return ClientApp(client_fn=lambda context: Site(int(context.node_config["partition-id"])).to_client())


def main() -> None:
    """Run it."""
    model, clients = handed(FOLDER)

    class Kept(FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            if failures:
                raise SystemExit(str(failures[0]))
            parameters, metrics = super().aggregate_fit(server_round, results, failures)
            final[:] = [parameters]
            return parameters, metrics

    def server(context: Context) -> ServerAppComponents:
        start = ndarrays_to_parameters([value.detach().numpy() for value in model.parameters()])
        strategy = Kept(
            fraction_fit=1.0,
            fraction_evaluate=0.0,
            min_fit_clients=CLIENTS,
            min_available_clients=CLIENTS,
            initial_parameters=start,
        )
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))

    run_simulation(
        server_app=ServerApp(server_fn=server),
        client_app=client_app(FOLDER),
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    with torch.no_grad():
        for value, given in zip(model.parameters(), parameters_to_ndarrays(final[0]), strict=True):
            value.copy_(torch.from_numpy(given))
    report.end(accuracy(model, clients))


if __name__ == "__main__":
    main()
