"""A run's folder: what belongs to which run, what is written when, and what may be taken up again."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from fedtap import __version__
from fedtap.algorithms.base import Algorithm, ByTask, Models
from fedtap.algorithms.outside import code_of
from fedtap.algorithms.registry import make
from fedtap.data.sources import source
from fedtap.experiment.planning import architecture_name, network_of
from fedtap.experiment.provenance import hub_commits, versions
from fedtap.experiment.same_run import from_here, kind_of, require_same_commits, require_same_run
from fedtap.experiment.site import device_name
from fedtap.federation.store import ClientStore
from fedtap.reporting.cards import CardTask, model_card
from fedtap.reporting.events import Settled
from fedtap.reporting.run.outcomes import FOLDER as OUTCOMES
from fedtap.runtime.errors import UserError
from fedtap.runtime.lock import LOCKS, ROUNDS, locked
from fedtap.runtime.manifest import RECORD, check_files, read_listed, read_record, write_manifest
from fedtap.runtime.sealed import Identity, read_sealed_json, write_sealed_json
from fedtap.runtime.storage import clear_scraps, json_bytes, scrap_of, settle, write_bytes
from fedtap.scenario.renamed import with_current_keys
from fedtap.scenario.scenario import ClientSettings, Scenario

SCHEMA = 1
Resume: TypeAlias = bool | Literal["auto", "extend"]
"""Whether to go on with a run: False, True (refused where there is none), ``auto`` (go on, or start), ``extend``."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. ``run`` names the run in every file of it that is read back."""

    path: Path
    scenario: Scenario
    algorithm: Algorithm
    seed: int
    run: str = ""
    _kind: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def open(
        cls, scenario: Scenario, *, method: str | None, seed: int, out: str | Path | None, resume: Resume, device: str
    ) -> RunFolder:
        """Make a new run's folder, or take up an old one; nothing is written into it before :meth:`begin`.

        Raises
        ------
        UserError
            If the folder holds a run and ``resume`` is not asked for, holds none and it is, or holds another run than the one
            described.
        """
        folder = cls.described(scenario, method=method, seed=seed, out=out)
        path = folder.path
        if folder.record.exists():
            if not resume:
                raise UserError(f"{path}: already holds a run; add --resume to go on with it, or give another --out")
            old = folder.recorded()
            require_same_run(old, folder.describe(device), folder.record)
            return replace(folder, run=str(old["run"]))
        if path.exists() and any(each.name not in LOCKS and scrap_of(each) != RECORD for each in path.iterdir()):
            raise UserError(f"{path}: is not empty and holds no run; give another --out")
        if resume is True:
            raise UserError(
                f"{path}: holds no run to go on with; leave out --resume, or give --resume=auto, which starts one then"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be made ({error.strerror}); give another --out") from error
        return folder

    @classmethod
    def described(cls, scenario: Scenario, *, method: str | None, seed: int, out: str | Path | None) -> RunFolder:
        """Return the folder of a new run, whatever lies there; nothing is looked at, and nothing made."""
        algorithm = make(scenario.method, method, f"scenario '{scenario.name}', method")
        path = Path(out) if out is not None else default_path(scenario.name, algorithm.name, seed)
        return cls(path, scenario, algorithm, seed, uuid.uuid4().hex)

    @staticmethod
    def place(scenario: Scenario, *, method: str | None, seed: int, out: str | Path | None) -> Path:
        """Return where a run's folder is, or would be."""
        return Path(out) if out is not None else RunFolder.described(scenario, method=method, seed=seed, out=out).path

    def recorded(self) -> dict[str, Any]:
        """Return what run.json says, with the names that keys have now."""
        old = read_record(self.path)
        if isinstance(old.get("config"), dict):
            old["config"] = with_current_keys(old["config"], str(self.record))
        return old

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with."""
        return self.record.exists()

    def begin(self, device: str, data: Mapping[str, str] | None = None) -> None:
        """Write run.json if it is not there: whatever was given has proved right, and from here on there is a run to resume.

        Parameters
        ----------
        device
            What the run is done on.
        data
            A digest of each client's examples, where they are in this process.

        Raises
        ------
        UserError
            If the run that is there was begun with other examples.
        """
        if not self.begun:
            description = {**self.describe(device), "data": dict(data or {})}
            if commits := hub_commits(self.scenario):
                description["hub"] = commits
            description["environment"]["resolved_device"] = device_name(device)
            write_sealed_json(self.record, description, {"what": "run", "run": self.run})
            return
        record = self.recorded()
        if record.get("hub"):
            require_same_commits(record, hub_commits(self.scenario), self.record)
        old = record.get("data") or {}
        for client in sorted(old.keys() & (data or {}).keys()):
            if data is not None and old[client] != data[client]:
                raise UserError(
                    f"{self.record}: holds a run with other data of client '{client}'; put those back, or give another --out"
                )

    def tidy(self) -> None:
        """Remove what writes that were killed have left: parts of private models among them. Call it under the lock."""
        clear_scraps(self.path, apart=frozenset({"flower"}))  # its nodes look after their own

    def identity(self, what: str, **whose: str | int) -> Identity:
        """Return what a file of this run says of itself."""
        return {"what": what, "run": self.run, **whose}

    @property
    def kind(self) -> str:
        """A digest of what makes equal runs equal; saved models, which are the same bytes for them, go by it."""
        if not self._kind:  # asked for with every file of every client, and the whole scenario is read for it
            self._kind.append(kind_of(self.describe("")))
        return self._kind[0]

    @property
    def record(self) -> Path:
        """The run's description."""
        return self.path / "run.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The server's last complete round."""
        return self.path / "checkpoint" / "server.safetensors"

    @property
    def store(self) -> ClientStore:
        """The clients' private states."""
        return ClientStore(self.path / "checkpoint" / "clients", self.run)

    def results(self) -> dict[str, Any] | None:
        """Return the results, if the run is finished."""
        if not (self.path / "results.json").exists():
            return None
        results: dict[str, Any] = read_listed(self.path, self.run, "results.json")
        check_files(self.path, self.run)
        return results

    def check_age(self, round_number: int, clients: Sequence[str]) -> None:
        """Check that no client is further than the round after the checkpoint's: its earlier states would be gone.

        Raises
        ------
        UserError
            If the checkpoint's file was lost, or an older copy put back without the clients' states that belong to it.
        """
        for client in clients:
            newest = max(self.store.rounds(client), default=0)
            if newest > round_number + 1:
                raise UserError(
                    f"{self.checkpoint}: {f'of round {round_number}' if round_number else 'missing'}, but client '{client}' is "
                    f"in round {newest}; restore the whole folder {self.checkpoint.parent} from one copy, or give another --out"
                )

    def check_states(self, taken: Mapping[str, int], round_number: int) -> None:
        """Check that the states are there of the clients that have answered, by the newest round that they did.

        Raises
        ------
        UserError
            If one is gone: the client would begin anew.
        """
        store = self.store
        for client, newest in taken.items():
            store.expect(client, [newest])
            store.check(client, round_number + 1)

    def answered(self, clients: Sequence[str], round_number: int, *, remote: bool = False) -> dict[str, Settled]:
        """Return which clients need not be asked for their personal models again, and the event log at each answer.

        They are asked in order, so these are the first of ``clients``, up to one that has not answered or whose state of that
        round is gone. Clients on machines of their own (``remote``) keep their states there and are asked together: either
        all of them have been asked, or none.
        """
        found: dict[str, Settled] = {}
        for client in clients:
            path = self._mark(client)
            if not path.exists():
                break
            mend = "remove it: the client is asked again"
            mark = read_sealed_json(path, self.identity("answer", client=client, round=round_number), mend)
            if mark.get("made") and not remote and round_number not in self.store.rounds(client):
                break
            try:
                found[client] = Settled(int(mark["events"]), str(mark["events_sha256"]))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}: damaged (no mark of an answer: {error}); {mend}") from error
        return {} if remote and len(found) < len(clients) else found

    def mark_answered(self, client: str, round_number: int, *, made: bool, events: Settled) -> None:
        """Remember that a client was asked for its personal model, whether it made one, and what the event log is now."""
        mark = {"made": made, "events": events.bytes, "events_sha256": events.sha256}
        write_sealed_json(self._mark(client), mark, self.identity("answer", client=client, round=round_number))

    def write_results(
        self,
        rows: list[dict[str, Any]],
        privacy: Mapping[str, Any] | None,
        *,
        cost: Mapping[str, Any],
        events: Settled,
    ) -> dict[str, Any]:
        """Write cost.json and results.json, and before them digests.json, which tells whether they and the log are whole.

        results.json holds nothing that varies from run to run. With noise, ``privacy`` is what it is worth.
        """
        results = {"schema": SCHEMA, "method": self.algorithm.name, "seed": self.seed, "rows": rows}
        if privacy is not None:
            results["privacy"] = dict(privacy)
        coming = {"cost.json": json_bytes(dict(cost)), "results.json": json_bytes(results)}
        settle(self.path / OUTCOMES)
        write_manifest(self.path, self.run, coming, {self.events.name: events.sha256})
        for name, content in coming.items():  # with the results the run counts as finished
            write_bytes(self.path / name, content)
        return results

    @property
    def report(self) -> Path:
        """The report, which is written last."""
        return self.path / "report.html"

    def write_report(self) -> None:
        """Write report.html."""
        from fedtap.reporting.run.report import write_report

        write_report(self.path)

    def save_models(self, client: ClientSettings, models: Models, rows: list[dict[str, Any]]) -> None:
        """Write a client's models as ``clients/ID/MODEL/``, those that ``evaluation.save`` asks for."""
        save = self.scenario.evaluation.save
        wanted = {"none": [], "all": list(models), "deployed": [self.algorithm.deployed]}[save]
        choices = [choice for choice in map(models.get, wanted) if isinstance(choice, ByTask)]
        wanted += sorted({name for choice in choices for name in choice.models.values()} - set(wanted))
        for model in wanted:
            held = models.get(model)
            if not held:
                continue  # the method has none for this client, or one without any component
            place = self.path / "clients" / client.id / model
            about = model_identity(self.kind, client.id, model)
            config = self._model_config(client, model)
            if isinstance(held, ByTask):
                config["by_task"] = dict(held.models)
            else:
                held.save(place / "model.safetensors", about)
            write_sealed_json(place / "config.json", config, about)
            write_bytes(place / "README.md", self._card(client, model, rows).encode())

    def save_outcomes(self, client: ClientSettings, told: Mapping[str, Any]) -> None:
        """Write what the report may say of single test examples of a client.

        Until there are results all of it would be made again, so that the disk is waited for once, before they are written.
        """
        about = {"what": OUTCOMES, "kind": self.kind, "client": client.id}
        place = self.path / OUTCOMES / f"{client.id}.json"
        write_sealed_json(place, {"schema": SCHEMA, **told}, about, durable=False, compact=True)

    def _mark(self, client: str) -> Path:
        return self.path / "checkpoint" / "personalised" / client

    def describe(self, device: str) -> dict[str, Any]:
        """Return what run.json says of the run, but for its data."""
        told = {
            "schema": SCHEMA,
            "run": self.run,
            "fedtap": __version__,
            "scenario": self.scenario.name,
            "method": self.algorithm.name,
            "deployed": self.algorithm.deployed,
            "seed": self.seed,
            "config": {
                **from_here(self.scenario.resolved(), self.scenario.folder),
                "method": {"name": self.algorithm.name, **self.algorithm.params.model_dump(mode="json")},
            },
            "code": code_of(type(self.algorithm)),
            "environment": {
                **versions(),
                "platform": platform.platform(),
                "threads": torch.get_num_threads(),
                "device": device,
            },
        }
        return {**told, "kind": kind_of(told)}

    def _model_config(self, client: ClientSettings, model: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "fedtap": __version__,
            "model": model,
            "method": self.algorithm.name,
            "architecture": architecture_name(self.scenario, self.algorithm),
            "client": client.model_dump(mode="json"),
            "backbone": self.scenario.backbone.whole().model_dump(mode="json"),
            "network": network_of(self.scenario, self.algorithm).model_dump(mode="json"),
        }

    def _card(self, client: ClientSettings, model: str, rows: list[dict[str, Any]]) -> str:
        tasks = []
        for task in client.tasks:
            data = source(task.source)
            tasks.append(CardTask(task.name, task.type, task.modality, task.domain, data.title, data.licence))
        backbone = self.scenario.backbone
        return model_card(
            client=client.id,
            model=model,
            method=self.algorithm.name,
            scenario=self.scenario.name,
            seed=self.seed,
            backbone=f"{backbone.name}: {backbone.vision} + {backbone.text}",
            tasks=tasks,
            rows=rows,
            version=__version__,
        )


@contextmanager
def at_work(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep a run's folder for this process, which does its rounds too; raises :class:`UserError` while another has it.

    ``wait``: until the other is done.
    """
    with locked(folder, wait=wait), locked(folder, name=ROUNDS, wait=wait):
        yield


def default_path(scenario: str, method: str, seed: int) -> Path:
    """Return where a run goes that is given no folder."""
    return Path("runs") / f"{scenario}-{method}-seed{seed}"


def model_identity(kind: str, client: str, model: str) -> Identity:
    """Return what a saved model says of itself; ``kind`` is that of its run."""
    return {"what": "model", "kind": kind, "client": client, "model": model}
