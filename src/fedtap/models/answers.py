"""What a loaded model answers, in batches: towers, network, answers as plain values. Not here: what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedtap.backbones.base import Backbone, Tower, load_backbone
from fedtap.data.images import denormalise
from fedtap.data.loader import TaskExamples
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.experiment.site import words_of
from fedtap.models.given import Inputs
from fedtap.models.saved_model import ModelTask, SavedModel
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.scenario.unit import unscaled
from fedtap.tasks import TASK_TYPES

Item = TypeVar("Item")


class LoadedModel:
    """A model in memory, in evaluation mode, on a device; the towers' weights are read when they are first needed.

    ``exact`` has towers encode what is asked as they encoded what was trained on, in batches of a fixed size, which a single
    example is filled up to; otherwise a single one goes through them alone.
    """

    def __init__(self, saved: SavedModel, device: torch.device, *, exact: bool = True) -> None:
        self.saved, self.device, self._exact = saved, device, exact
        self.backbone: Backbone = load_backbone(saved.backbone, device)
        self.architecture = ARCHITECTURES[saved.architecture](saved.blueprint, self.backbone)
        writes = any(task.type == "text_generation" for task in saved.tasks)
        self.words = words_of(self.backbone, device) if writes else None
        keys = frozenset().union(*(model.state for model in saved.held))
        self.network = Network(self.architecture, keys, seed=saved.seed, words=self.words).to(device)
        self._held = saved.state
        self.network.load(saved.state)
        self.network.eval()

    def use(self, task: ModelTask) -> None:
        """Swap in the model that answers a task, where that is not always the same."""
        state = self.saved.of_task(task.name).state
        if state is not self._held:
            self.network.load(state)
            self._held = state

    def check_served(self, task: ModelTask) -> None:
        """Raise UserError if the model's architecture has nothing to say to a task."""
        if not self.architecture.served([task.pair]):
            raise UserError(
                f"--task {task.name}: the method of this run has no model for {task.type}; give another task"
            )

    def answers(self, task: ModelTask, inputs: Sequence[Inputs]) -> list[Any]:
        """Return what the model answers to each example of a task, as :meth:`fedtap.PersonalModel.predict` describes it."""
        if not inputs:
            return []
        self.check_served(task)
        self.use(task)
        examples = self._encode(task.pair, inputs)
        with torch.no_grad():
            ((part,),) = examples.batches(len(inputs), self.device)
            (out,) = self.network((part,))
            found = TASK_TYPES[task.type].answers(out.head, out.fused, out.output, self.words)
        return [_plain(task, answer) for answer in found]

    def _encode(self, pair: Pair, inputs: Sequence[Inputs]) -> TaskExamples:
        """Return the inputs as examples without a real target."""
        alone = len(inputs) == 1 and not self._exact
        vision, text = self.backbone.vision, self.backbone.text
        images = _features(
            vision.one_by_one() if alone else vision, [each.image for each in inputs if each.image is not None]
        )
        texts = _features(text.one_by_one() if alone else text, [each.text for each in inputs if each.text is not None])
        count = len(inputs)
        shapes = {"reconstruction": (count, 3, 64, 64), "text_generation": (count, 1)}
        target = torch.zeros(shapes.get(pair.type, (count,)), dtype=torch.long)
        return TaskExamples(pair, images or None, texts or None, target)


def _features(tower: Tower[Item], items: Sequence[Item]) -> list[NDArray[Any]]:
    """Return what a tower makes of items, rounded as in the feature cache; nothing is stored, since nobody asks twice."""
    if not items:
        return []
    if tower.raw:
        return [tower.prepare(item) for item in items]
    return [tokens.astype(np.float16) for tokens in tower.encode(items)]


def _plain(task: ModelTask, answer: Any) -> Any:
    if task.type == "classification":
        probabilities = {name: round(float(p), 6) for name, p in zip(task.classes, answer.tolist(), strict=True)}
        return {"label": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}
    if task.type == "multilabel_classification":
        shares = dict(zip(task.classes, answer.tolist(), strict=True))
        held = [name for name, share in shares.items() if share > 0.5]
        return {"labels": held, "probabilities": {name: round(share, 6) for name, share in shares.items()}}
    if task.scale is not None:
        return float(f"{unscaled(float(answer), task.scale):.7g}")
    if task.type == "reconstruction":
        return denormalise(answer.cpu().numpy())
    return answer
