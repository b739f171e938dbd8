"""Ask one client's saved model: an image, a text, or both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from fedtap.backbones.base import Tower, load_backbone, spec
from fedtap.components import ComponentState
from fedtap.data.images import Limits, denormalise, read_image
from fedtap.data.loader import TaskExamples
from fedtap.data.sources import source
from fedtap.experiment.folder import model_identity
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.experiment.site import words_of
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.manifest import read_record
from fedtap.runtime.sealed import Identity, read_sealed_json
from fedtap.scenario.scenario import BackboneSettings, ClientSettings, NetworkSettings, explain
from fedtap.tasks import TASK_TYPES

Item = TypeVar("Item")


def predict(
    run: str | Path,
    *,
    client: str,
    task: str,
    image: str | Path | None = None,
    text: str | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """Return what a client's model answers.

    Parameters
    ----------
    run
        A finished run's folder.
    client, task
        Whose model, and which of its tasks.
    image, text
        The input; which of them is needed depends on the task's modality.
    model
        One of the client's saved models; by default the one that the run's method deploys.

    Returns
    -------
    dict
        ``task``, ``model`` and ``output``: for classification ``{"label", "probabilities": {label: p}}``, for text generation the
        text, for reconstruction the picture, ``(64, 64, 3)`` uint8.

    Raises
    ------
    UserError
        If the run, client, model or task does not exist, or the input does not fit the task.
    """
    folder, chosen = _model_folder(Path(run), client, model)
    record = read_record(Path(run))
    about = model_identity(str(record.get("kind")), client, chosen)
    settings, backbone_settings, network_settings, architecture_name = _read_config(folder / "config.json", about)
    pairs = {each.name: each for each in settings.tasks}
    if task not in pairs:
        raise UserError(f"--task {task}: client '{client}' has no such task; {nearest(task, pairs)}")
    pair = pairs[task].pair
    _check_input(pair, image, text)
    classes = {each.name: source(each.source).classes(each) for each in settings.tasks if each.type == "classification"}
    heads = {
        each.pair.head: HeadInfo(each.type, each.modality, len(classes.get(each.name, ()))) for each in settings.tasks
    }
    blueprint = Blueprint(spec(backbone_settings), network_settings, heads)
    backbone = load_backbone(backbone_settings, "cpu")
    architecture = ARCHITECTURES[architecture_name](blueprint, backbone)
    if not architecture.served([pair]):
        raise UserError(f"--task {task}: the method of this run has no model for {pair.type}; give another task")
    words = words_of(backbone, torch.device("cpu")) if pair.type == "text_generation" else None
    state = ComponentState.load(folder / "model.safetensors", about)
    network = Network(architecture, state, seed=_seed(record, Path(run) / "run.json"), words=words)
    try:
        network.load(state)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{folder}: weights and config.json do not fit together ({error}); restore both") from error
    example = _encode(pair, image, text, backbone, pairs[task].limits)
    network.eval()
    with torch.no_grad():
        (out,) = network((example.take([0], [0]),))
        answers = TASK_TYPES[pair.type].answers(out.head, out.fused, out.output, words)
    return {"task": task, "model": chosen, "output": _plain(pair, answers[0], classes.get(task, ()))}


def _model_folder(run: Path, client: str, model: str | None) -> tuple[Path, str]:
    """Return the folder of a client's model, and the model's name."""
    if not (run / "run.json").exists():
        raise UserError(f"{run}: holds no run; give the folder of a run made by `fedtap run`")
    clients = sorted(path.name for path in (run / "clients").glob("*") if path.is_dir())
    if client not in clients:
        known = (
            nearest(client, clients) if clients else "the run saved no models (is it finished, and evaluation.save on?)"
        )
        raise UserError(f"--client {client}: {run} has no model of this client; {known}")
    models = sorted(path.name for path in (run / "clients" / client).glob("*") if path.is_dir())
    deployed = read_record(run).get("deployed")
    chosen = model or (deployed if deployed in models else models[0])
    if chosen not in models:
        raise UserError(f"--model {chosen}: client '{client}' has no such model; {nearest(chosen, models)}")
    return run / "clients" / client / chosen, chosen


def _read_config(path: Path, about: Identity) -> tuple[ClientSettings, BackboneSettings, NetworkSettings, str]:
    raw = read_sealed_json(path, about)
    try:
        return (
            ClientSettings.model_validate(raw["client"]),
            BackboneSettings.model_validate(raw["backbone"]),
            NetworkSettings.model_validate(raw["network"]),
            str(raw["architecture"]),
        )
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; restore the file from a copy") from error
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, ClientSettings)}") from error


def _seed(record: Mapping[str, Any], path: Path) -> int:
    """Return a run's seed, from which the frozen layers are drawn that low-rank adapters belong to."""
    seed = record.get("seed")
    if not isinstance(seed, int):
        raise UserError(f"{path}: 'seed' is missing; restore the file from a copy")
    return seed


def _check_input(pair: Pair, image: object, text: str | None) -> None:
    for name, given in (("image", image), ("text", text)):
        if name in pair.parts and given is None:
            raise UserError(
                f"task '{pair.task}' needs an {name}; add --{name}"
                if name == "image"
                else f"task '{pair.task}' needs a text; add --text"
            )
        if name not in pair.parts and given is not None:
            raise UserError(f"task '{pair.task}' takes {' and '.join(pair.parts)}; leave out --{name}")
    if text is not None and not text.strip():
        raise UserError("--text: is empty; give some words")


def _encode(
    pair: Pair, image: str | Path | None, text: str | None, backbone: Any, limits: Limits | None
) -> TaskExamples:
    """Return the input as one example without a real target; a picture is seen as in training, by the same ``range``."""
    images = None if image is None else [_features(backbone.vision, read_image(image, limits))]
    texts = None if text is None else [_features(backbone.text, text)]
    shape = (1, 3, 64, 64) if pair.type == "reconstruction" else (1, 1) if pair.type == "text_generation" else (1,)
    target = torch.zeros(shape, dtype=torch.long)
    return TaskExamples(pair, images, texts, target)


def _features(tower: Tower[Item], item: Item) -> NDArray[Any]:
    """Return what a tower makes of one item, rounded as in the feature cache; nothing is stored, since nobody asks twice."""
    if tower.raw:
        return tower.prepare(item)
    (tokens,) = tower.encode([item])
    return tokens.astype(np.float16)


def _plain(pair: Pair, answer: Any, classes: tuple[str, ...]) -> Any:
    if pair.type == "classification":
        probabilities = {name: round(float(p), 6) for name, p in zip(classes, answer.tolist(), strict=True)}
        return {"label": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}
    if pair.type == "reconstruction":
        return denormalise(answer.numpy())
    return answer
