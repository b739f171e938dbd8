"""A client of a federation across machines, on its own node: its data, its network, its private states, its models.

What a node keeps of a run lies in a run's folder of its own below ``store``: private states, and after the last round the
client's models, of which ``fedtap predict`` takes answers. Two runs never share a folder: its name ends with the federation's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fedtap.algorithms.registry import make
from fedtap.data.partition import Partition, fingerprints, partition
from fedtap.data.reading import remembering
from fedtap.deployment.journal import Journal
from fedtap.deployment.node import NodeSettings, check_node, read_node
from fedtap.deployment.policy import Ledger, Spent
from fedtap.deployment.reach import method_name
from fedtap.deployment.run_config import RunConfig, setting
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.planning import architecture_of, check
from fedtap.experiment.requirements import check_no_validation, check_privacy
from fedtap.experiment.site import SiteContext, set_up_site
from fedtap.federation.filters import SPENT
from fedtap.federation.messages import SECRETS, Reply, Request
from fedtap.federation.secure.client import SecureClient
from fedtap.runtime.errors import UserError
from fedtap.runtime.lock import locked
from fedtap.runtime.private import private_folder
from fedtap.runtime.storage import write_json
from fedtap.scenario.scenario import load_scenario

FEDERATION = re.compile(r"[0-9a-f]{32}")


class RemoteSite:
    """One client on its own machine; what it needs is built when it is first needed.

    Parameters
    ----------
    node
        The machine's settings.
    scenario_file
        The scenario, as the app brings it.
    config
        The run's settings, the same at the server and at every node.
    federation
        Names the run.
    """

    def __init__(self, node: NodeSettings, scenario_file: Path, config: RunConfig, federation: str) -> None:
        if not FEDERATION.fullmatch(federation):
            raise UserError("the federation's name is not 32 hexadecimal digits; the server must run the same fedtap")
        self.client = node.client
        self._node = node
        self._seed = config.seed
        self._scenario = load_scenario(scenario_file, config.overrides, node.folder)
        self._settings = self._scenario.client(node.client)
        complaint = node.policy.complaint(self._scenario.privacy)
        if complaint is not None:
            raise UserError(f"'{node.client}' does not take part: its node {complaint}")
        node.check_models(self._scenario)
        method = method_name(config.method, self._scenario, node.allow_methods, node.folder)
        algorithm = make(self._scenario.method, method)
        name = f"{self._scenario.name}-{algorithm.name}-seed{config.seed}-{federation[:16]}"
        self._folder = RunFolder(node.states / name, self._scenario, algorithm, config.seed, federation)
        self._journal = Journal(node.states, node.client, name)
        self._store = self._folder.store

    def examples(self) -> Mapping[str, int]:
        """Return the number of training examples of each task as the client tells it, having looked at all data."""
        reported, found = self._scenario.privacy.reported, check_node(self._node, self._scenario, self._seed)
        return {task: reported(sizes["train"]) for task, sizes in found.items()}

    def newest(self) -> int:
        """Return the round of the newest private state that the client has, or has had; 0 where it never had one."""
        return max([*self._store.rounds(self.client), *self._journal.rounds()], default=0)

    def answer(self, request: Request) -> Reply:
        """Train, or make the personal model; the new private state is committed only if all went well.

        One process at a time works for a node, whatever run it is of: they share its account of private steps.
        """
        private_folder(self._node.states)
        with locked(self._node.states, wait=True):
            self._folder.tidy()
            self._store.expect(self.client, self._journal.rounds())
            self._store.check(self.client, request.round)
            reply = self._answer(request)
            self._journal.note_rounds(self._store.rounds(self.client))
        return reply

    def _answer(self, request: Request) -> Reply:
        newest = self.newest()
        if newest > request.round:
            raise UserError(
                f"{self._folder.path}: holds a private state of round {newest}, and the server asks for round {request.round}: "
                "it lost rounds; restore its folder from a newer copy, or start a new run"
            )
        if request.kind in SECRETS and self._scenario.privacy.secure is not None:
            return SecureClient(self._store, self._scenario.privacy.secure).answer(request)
        if request.kind != "train" or self._scenario.privacy.local is None:
            return self._context.site.answer(request)
        ledger = self._charge(self._scenario.privacy.local.noise, request.round)
        reply = self._context.site.answer(request)
        ledger.settle(int(reply.update.vectors[SPENT][0]))
        return reply

    def evaluate(self, request: Request) -> list[dict[str, Any]]:
        """Save the client's models and their rows on its own test data on this machine; return the rows, if they may leave it."""
        private_folder(self._node.states)
        with locked(self._node.states, wait=True):
            self._store.expect(self.client, self._journal.rounds())
            self._store.check(self.client, request.round + 1)
            models, rows = self._context.test(self._settings, request.components, cross=False)
            self._folder.begin(self._node.device)
            self._folder.save_models(self._settings, models, rows)
            write_json(self._folder.path / "rows.json", rows)
        return rows if self._node.policy.results else []

    def _charge(self, noise: float, round_number: int) -> Ledger:
        """Put the steps that a round may take down in the node's account; refuse them if it has no more to spend."""
        rate = self._context.site.local(self.client, round_number).sampling_rate
        run, steps = self._folder.path.name, self._scenario.local_steps
        ledger = Ledger(self._node.states)
        if self._journal.spent and not ledger.path.exists():
            raise UserError(f"{ledger.path}: the account of private steps is gone; restore it from a copy")
        ledger.charge(Spent(run=run, round=round_number, noise=noise, rate=rate, steps=steps), self._node.policy)
        self._journal.note_spent()
        return ledger

    @cached_property
    def _context(self) -> SiteContext:
        scenario, algorithm = self._scenario, self._folder.algorithm
        check(scenario)
        check_no_validation(scenario)
        check_privacy(scenario, algorithm)
        architecture_of(scenario, algorithm)
        return set_up_site(
            scenario,
            algorithm,
            seed=self._seed,
            device=self._node.device,
            store=self._store,
            shares=self._shares,
            tell=lambda event: None,
        )

    def _shares(self) -> Partition:
        """Return the client's share of the data, if it is the one that the run began with."""
        remarks: list[dict[str, Any]] = []
        here = self._node.site_data(self._scenario)
        found = partition(self._scenario, self._seed, here, tell=remembering(remarks))
        if remarks:  # names of files and lines of tables are for the site's own eyes
            write_json(self._folder.path / "data.json", remarks)
        self._journal.check_data(fingerprints(found)[self.client])
        return found


def open_site(
    scenario_file: Path, node_config: Mapping[str, Any], run_config: Mapping[str, Any], federation: str
) -> RemoteSite:
    """Return the site of the node that a SuperNode was started for.

    Raises
    ------
    UserError
        If the SuperNode's settings name no node's folder, or another client than that folder does.
    """
    folder = setting(node_config, "node", str, "")
    if not folder:
        raise UserError('the SuperNode was started without node="FOLDER" in --node-config; add the folder of node.yaml')
    node = read_node(folder)
    client = setting(node_config, "client-id", str, "")
    if client != node.client:
        raise UserError(f"{node.folder}: is of client '{node.client}', and --node-config says client-id=\"{client}\"")
    return RemoteSite(node, scenario_file, RunConfig.read(run_config), federation)
