"""Five sites alike, for the benchmarks of safety: digits and movie reviews on the quickstart's towers. Not a benchmark itself.

Every site trains in every round, so that each component has five holders. The network is the plain one, without experts, so
that a benchmark takes minutes. What is measured is the mean over sites and tasks of the accuracy on a site's own test data.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtap.algorithms.registry import make
from fedtap.evaluation.evaluate import evaluate_client
from fedtap.experiment.provenance import provenance
from fedtap.experiment.setup import Simulation, set_up
from fedtap.federation.messages import Request
from fedtap.federation.rounds import ask, run_round
from fedtap.federation.sampling import schedule
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.federation.transport import Transport
from fedtap.privacy.guarantee import guarantee
from fedtap.runtime.storage import write_json
from fedtap.scenario.scenario import Scenario, build_scenario

TASKS = [
    {"name": "digits", "type": "classification", "modality": "image", "domain": "digits", "source": "digits"},
    {"name": "sentiment", "type": "classification", "modality": "text", "domain": "reviews", "source": "sentiment"},
]
ATTACKER = "site-1"
Wrap = Callable[[Transport], Transport]


def scenario(**settings: Any) -> Scenario:
    """Return the federation, some of its settings changed."""
    raw = {
        "name": "five-sites",
        "rounds": 12,
        "clients_per_round": 5,
        "local_steps": 10,
        "batch_size": 16,
        "network": {"name": "plain", "dim": 64, "expert_dim": 128},
        "training": {"lr": 0.002, "finetune_steps": 10},
        "data": {"train": 64, "validation": 48, "test": 128, "dirichlet": 3.0, "quantity": 0.0},
        "evaluation": {"cross_examples": 1, "save": "none"},
        "clients": [{"id": f"site-{number}", "tasks": TASKS} for number in range(1, 6)],
        **settings,
    }
    return build_scenario(raw, place="benchmarks/five_sites.py", folder=Path())


@dataclass
class Finished:
    """A federation after its last round."""

    simulation: Simulation
    server: Server
    events: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    privacy: Mapping[str, Any] | None = None
    kept: Any = None

    def accuracy(self, model: str, without: tuple[str, ...] = ()) -> float:
        """Return the mean accuracy of a model over sites and tasks, in percent."""
        values = [
            row["value"]
            for row in self.rows
            if row["model"] == model
            and row["split"] == "test"
            and row["metric"] == "accuracy"
            and row["client"] not in without
        ]
        return 100 * statistics.fmean(values)

    def count(self, kind: str) -> int:
        """Return the number of events of a kind."""
        return sum(event["event"] == kind for event in self.events)

    def total(self, key: str) -> int:
        """Return the sum of a number over the updates, and over what secure aggregation says beside them."""
        return sum(event.get(key, 0) for event in self.events if event["event"] in ("update", "secure"))


def federate(
    settings: Scenario,
    seed: int,
    *,
    method: str = "tap",
    wrap: Wrap = lambda transport: transport,
    look: Callable[[Finished], Any] = lambda finished: None,
) -> Finished:
    """Run a federation and evaluate its models; ``look`` sees it while the clients' states are still there."""
    algorithm = make({}, method)
    with tempfile.TemporaryDirectory() as folder:
        store = ClientStore(Path(folder))
        simulation = set_up(settings, algorithm, seed=seed, device="cpu", store=store, tell=lambda event: None)
        server = Server(
            algorithm=algorithm,
            architecture=simulation.network.architecture,
            state=simulation.start,
            cards=simulation.cards,
            safety=settings.safety,
            seed=seed,
        )
        done = Finished(simulation, server)
        transport = wrap(simulation.transport)
        ids = [client.id for client in settings.participants]
        plan = schedule(ids, per_round=settings.clients_per_round, rounds=settings.rounds, seed=seed)
        for number, clients in enumerate(plan, start=1):
            run_round(server, transport, clients, number, done.events.append)
        for client in ids:
            request = Request(client, settings.rounds + 1, "personalise", server.slice_for(client))
            ask(server, simulation.transport, [request], settings.rounds + 1, done.events.append)
            done.rows += evaluate_client(
                client=client,
                pairs=settings.client(client).pairs,
                models=simulation.site.models(client, server.slice_for(client)),
                network=simulation.network,
                dataset=simulation.dataset,
                cross_examples=1,
                unseen=False,
            )
        done.privacy = guarantee(settings, done.events)
        done.kept = look(done)
    return done


def spread(values: list[float]) -> str:
    """Return the mean over seeds, and their standard deviation where there are several; one seed says that it is one."""
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean} (one seed)"


def write(name: str, rows: list[dict[str, Any]], table: str, **changed: Any) -> None:
    """Write a benchmark's rows as JSON and its table as Markdown, with command, versions, commit and what settings it changed."""
    command = f"python benchmarks/{name}.py"
    where = provenance()
    folder = Path("benchmarks/results")
    folder.mkdir(parents=True, exist_ok=True)
    config = scenario(**changed).resolved()
    write_json(folder / f"{name}.json", {"command": command, "provenance": where, "scenario": config, "rows": rows})
    facts = f"fedtap {where['fedtap']}, commit {where['commit']}, torch {where['torch']}, Python {where['python']}"
    text = f"`{command}` ({facts}; {where['machine']}, one thread)\n\n{table}\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
