"""Everything a run works with, built once: data, backbone, network, transport."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fedtap.algorithms.base import Algorithm, ServerState
from fedtap.backbones.base import Backbone, load_backbone
from fedtap.config import Scenario
from fedtap.data.encode import default_folder
from fedtap.data.partition import partition
from fedtap.data.room import DataRoom
from fedtap.engines.inprocess import InProcessTransport
from fedtap.errors import UserError
from fedtap.evaluation.text_metrics import text_metrics
from fedtap.experiment.guarantee import check_privacy
from fedtap.experiment.planning import architecture_of, check
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard
from fedtap.federation.store import ClientStore
from fedtap.network.network import Network
from fedtap.tasks.base import Words
from fedtap.tasks.metrics import TextMetric


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run works with."""

    scenario: Scenario
    algorithm: Algorithm
    seed: int
    network: Network
    room: DataRoom
    site: ClientSite
    transport: InProcessTransport
    cards: Sequence[ClientCard]
    start: ServerState
    text_metrics: tuple[TextMetric, ...]


def resolve_device(name: str) -> torch.device:
    """Return the torch device that a name stands for; ``auto`` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available ({str(error).splitlines()[0]}); use --device cpu") from error
    return device


def words_of(backbone: Backbone, device: torch.device) -> Words:
    """Return a backbone's frozen words, on a device."""
    vocabulary = backbone.vocabulary
    embedding = vocabulary.embedding.to(device)
    return Words(embedding, vocabulary.start_id, vocabulary.end_id, vocabulary.decode, vocabulary.pad_id)


def generates_text(scenario: Scenario) -> bool:
    """Tell whether any client of a scenario generates text; only then are word embeddings needed."""
    return any(task.type == "text_generation" for client in scenario.clients for task in client.tasks)


def set_up(
    scenario: Scenario,
    algorithm: Algorithm,
    *,
    seed: int,
    device: str,
    store: ClientStore,
    tell: Callable[[dict[str, Any]], None],
) -> Bench:
    """Build what a run works with; examples that were never encoded on this machine are encoded here."""
    check(scenario)
    check_privacy(scenario)
    architecture_of(scenario, algorithm)  # refuses what does not fit together before anything is loaded
    place = resolve_device(device)
    asked = text_metrics(scenario, place)
    backbone = load_backbone(scenario.backbone, place)
    architecture = architecture_of(scenario, algorithm, backbone)
    shares = partition(scenario, seed)
    room = DataRoom(
        scenario=scenario,
        partition=shares,
        seed=seed,
        backbone=backbone,
        folder=default_folder(),
        progress=lambda tower, done, total: tell({"event": "encoding", "tower": tower, "done": done, "total": total}),
    )
    room.prepare([client.id for client in scenario.clients])
    keys = frozenset().union(*(architecture.plan(client.pairs) for client in scenario.clients))
    words = words_of(backbone, place) if generates_text(scenario) else None
    training = scenario.training
    network = Network(
        architecture, keys, seed=seed, words=words, precision=training.precision, recompute=training.recompute
    ).to(place)
    site = ClientSite(algorithm=algorithm, network=network, scenario=scenario, seed=seed, data=room, store=store)
    cards = [ClientCard(client.id, client.pairs, room.examples(client.id)) for client in scenario.clients]
    return Bench(
        scenario=scenario,
        algorithm=algorithm,
        seed=seed,
        network=network,
        room=room,
        site=site,
        transport=InProcessTransport(site, cards),
        cards=cards,
        start=ServerState(network.initial_state(keys).select(algorithm.travels)),
        text_metrics=asked,
    )
