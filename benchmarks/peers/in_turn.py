"""What does fedtap's round cost beside a bare loop's? Both in one process, in turn: the machine's moods hit both alike.

    python benchmarks/peers/in_turn.py
    python benchmarks/peers/in_turn.py --pairs 3 --networks plain    # to try it

`run.py` starts a process for each attempt, whose rounds differ by half from one to the next on a machine that others use too.
Here one network, on one thread, trains rounds of `job.py`'s job by turns: four clients through fedtap's round loop (requests,
batches, training, checks of the replies, averaging, private states; not the run's checkpoint), and the same four in a loop of
PyTorch. Prints the median of the ratios of neighbours, and their quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import job
import torch
from torch.utils.data import DataLoader, TensorDataset

from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.runtime.memory import keep_freed_memory


def rounds(network: str, folder: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what does a round of fedtap's, and what does one of the bare loop's."""
    scenario, algorithm, made = job.set_up(folder, network)
    server = Server(
        algorithm=algorithm,
        architecture=made.network.architecture,
        state=made.start,
        cards=made.cards,
        safety=scenario.safety,
    )
    names = [client.id for client in scenario.clients]
    model = job.Model(made.network, scenario.clients[0].pairs[0])
    data = []
    for client in scenario.clients:
        whole = made.dataset.client_data(client.id).tasks[client.pairs[0].task]["train"].whole()
        assert whole.image is not None
        data.append(TensorDataset(whole.image, whole.target))
    start = made.start.components

    def fedtap() -> None:
        run_round(server, made.transport, names, 1, lambda event: None)

    def bare() -> None:
        trained = []
        for each in data:
            made.network.load(start)
            model.train()
            parameters = made.network.trainable()
            steps = job.optimizer(iter(parameters))
            for features, labels in list(DataLoader(each, batch_size=job.BATCH, shuffle=True))[: job.STEPS]:
                steps.zero_grad()
                torch.autograd.backward(model.loss(features, labels))
                torch.nn.utils.clip_grad_norm_(parameters, job.CLIP)
                steps.step()
            trained.append([value.detach().clone() for value in parameters])
        [sum(values) / len(trained) for values in zip(*trained, strict=True)]

    return fedtap, bare


def seconds(work: Callable[[], None]) -> float:
    """Return the processor seconds that it takes."""
    since = time.process_time()
    work()
    return time.process_time() - since


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--networks", default="plain,experts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for network in given.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            fedtap, bare = rounds(network, Path(folder))
            seconds(fedtap), seconds(bare)  # to warm up
            ratios = []
            for number in range(given.pairs):
                order = (fedtap, bare) if number % 2 else (bare, fedtap)
                took = {work: seconds(work) for work in order}
                ratios.append(took[fedtap] / took[bare])
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{network}: a round over bare {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {given.pairs} pairs)")


if __name__ == "__main__":
    main()
