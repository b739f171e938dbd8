"""What should a personal model be made of, if it may cost no training of its own? Many ends, tried on the same rounds of FedAvg.

    python benchmarks/ends.py scenarios/quickstart.yaml --seeds 100,101 --out benchmarks/results/ends-quickstart

A personal model that is not trained in the rounds does not touch them. So the rounds are run once a seed, every model that a
client had in hand is kept, and each way of ending is tried on them, in minutes rather than hours. Ends are compared with F, the
federated slice after the common finish, which is what FedAvg with fine-tuning deploys. A further one is a line in ``ENDS``.
docs/research-log.md says what came of it, and has the letters.

The measures are accuracy, mean squared error, and cross-entropy for all that is written in words (answers too). A tuple of
models answers with the mean of their outputs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState, towards, weighted_mean
from fedtap.experiment.provenance import provenance
from fedtap.experiment.setup import set_up
from fedtap.federation.rounds import run_round
from fedtap.federation.sampling import schedule
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.personalization.replacement import replace_soft
from fedtap.scenario.scenario import Scenario, load_scenario
from fedtap.study.statistics import relative_gain
from fedtap.tasks import TASK_TYPES
from fedtap.training.client import LocalClient

Values = dict[str, dict[str, float]]  # client -> task -> value


class Recorded(FedAvg):
    """FedAvg that remembers what every client sent, and the server's model after each round."""

    name = "recorded"

    def __init__(self) -> None:
        super().__init__(self.Params())
        self.sent: dict[str, list[ComponentState]] = defaultdict(list)
        self.servers: list[ComponentState] = []

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        after = super().aggregate(server, updates)
        for client, update in updates.items():
            self.sent[client].append(update.components)
        self.servers.append(after.components)
        return after


class InHand:
    """What a client may make its personal model of, without another step: G, L, F and E of docs/research-log.md."""

    def __init__(self, client: LocalClient, record: Recorded) -> None:
        self.client = client
        self.servers = [server.slice(client.plan) for server in record.servers[-3:]]
        self.federated = self.servers[-1]
        self.own = record.sent[client.id] or [
            self.federated
        ]  # a client that was never asked has the federated model only
        self.last = self.own[-1]

    @cached_property
    def finished(self) -> ComponentState:
        return self.finetune(self.federated)

    @cached_property
    def average(self) -> ComponentState:
        return self.over_time(0.5)

    def over_time(self, pace: float) -> ComponentState:
        """Return the mean over time of the client's trained slices, the newest weighted by ``pace``."""
        mean = self.own[0]
        for trained in self.own[1:]:
            mean = towards(mean, trained, pace)
        return mean

    def finetune(self, state: ComponentState) -> ComponentState:
        """Return a state after the common finish, chosen on validation."""
        return self.client.finetune(state, self.client.scenario.training.finetune_steps, "finish").state

    def moved(
        self,
        state: ComponentState,
        goal: ComponentState,
        factors: Sequence[float] = (0.5, 1.0),
        exclusive: bool = False,
    ) -> ComponentState:
        """Return a state with each task's path moved to another by the factor that is best on validation."""
        scope = self.client.exclusive if exclusive else self.client.path
        return replace_soft(self.client, goal, state, scope=scope, factors=factors)[0]


def mean(states: Sequence[ComponentState]) -> ComponentState:
    return weighted_mean([(state, dict.fromkeys(state, 1)) for state in states])


End = Callable[[InHand], ComponentState | tuple[ComponentState, ...]]
ENDS: dict[str, End] = {
    "F, the slice after the finish": lambda x: x.finished,
    "G, the slice as it is": lambda x: x.federated,
    "L, the client's last trained slice": lambda x: x.last,
    "E, mean over time of the client's slices": lambda x: x.average,
    "E with pace 0.3": lambda x: x.over_time(0.3),
    "F, each path moved to G (H1)": lambda x: x.moved(x.finished, x.federated),
    "context way from F to L (H3)": lambda x: towards(x.finished, x.last, 0.5),
    "finish from L (H3)": lambda x: x.finetune(x.last),
    "finish from context way between G and L (H3)": lambda x: x.finetune(towards(x.federated, x.last, 0.5)),
    "finish from the mean of the last three servers (H4)": lambda x: x.finetune(mean(x.servers)),
    "F, each path moved to E (H5)": lambda x: x.moved(x.finished, x.average),
    "F, each path moved to E, finer": lambda x: x.moved(x.finished, x.average, (0.25, 0.5, 0.75, 1.0)),
    "F, each path moved to L": lambda x: x.moved(x.finished, x.last),
    "F, what one task alone uses moved to E": lambda x: x.moved(x.finished, x.average, exclusive=True),
    "finish from context way between G and E, then moved to E": lambda x: x.moved(
        x.finetune(towards(x.federated, x.average, 0.5)), x.average
    ),
    "F and E answer together (H8)": lambda x: (x.finished, x.average),
    "F and L answer together (H8)": lambda x: (x.finished, x.last),
    "finishes from G and from L answer together (H8, twice the finish)": lambda x: (x.finished, x.finetune(x.last)),
}
BASE = next(iter(ENDS))


@torch.no_grad()
def outputs(client: LocalClient, state: ComponentState, task: str) -> list[tuple[Tensor, Tensor]]:
    """Return probabilities, pictures, or hidden vectors, with targets, batch by batch, on the client's own test split."""
    client.network.load(state)
    client.network.eval()
    result = []
    for batch in client.data.tasks[task]["test"].batches(128, client.network.device):
        (out,) = client.network(batch)
        classes = batch[0].pair.type == "classification"
        result.append((out.output.softmax(-1) if classes else out.output, batch[0].target))
    return result


def measure(client: LocalClient, states: Sequence[ComponentState]) -> dict[str, float]:
    """Return per task the accuracy, the mean squared error or the cross-entropy of the mean of the models' outputs."""
    values = {}
    for pair in client.pairs:
        hits = total = units = 0.0
        for parts in zip(*(outputs(client, state, pair.task) for state in states), strict=True):
            target = parts[0][1]
            together = torch.stack([output for output, _ in parts]).mean(dim=0)
            if pair.type == "classification":
                hits += float((together.argmax(dim=-1) == target).sum())
                units += len(target)
                continue
            losses = TASK_TYPES[pair.type].losses(together, target, client.network.words)
            total += float(losses.total.double().sum())
            units += float(losses.units.double().sum())
        values[pair.task] = (hits if pair.type == "classification" else total) / units
    return values


def try_ends(scenario: Scenario, seed: int) -> dict[str, Values]:
    """Run the rounds of a seed once and return end -> client -> task -> value."""
    record = Recorded()
    with tempfile.TemporaryDirectory() as folder:
        simulation = set_up(
            scenario, record, seed=seed, device="auto", store=ClientStore(Path(folder)), tell=lambda event: None
        )
        architecture = simulation.network.architecture
        server = Server(algorithm=record, architecture=architecture, state=simulation.start, cards=simulation.cards)
        ids = [client.id for client in scenario.participants]
        plan = schedule(ids, per_round=scenario.clients_per_round, rounds=scenario.rounds, seed=seed)
        for number, clients in enumerate(plan, start=1):
            run_round(server, simulation.transport, clients, number, lambda event: None)
            print(f"seed {seed}: round {number} of {scenario.rounds}", flush=True)
        values: dict[str, Values] = {end: {} for end in ENDS}
        for id in ids:
            client = simulation.site.local(id, scenario.rounds + 1)
            hand = InHand(client, record)
            for end, make in ENDS.items():
                made = make(hand)
                values[end][id] = measure(client, made if isinstance(made, tuple) else (made,))
            print(f"seed {seed}: ends of {id}", flush=True)
    return values


def table(runs: Sequence[Mapping[str, Values]], families: Mapping[tuple[str, str], str]) -> list[dict[str, object]]:
    """Return a row for each end: mean gain over F and its standard error over seeds, by family, wins and losses."""
    rows = []
    for end in ENDS:
        seeds, by_family = [], defaultdict(list)
        for run in runs:
            gains = []
            for (client, task), family in families.items():
                higher = family.endswith("classification")
                gain = relative_gain(run[end][client][task], run[BASE][client][task], higher)
                if gain is not None:
                    gains.append(gain)
                    by_family[family].append(gain)
            seeds.append(statistics.fmean(gains))
        every = [gain for gains in by_family.values() for gain in gains]
        rows.append(
            {
                "end": end,
                "gain": statistics.fmean(seeds),
                "error": statistics.stdev(seeds) / math.sqrt(len(seeds)) if len(seeds) > 1 else None,
                "families": {family: statistics.fmean(gains) for family, gains in sorted(by_family.items())},
                "wins": sum(gain > 0 for gain in every),
                "losses": sum(gain < 0 for gain in every),
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, object]], title: str) -> str:
    families = list(rows[0]["families"])  # type: ignore[call-overload]
    lines = [
        title,
        "",
        f"| end | own test against F, % | {' | '.join(name.replace('_', ' ') for name in families)} | wins/losses |",
        "|---" * (len(families) + 3) + "|",
    ]
    for row in rows:
        error = " (one seed)" if row["error"] is None else f" ({row['error']:.1f})"
        parts = " | ".join(f"{row['families'][name]:+.1f}" for name in families)  # type: ignore[index]
        lines.append(f"| {row['end']} | {row['gain']:+.1f}{error} | {parts} | {row['wins']}/{row['losses']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario")
    parser.add_argument("--seeds", default="100")
    parser.add_argument(
        "--out", required=True, help="without an ending: .json and .md are written; done seeds are kept"
    )
    arguments = parser.parse_args()
    scenario = load_scenario(arguments.scenario)
    out = Path(arguments.out)
    file = out.with_suffix(".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, Values]] = json.loads(file.read_text())["runs"] if file.exists() else {}
    config = scenario.model_dump(mode="json")
    for seed in arguments.seeds.split(","):
        if seed not in runs:
            runs[seed] = try_ends(scenario, int(seed))
            file.write_text(json.dumps({**provenance(), "config": config, "runs": runs}, indent=1) + "\n")
    families = {(client.id, pair.task): pair.family for client in scenario.participants for pair in client.pairs}
    rows = table(list(runs.values()), families)
    title = (
        f"{scenario.name}, seeds {', '.join(runs)}; mean gain over client-tasks, standard error over seeds in brackets"
    )
    out.with_suffix(".md").write_text(markdown(rows, title))
    print(out.with_suffix(".md").read_text())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
