"""One task of a model as a plain module: pixels and token ids in, probabilities or a picture out. Not here: files of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedtap.backbones.base import Tower
from fedtap.batch import TaskBatch
from fedtap.models.answers import LoadedModel
from fedtap.models.merging import merged_network
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError
from fedtap.scenario.unit import unscaled
from fedtap.tasks import TASK_TYPES

OUTPUTS = {
    "classification": "probabilities",
    "multilabel_classification": "probabilities",
    "reconstruction": "pictures",
    "regression": "numbers",
}
"""What a graph gives, by type of task: ``(n, classes)``, ``(n, 3, 64, 64)`` in [-1, 1], or ``(n,)`` in the user's unit."""


def check_exportable(model: LoadedModel, task: ModelTask) -> None:
    """Raise UserError unless a task is one pass through the network, and the model has an answer to it."""
    model.check_served(task)
    if task.type not in OUTPUTS:
        raise UserError(
            f"task '{task.name}': {task.type} is no single pass through a network: words are searched for one by one; "
            "use --format fedtap for it"
        )


class TaskGraph(nn.Module):
    """A task's way through towers, fusion and head, low-rank weights merged, for any batch and any length of texts.

    Inputs, as far as the task takes them: ``pixels`` ``(n, 3, size, size)`` float32; ``ids`` ``(n, length)`` int64, and ``mask``
    of the same shape, bool, True at real tokens. How to make them is in the model's ``preprocessing``.
    """

    def __init__(self, model: LoadedModel, task: ModelTask) -> None:
        super().__init__()
        check_exportable(model, task)
        model.use(task)
        self.network = merged_network(model)
        self._task = task
        towers: Mapping[str, Tower[Any]] = {"image": model.backbone.vision, "text": model.backbone.text}
        self._towers: Mapping[str, Tower[Any]] = {part: towers[part] for part in task.pair.parts}
        # what `forward` of a tower runs through, so that its weights are the graph's
        self.frozen = nn.ModuleDict({part: tower.module for part, tower in self._towers.items() if not tower.raw})

    def forward(self, pixels: Tensor | None = None, ids: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return what :data:`OUTPUTS` says."""
        given = pixels if pixels is not None else ids
        assert given is not None
        image = None if pixels is None else self._features("image", pixels)
        text = None if ids is None else self._features("text", ids, mask)
        rows = torch.arange(given.shape[0], device=given.device)
        part = TaskBatch(self._task.pair, rows, image, text, mask, torch.zeros_like(rows))
        (out,) = self.network((part,))
        answers: Tensor = TASK_TYPES[self._task.type].answers(out.head, out.fused, out.output, None)
        return answers if self._task.scale is None else unscaled(answers, self._task.scale)

    def _features(self, part: str, *given: Tensor | None) -> Tensor:
        """Return what the network takes of a modality; features are rounded as in training."""
        tower: Any = self._towers[part]
        if tower.raw:
            (first, *_) = given
            assert first is not None
            return first
        features: Tensor = tower.forward(*given)
        return features.to(torch.float16).to(torch.float32)
