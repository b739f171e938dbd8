"""A federation across machines with Flower: the two apps of a run, and the server's side of it. A node's side: remote.

The round loop, checkpoint, event log, results and report are those of any run; only the clients are elsewhere. The server has no
data of theirs, so there is no cross-client test here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.algorithms.registry import make
from fedtap.data.requests import most_examples
from fedtap.deployment.remote import open_site
from fedtap.deployment.run_config import RunConfig
from fedtap.experiment.folder import RunFolder, default_path
from fedtap.experiment.run import FederatedRun
from fedtap.experiment.setup import set_up_server
from fedtap.federation.messages import EvaluateReply, Failure, Request
from fedtap.runtime.home import expanded
from fedtap.runtime.lock import ROUNDS, locked
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json
from fedtap.runtime.storage import write_json
from fedtap.scenario.scenario import load_scenario

if TYPE_CHECKING:
    from fedtap.engines.flower.client_app import ClientApp
    from fedtap.engines.flower.server_app import Grid, ServerApp
    from fedtap.engines.flower.transport import FlowerTransport

Tell = Callable[[dict[str, Any]], None]


def client_app(scenario: str | Path) -> ClientApp:
    """Return the Flower app of a node, for the scenario that lies in the app."""
    from fedtap.engines.flower.client_app import make_client_app

    return make_client_app(partial(open_site, Path(scenario)))


def server_app(scenario: str | Path) -> ServerApp:
    """Return the Flower app of the server, for the scenario that lies in the app."""
    from fedtap.engines.flower.server_app import make_server_app

    return make_server_app(partial(serve, Path(scenario)))


class RemoteClients:
    """The clients at the other end of Flower's Grid.

    Parameters
    ----------
    transport
        The way to them.
    min_replies
        How many of a round's clients must be there for it to begin, once the first round has begun.
    patience
        Seconds to wait for them.
    """

    remote = True
    peak_rss_bytes = 0

    def __init__(self, transport: FlowerTransport, *, min_replies: int, patience: float) -> None:
        self.transport = transport
        self._min_replies = min_replies
        self._patience = patience
        self._begun = False

    def ready(self, clients: Sequence[str]) -> None:
        """Wait for all of them before the first round, later for as many as are needed: those that left may never come back."""
        needed = min(self._min_replies, len(clients)) if self._begun else len(clients)
        self.transport.wait_for(clients, at_least=needed, patience=self._patience)
        self._begun = True

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Do nothing: all of them are asked at once."""

    def evaluate(self, requests: Iterable[Request], timeout: float | None) -> Iterator[EvaluateReply | Failure]:
        """Have clients test their models at home."""
        yield from self.transport.evaluate(requests, timeout=timeout)


def serve(scenario_file: Path, grid: Grid, config: Mapping[str, Any], tell: Tell) -> None:
    """Run a federation over a Grid, from its first round or its checkpoint to its results.

    Raises
    ------
    UserError
        If anything given is wrong.
    RunError
        If the machine cannot go on.
    """
    fault = config.get("fault")
    try:
        _serve(scenario_file, grid, RunConfig.read(config), tell)
    except Exception as error:
        if isinstance(fault, str) and fault:
            write_json(Path(fault), {"kind": type(error).__name__, "message": str(error)})
        raise


def _serve(scenario_file: Path, grid: Grid, config: RunConfig, tell: Tell) -> None:
    began = time.perf_counter()
    scenario = load_scenario(scenario_file, config.overrides)
    name = make(scenario.method, config.method or None).name
    out = expanded(config.out) if config.out else default_path(scenario.name, name, config.seed)
    with locked(out, name=ROUNDS):  # in a rehearsal the process that was asked for the run has the folder's other lock
        _serve_in(out, scenario_file, grid, config, tell, began)


def _serve_in(out: Path, scenario_file: Path, grid: Grid, config: RunConfig, tell: Tell, began: float) -> None:
    from fedtap.engines.flower.nodes import Expected, Nodes, read_keys
    from fedtap.engines.flower.transport import FlowerTransport

    # An app is unpacked to another place whenever it changes: relative paths start at the run's folder.
    scenario = load_scenario(scenario_file, config.overrides, out)
    folder = RunFolder.open(
        scenario,
        method=config.method or None,
        seed=config.seed,
        out=out,
        resume="auto" if config.resume else False,
        device=config.device,
    )
    if folder.results() is not None:
        tell({"event": "finished", "round": scenario.rounds})
        return
    folder.tidy()
    most = most_examples(scenario, config.seed)
    public_keys = config.public_keys()
    ids = [client.id for client in scenario.clients]
    keys = None if public_keys is None else read_keys(public_keys, ids)
    context = set_up_server(scenario, folder.algorithm, seed=config.seed, device=config.device, most=most)
    folder.begin(config.device)
    observers: list[Tell] = []
    nodes = Nodes(
        {client.id: Expected(client.pairs, most[client.id]) for client in scenario.clients},
        keys=keys,
        observe=lambda event: observers[0](event),  # nobody is heard before there is one
    )
    transport = FlowerTransport(grid, nodes, federation=federation_of(folder), at_once=config.at_once or None)
    clients = RemoteClients(transport, min_replies=scenario.min_replies, patience=config.patience)
    work = FederatedRun(context, clients, folder, tell, began)
    observers.append(work.observe)
    nodes.begin_after(work.round)
    work.complete()


def federation_of(folder: RunFolder) -> str:
    """Return the name under which nodes keep their states of a run: made once, and kept in the server's folder of the run."""
    path = folder.path / "checkpoint" / "federation.json"
    about = folder.identity("federation")
    if not path.exists():
        write_sealed_json(path, {"federation": uuid.uuid4().hex}, about)
    return str(read_sealed_json(path, about)["federation"])
