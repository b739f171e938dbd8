"""A client's saved model, read from a run's folder that may be a stranger's: what it asks for is known to fit before it is made.

A seal finds damage, and is no signature: config.json may say anything, and still be whole. Not here: a model that has left its
run (``folder.py``), and answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from fedtap.backbones.base import spec
from fedtap.backbones.origins import Origin
from fedtap.components import ComponentState
from fedtap.data.sources import source
from fedtap.experiment.folder import model_identity
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.models.fit import MAX_CONFIG, Place, read_weights
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.pairs import Modality, Pair, TaskName
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.manifest import read_record
from fedtap.runtime.sealed import read_sealed_json
from fedtap.scenario.scenario import BackboneSettings, ClientSettings, NetworkSettings, explain
from fedtap.scenario.settings import MANY, NAME, Float, Sparing

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Label = Annotated[str, Field(min_length=1, max_length=10_000)]


class ModelTask(Sparing):
    """What a model has to know of one of its tasks; nothing of the data that it was trained on.

    ``range`` are the values of pictures that are shown as black and white; ``columns`` what the tables that it was trained on
    called ``image`` and ``text``; ``data`` and ``licence`` are what a card says of them. ``scale`` are the numbers that -1 and 1
    stand for, of a regression.
    """

    unsaid: ClassVar[frozenset[str]] = frozenset({"scale"})

    name: Name
    type: TaskName
    modality: Modality
    domain: Name
    head: Name
    classes: Annotated[tuple[Label, ...], Field(max_length=MANY)] = ()
    range: tuple[Float, Float] | None = None
    scale: tuple[Float, Float] | None = None
    columns: Annotated[Mapping[str, Label], Field(max_length=10)] = {}
    data: Label = "unknown"
    licence: Label = "unknown"

    @classmethod
    def of_client(cls, client: ClientSettings) -> tuple[ModelTask, ...]:
        """Return a client's tasks."""
        return tuple(
            cls(
                data=source(task.source).title,
                licence=source(task.source).licence,
                name=task.name,
                type=task.type,
                modality=task.modality,
                domain=task.domain,
                head=task.pair.head,
                classes=source(task.source).classes(task) if task.classifies else (),
                range=task.limits,
                scale=task.scale,
                columns={part: task.columns[part] for part in task.pair.parts if part in task.columns},
            )
            for task in client.tasks
        )

    @property
    def pair(self) -> Pair:
        """The pair that this task makes."""
        return Pair(self.name, self.type, self.modality, self.domain, self.head)


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A client's model, and all that is needed to ask it; the backbone is not loaded yet.

    ``kind`` is that of its run, ``origins`` where its frozen weights came from, once that has been looked at. A model that is a
    choice among others has in ``by_task`` the one that answers each task; its own ``state`` is then one of theirs.
    """

    name: str
    client: str
    method: str
    seed: int
    kind: str
    tasks: tuple[ModelTask, ...]
    backbone: BackboneSettings
    network: NetworkSettings
    architecture: str
    state: ComponentState
    origins: tuple[Origin, ...] | None = None
    by_task: Mapping[str, SavedModel] = field(default_factory=dict)

    def of_task(self, task: str) -> SavedModel:
        """Return the model that answers a task."""
        return self.by_task.get(task, self)

    @property
    def held(self) -> tuple[SavedModel, ...]:
        """The models whose weights these are, by name: itself, or those that a choice uses."""
        return tuple(sorted({model.name: model for model in self.by_task.values()}.values(), key=_name)) or (self,)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The model's pairs, in the order of its tasks."""
        return tuple(task.pair for task in self.tasks)

    @property
    def blueprint(self) -> Blueprint:
        """What the shapes of its components depend on."""
        return blueprint_of(self.tasks, self.backbone, self.network)


def blueprint_of(tasks: tuple[ModelTask, ...], backbone: BackboneSettings, network: NetworkSettings) -> Blueprint:
    """Return what the shapes of the components of a model with these tasks depend on."""
    heads = {task.head: HeadInfo(task.type, task.modality, len(task.classes), task.scale) for task in tasks}
    return Blueprint(spec(backbone), network, heads)


def read_model(run: Path, client: str, model: str | None = None) -> SavedModel:
    """Read a client's model; ``model`` names one of its saved ones, by default the one that the run's method deploys.

    Raises
    ------
    UserError
        If the run, client or model does not exist, a file leads out of the run's folder or is damaged, or what it asks for has no
        bounds.
    """
    if not (run / "run.json").exists():
        raise UserError(f"{run}: holds no run; give the folder of a run made by `fedtap run`")
    place = Place(run)
    place.file(run / "run.json")
    record = read_record(run)
    folder, name = model_folder(run, client, model, record["deployed"])
    saved, used = _read(place, record, client, folder, name)
    if saved is not None:
        return saved
    config = folder / "config.json"
    found: dict[str, SavedModel] = {}
    for each in sorted(set(used.values())):
        other, _ = model_folder(run, client, each, each)
        model_of, _ = _read(place, record, client, other, each)
        if model_of is None:
            raise UserError(f"{config}: uses model '{each}', which is a choice itself; restore the file from a copy")
        found[each] = model_of
    first = found[min(found)]
    facts = [(model.tasks, model.architecture, model.network, model.backbone) for model in found.values()]
    if any(each != facts[0] for each in facts) or not {task.name for task in first.tasks}.issuperset(used):
        raise UserError(f"{config}: does not fit the models that it uses; restore them from a copy")
    return replace(first, name=name, by_task={task: found[each] for task, each in used.items()})


def _name(model: SavedModel) -> str:
    return model.name


def _read(
    place: Place, record: Mapping[str, Any], client: str, folder: Path, name: str
) -> tuple[SavedModel | None, Mapping[str, str]]:
    """Return the model in a folder of a run; of one that is a choice, for each task the model that it uses instead."""
    about = model_identity(record["kind"], client, name)
    config = place.file(folder / "config.json")
    raw = read_sealed_json(config, about, most=MAX_CONFIG)
    if raw.get("by_task") is not None:
        return None, _by_task(config, raw["by_task"])
    settings, backbone, network, architecture = _config(config, raw)
    tasks = ModelTask.of_client(settings)
    blueprint = blueprint_of(tasks, backbone, network)
    weights = place.file(folder / "model.safetensors")
    state = read_weights(weights, about, architecture=architecture, blueprint=blueprint, pairs=settings.pairs)
    model = SavedModel(
        name=name,
        client=client,
        method=record["method"],
        seed=int(record["seed"]),
        kind=record["kind"],
        tasks=tasks,
        backbone=backbone,
        network=network,
        architecture=architecture,
        state=state,
    )
    return model, {}


def _by_task(config: Path, used: Any) -> Mapping[str, str]:
    """Return for each task the model that a choice uses."""
    if not isinstance(used, dict) or not used or not all(isinstance(name, str) for name in used.values()):
        raise UserError(f"{config}: does not say which model each task uses; restore it from a copy")
    return used


def model_folder(run: Path, client: str, model: str | None, deployed: str) -> tuple[Path, str]:
    """Return the folder of a client's model, and the model's name."""
    clients = sorted(path.name for path in (run / "clients").glob("*") if path.is_dir())
    if client not in clients:
        known = (
            nearest(client, clients) if clients else "the run saved no models (is it finished, and evaluation.save on?)"
        )
        raise UserError(f"--client {client}: {run} has no model of this client; {known}")
    models = sorted(path.name for path in (run / "clients" / client).glob("*") if path.is_dir())
    if not models:
        raise UserError(f"--client {client}: {run} holds none of its models; restore {run / 'clients'} from a copy")
    chosen = model or (deployed if deployed in models else models[0])
    if chosen not in models:
        raise UserError(f"--model {chosen}: client '{client}' has no such model; {nearest(chosen, models)}")
    return run / "clients" / client / chosen, chosen


def _config(path: Path, raw: Mapping[str, Any]) -> tuple[ClientSettings, BackboneSettings, NetworkSettings, str]:
    architecture = raw.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise UserError(f"{path}: unknown architecture {str(architecture)[:40]!r}; {nearest('', ARCHITECTURES)}")
    read: dict[str, Any] = {}
    for key, kind in (("client", ClientSettings), ("backbone", BackboneSettings), ("network", NetworkSettings)):
        if not isinstance(raw.get(key), dict):
            raise UserError(f"{path}: '{key}' is missing, or no mapping; restore the file from a copy")
        try:
            read[key] = kind.model_validate(raw[key])
        except ValidationError as error:
            raise UserError(f"{path}: {key}: {explain(error, kind)}") from error
    return read["client"], read["backbone"], read["network"], architecture
