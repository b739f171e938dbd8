"""Ask one client's saved model: an image, a text, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedtap.backbones.base import Tower, load_backbone
from fedtap.data.images import Limits, denormalise, read_image
from fedtap.data.loader import TaskExamples
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.experiment.saved_model import read_model
from fedtap.experiment.site import words_of
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
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
    saved = read_model(Path(run), client, model, task)
    (pair,) = (pair for pair in saved.client.pairs if pair.task == task)
    _check_input(pair, image, text)
    backbone = load_backbone(saved.backbone, "cpu")
    architecture = ARCHITECTURES[saved.architecture](saved.blueprint, backbone)
    if not architecture.served([pair]):
        raise UserError(f"--task {task}: the method of this run has no model for {pair.type}; give another task")
    words = words_of(backbone, torch.device("cpu")) if pair.type == "text_generation" else None
    network = Network(architecture, saved.state, seed=saved.seed, words=words)
    network.load(saved.state)
    (limits,) = (each.limits for each in saved.client.tasks if each.name == task)
    example = _encode(pair, image, text, backbone, limits)
    network.eval()
    with torch.no_grad():
        (out,) = network((example.take([0], [0]),))
        answers = TASK_TYPES[pair.type].answers(out.head, out.fused, out.output, words)
    return {"task": task, "model": saved.name, "output": _plain(pair, answers[0], saved.classes.get(task, ()))}


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
