"""A run's folder: what belongs to which run, what is written when, and what may be taken up again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedtap import __version__
from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.data.sources import source
from fedtap.experiment.planning import architecture_name, network_of
from fedtap.federation.store import ClientStore
from fedtap.reporting.cards import CardTask, model_card
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import read_json, write_bytes, write_json
from fedtap.scenario.renamed import with_current_keys
from fedtap.scenario.scenario import ClientSettings, Scenario

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path
    scenario: Scenario
    algorithm: Algorithm
    seed: int

    @classmethod
    def open(
        cls, scenario: Scenario, *, method: str | None, seed: int, out: str | Path | None, resume: bool, device: str
    ) -> RunFolder:
        """Make a new run's folder, or take up an old one; nothing is written into it before :meth:`begin`.

        Raises
        ------
        UserError
            If the folder holds a run and ``resume`` is not asked for, or holds another run than the one described.
        """
        algorithm = make(scenario.method, method, f"scenario '{scenario.name}', method")
        path = Path(out) if out is not None else default_path(scenario.name, algorithm.name, seed)
        folder = cls(path, scenario, algorithm, seed)
        if folder.record.exists():
            if not resume:
                raise UserError(f"{path}: already holds a run; add --resume to go on with it, or give another --out")
            _same_run(folder._recorded(), folder._describe(device), folder.record)
        elif path.exists() and any(not each.name.startswith(".run.json.") for each in path.iterdir()):
            raise UserError(f"{path}: is not empty and holds no run; give another --out")
        else:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{path}: cannot be made ({error.strerror}); give another --out") from error
        return folder

    def _recorded(self) -> dict[str, Any]:
        """Return what run.json says, with the names that keys have now."""
        old: dict[str, Any] = read_json(self.record)
        if isinstance(old, dict) and isinstance(old.get("config"), dict):
            old["config"] = with_current_keys(old["config"], str(self.record))
        return old

    def begin(self, device: str) -> None:
        """Write run.json if it is not there: whatever was given has proved right, and from here on there is a run to resume."""
        if not self.record.exists():
            write_json(self.record, self._describe(device))

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
        return ClientStore(self.path / "checkpoint" / "clients")

    def results(self) -> dict[str, Any] | None:
        """Return the results, if the run is finished."""
        path = self.path / "results.json"
        if not path.exists():
            return None
        results: dict[str, Any] = read_json(path)
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

    def answered(self, clients: Sequence[str], round_number: int, *, remote: bool = False) -> dict[str, int]:
        """Return which clients need not be asked for their personal models again, and the event log's bytes at each answer.

        They are asked in order, so these are the first of ``clients``, up to one that has not answered or whose state of that
        round is gone. Clients on machines of their own (``remote``) keep their states there and are asked together: either
        all of them have been asked, or none.
        """
        found: dict[str, int] = {}
        for client in clients:
            path = self._mark(client)
            if not path.exists():
                break
            mark = read_json(path)
            if mark["made"] and not remote and round_number not in self.store.rounds(client):
                break
            found[client] = int(mark["events"])
        return {} if remote and len(found) < len(clients) else found

    def mark_answered(self, client: str, *, made: bool, events: int) -> None:
        """Remember that a client was asked for its personal model, whether it made one, and how long the event log is now."""
        write_json(self._mark(client), {"made": made, "events": events})

    def write_results(self, rows: list[dict[str, Any]], privacy: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write results.json; it holds nothing that varies from run to run. With noise, ``privacy`` is what it is worth."""
        results = {"schema": SCHEMA, "method": self.algorithm.name, "seed": self.seed, "rows": rows}
        if privacy is not None:
            results["privacy"] = dict(privacy)
        write_json(self.path / "results.json", results)
        return results

    def write_cost(self, cost: Mapping[str, Any]) -> None:
        """Write cost.json."""
        write_json(self.path / "cost.json", dict(cost))

    @property
    def report(self) -> Path:
        """The report, which is written last."""
        return self.path / "report.html"

    def write_report(self) -> None:
        """Write report.html."""
        from fedtap.reporting.run.report import write_report

        write_report(self.path)

    def save_models(
        self, client: ClientSettings, models: Mapping[str, ComponentState], rows: list[dict[str, Any]]
    ) -> None:
        """Write a client's models as ``clients/ID/MODEL/``, those that ``evaluation.save`` asks for."""
        save = self.scenario.evaluation.save
        wanted = {"none": [], "all": list(models), "deployed": [self.algorithm.deployed]}[save]
        for model in wanted:
            if not models.get(model):
                continue  # the method has none for this client, or one without any component
            place = self.path / "clients" / client.id / model
            models[model].save(place / "model.safetensors")
            write_json(place / "config.json", self._model_config(client, model))
            write_bytes(place / "README.md", self._card(client, model, rows).encode())

    def _mark(self, client: str) -> Path:
        return self.path / "checkpoint" / "personalised" / client

    def _describe(self, device: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "fedtap": __version__,
            "scenario": self.scenario.name,
            "method": self.algorithm.name,
            "deployed": self.algorithm.deployed,
            "seed": self.seed,
            "config": {
                **self.scenario.resolved(),
                "method": {"name": self.algorithm.name, **self.algorithm.params.model_dump(mode="json")},
                "folder": str(self.scenario.folder),
            },
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "platform": platform.platform(),
                "threads": torch.get_num_threads(),
                "device": device,
            },
        }

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


def default_path(scenario: str, method: str, seed: int) -> Path:
    """Return where a run goes that is given no folder."""
    return Path("runs") / f"{scenario}-{method}-seed{seed}"


def _same_run(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    """Refuse to go on with a run under another description; what the machine is called does not matter."""
    for key in ("fedtap", "method", "seed", "config"):
        if old.get(key) != new[key]:
            what = key if key != "config" else f"config.{_first_difference(old.get('config') or {}, new['config'])}"
            raise UserError(f"{place}: holds a run with another {what}; give that one's settings, or another --out")


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if a != b:
            return f"{key}.{_first_difference(a, b)}" if isinstance(a, dict) and isinstance(b, dict) else key
    return ""
