"""The clients' context of a run: data, network, private states, and the test of their models. The server's context: setup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fedtap.algorithms.base import Algorithm, Models
from fedtap.backbones.base import Backbone, load_backbone
from fedtap.components import ComponentState
from fedtap.data.encode import default_folder
from fedtap.data.federated_dataset import FederatedDataset
from fedtap.data.partition import Partition
from fedtap.evaluation.evaluate import Row, evaluate_client
from fedtap.evaluation.outcomes import Outcomes, recorded, told, wanted
from fedtap.evaluation.text_metrics import text_metrics
from fedtap.evaluation.trivial import trivial_rows
from fedtap.evaluation.validation import validation_rows
from fedtap.experiment.planning import architecture_of
from fedtap.federation.client import ClientSite
from fedtap.federation.store import ClientStore
from fedtap.metrics.text import TextMetric
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import ClientSettings, Scenario
from fedtap.tasks.base import Words

Tell = Callable[[dict[str, Any]], None]
Prepare = Callable[[FederatedDataset, list[str]], None]
"""Sees to it that the examples of these clients are encoded, before a network is built."""


@dataclass(frozen=True, slots=True)
class SiteContext:
    """The clients of this process: all of a scenario, or the one whose data this machine holds."""

    scenario: Scenario
    network: Network
    dataset: FederatedDataset
    site: ClientSite
    text_metrics: tuple[TextMetric, ...]

    def test(
        self, client: ClientSettings, received: ComponentState, *, cross: bool, outcomes: Outcomes | None = None
    ) -> tuple[Models, list[Row]]:
        """Return a client's models after the last round and their rows; ``cross`` tests on the data of other clients too.

        ``outcomes`` (of :meth:`outcomes`) are told what each model did on each example, for :meth:`told`.
        """
        models = self.site.models(client.id, received)
        rows = evaluate_client(
            client=client.id,
            pairs=client.pairs,
            models=models,
            network=self.network,
            dataset=self.dataset,
            cross_examples=self.scenario.evaluation.cross_examples if cross else None,
            unseen=client.unseen,
            text_metrics=self.text_metrics,
            class_metrics=self.scenario.evaluation.class_metrics,
            outcomes=outcomes,
        )
        rows += trivial_rows(
            client=client.id,
            pairs=client.pairs,
            data=self.dataset.client_data(client.id),
            words=self.network.words,
            unseen=client.unseen,
            text_metrics=self.text_metrics,
            class_metrics=self.scenario.evaluation.class_metrics,
            scales={task.pair.head: task.scale for task in client.tasks if task.scale is not None},
        )
        return models, rows

    def outcomes(self, client: ClientSettings) -> Outcomes | None:
        """Return what gathers, in :meth:`test`, all that :meth:`told` tells; None where ``privacy`` forbids to keep it."""
        if not recorded(self.scenario):
            return None
        return Outcomes(
            wanted(
                client,
                self._served(client),
                dataset=self.dataset,
                examples=self.scenario.report.examples,
                seed=self.site.seed,
            )
        )

    def told(self, client: ClientSettings, models: Models, outcomes: Outcomes) -> dict[str, Any]:
        """Return what the report may say of single test examples of a client."""
        return told(
            client,
            self._served(client),
            models,
            outcomes,
            dataset=self.dataset,
            deployed=self.site.algorithm.deployed,
            examples=self.scenario.report.examples,
            seed=self.site.seed,
        )

    def _served(self, client: ClientSettings) -> Sequence[Pair]:
        return self.network.architecture.served(client.pairs)


def set_up_site(
    scenario: Scenario,
    algorithm: Algorithm,
    *,
    seed: int,
    device: str,
    store: ClientStore,
    shares: Callable[[], Partition],
    tell: Tell,
    prepare: Prepare = FederatedDataset.prepare,
) -> SiteContext:
    """Build what the clients of this process work with: those that ``shares`` gives data.

    Examples that were never encoded on this machine are encoded here, unless ``prepare`` goes about it in another way.
    """
    place = resolve_device(device)
    asked = text_metrics(scenario, place)
    backbone = load_backbone(scenario.backbone, place)
    architecture = architecture_of(scenario, algorithm, backbone)
    partition = shares()
    clients = [client for client in scenario.clients if client.id in partition]
    dataset = FederatedDataset(
        scenario=scenario,
        partition=partition,
        seed=seed,
        backbone=backbone,
        folder=default_folder(),
        progress=lambda tower, done, total: tell({"event": "encoding", "tower": tower, "done": done, "total": total}),
        note=lambda line: tell({"event": "note", "text": line}),
    )
    prepare(dataset, [client.id for client in clients])
    keys = frozenset().union(*(architecture.plan(client.pairs) for client in clients))
    words = words_of(backbone, place, scenario.network.text_generation.drawn) if generates_text(clients) else None
    training = scenario.training
    network = Network(
        architecture, keys, seed=seed, words=words, precision=training.precision, recompute=training.recompute
    ).to(place)
    site = ClientSite(
        algorithm=algorithm,
        network=network,
        scenario=scenario,
        seed=seed,
        data=dataset,
        store=store,
        validate=partial(validation_rows, text_metrics=asked, class_metrics=scenario.evaluation.class_metrics),
    )
    return SiteContext(scenario, network, dataset, site, asked)


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


def device_name(name: str) -> str:
    """Return what a device is, in words: ``cpu``, or ``cuda:0`` and the card's name."""
    place = resolve_device(name)
    if place.type != "cuda":
        return str(place)
    number = torch.cuda.current_device() if place.index is None else place.index
    return f"cuda:{number} ({torch.cuda.get_device_name(number)})"


def words_of(backbone: Backbone, device: torch.device, shortlist: int | None = None) -> Words:
    """Return a backbone's frozen words, on a device; training draws so many of them for a step (None: sums over all)."""
    vocabulary = backbone.vocabulary
    embedding = vocabulary.embedding.to(device)
    barred = vocabulary.never_written
    return Words(embedding, vocabulary.start_id, vocabulary.end_id, vocabulary.decode, barred, shortlist)


def generates_text(clients: Iterable[ClientSettings]) -> bool:
    """Tell whether any of these clients generates text; only then are word embeddings needed."""
    return any(task.type == "text_generation" for client in clients for task in client.tasks)
