"""What a run works with, built once: the server's context, the clients' context where it is in this process, the way between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedtap.algorithms.base import Algorithm, Models, ServerState
from fedtap.backbones.base import load_backbone
from fedtap.data.federated_dataset import FederatedDataset
from fedtap.data.partition import partition
from fedtap.engines.inprocess import InProcessTransport
from fedtap.experiment.planning import architecture_of, check
from fedtap.experiment.requirements import check_no_validation, check_one_process, check_privacy
from fedtap.experiment.site import Prepare, SiteContext, resolve_device, set_up_site
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard, EvaluateReply, Failure, Request
from fedtap.federation.store import ClientStore
from fedtap.federation.transport import Transport
from fedtap.metrics.text import TextMetric
from fedtap.network.architecture import Architecture
from fedtap.network.network import Network
from fedtap.runtime.errors import RunError, UserError
from fedtap.scenario.scenario import ClientSettings, Scenario

SaveModels = Callable[[ClientSettings, Models, list[dict[str, Any]]], None]
SaveOutcomes = Callable[[ClientSettings, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What a server works with: it has no data of any client."""

    scenario: Scenario
    algorithm: Algorithm
    seed: int
    architecture: Architecture
    start: ServerState
    cards: Sequence[ClientCard]
    """Of all clients that may be asked; what they register with takes the place of these."""
    remarks: Sequence[dict[str, Any]] = ()
    """Events on the data, from before the log begins."""


class Clients(Protocol):
    """The clients of a run, in this process or on machines of their own."""

    @property
    def transport(self) -> Transport:
        """The way to them."""

    @property
    def remote(self) -> bool:
        """Whether their private states lie elsewhere, and they may work at the same time."""

    def ready(self, clients: Sequence[str]) -> None:
        """Wait, as long as it makes sense, until these clients can be asked."""

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Take note of what will be asked for, in this order: who can begins with it."""

    def evaluate(self, requests: Iterable[Request], timeout: float | None) -> Iterator[EvaluateReply | Failure]:
        """Have clients test their models, and iterate over what they found, in any order."""

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory that processes of this machine beside this one have held for them."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """Both halves in one process."""

    scenario: Scenario
    algorithm: Algorithm
    seed: int
    network: Network
    dataset: FederatedDataset
    site: ClientSite
    transport: InProcessTransport
    cards: Sequence[ClientCard]
    start: ServerState
    text_metrics: tuple[TextMetric, ...]
    remarks: Sequence[dict[str, Any]] = ()

    @property
    def server(self) -> ServerContext:
        """The server's context."""
        architecture = self.network.architecture
        return ServerContext(
            self.scenario, self.algorithm, self.seed, architecture, self.start, self.cards, self.remarks
        )

    @property
    def context(self) -> SiteContext:
        """The clients' context."""
        return SiteContext(self.scenario, self.network, self.dataset, self.site, self.text_metrics)


class LocalClients:
    """The clients in this process, one after another. Who cannot be tested has failed alone.

    ``save`` keeps their models, ``keep`` what the report may say of single test examples.
    """

    remote = False
    peak_rss_bytes = 0

    def __init__(
        self, transport: InProcessTransport, context: SiteContext, save: SaveModels, keep: SaveOutcomes
    ) -> None:
        self.transport = transport
        self._context = context
        self._save = save
        self._keep = keep

    def ready(self, clients: Sequence[str]) -> None:
        """Return: they always are."""

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Do nothing: one at a time."""

    def evaluate(self, requests: Iterable[Request], timeout: float | None) -> Iterator[EvaluateReply | Failure]:
        """Test the models of each client on its own data and on that of others."""
        for request in requests:
            client = self._context.scenario.client(request.client)
            try:
                outcomes = self._context.outcomes(client)
                models, rows = self._context.test(client, request.components, cross=True, outcomes=outcomes)
            except (UserError, RunError, MemoryError):  # these would hit every client alike
                raise
            except Exception as error:  # whatever a model that has diverged makes of a metric
                yield Failure(client.id, request.round, f"{type(error).__name__}: {error}")
                continue
            self._save(client, models, rows)
            if outcomes is not None:
                self._keep(client, self._context.told(client, models, outcomes))
            yield EvaluateReply(client.id, request.round, rows)


def set_up(
    scenario: Scenario,
    algorithm: Algorithm,
    *,
    seed: int,
    device: str,
    store: ClientStore,
    tell: Callable[[dict[str, Any]], None],
    prepare: Prepare = FederatedDataset.prepare,
) -> Simulation:
    """Build both halves in this process; examples that were never encoded on this machine are encoded here, by ``prepare``."""
    check(scenario)
    check_privacy(scenario, algorithm)
    architecture_of(scenario, algorithm)  # refuses what does not fit together before anything is loaded
    remarks: list[dict[str, Any]] = []

    def hear(event: dict[str, Any]) -> None:
        tell(event)
        if event["event"] != "reading":
            remarks.append(event)

    context = set_up_site(
        scenario,
        algorithm,
        seed=seed,
        device=device,
        store=store,
        shares=lambda: partition(scenario, seed, tell=hear),
        tell=tell,
        prepare=prepare,
    )
    cards = [ClientCard(client.id, client.pairs, context.dataset.examples(client.id)) for client in scenario.clients]
    return Simulation(
        scenario=scenario,
        algorithm=algorithm,
        seed=seed,
        network=context.network,
        dataset=context.dataset,
        site=context.site,
        transport=InProcessTransport(context.site, cards),
        cards=cards,
        start=ServerState(context.network.initial_state().select(algorithm.travels)),
        text_metrics=context.text_metrics,
        remarks=remarks,
    )


def set_up_server(
    scenario: Scenario, algorithm: Algorithm, *, seed: int, device: str, most: Mapping[str, Mapping[str, int]]
) -> ServerContext:
    """Build the server's context alone. ``most`` bounds each client's training examples until it registers with its own."""
    check(scenario)
    check_one_process(scenario)
    check_no_validation(scenario)
    check_privacy(scenario, algorithm)
    architecture = architecture_of(scenario, algorithm, load_backbone(scenario.backbone, resolve_device(device)))
    keys = frozenset().union(*(architecture.plan(client.pairs) for client in scenario.clients))
    start = Network(architecture, keys, seed=seed).initial_state().select(algorithm.travels)
    cards = [ClientCard(client.id, client.pairs, most[client.id]) for client in scenario.clients]
    return ServerContext(scenario, algorithm, seed, architecture, ServerState(start), cards)
