"""Task types: one file each. A new type is one file and one line of the registry."""

from __future__ import annotations

from fedtap.tasks.base import TaskType
from fedtap.tasks.classification import Classification
from fedtap.tasks.multilabel import MultilabelClassification
from fedtap.tasks.reconstruction import Reconstruction
from fedtap.tasks.regression import Regression
from fedtap.tasks.text_generation import TextGeneration

TASK_TYPES: dict[str, TaskType] = {
    kind.name: kind
    for kind in (Classification(), MultilabelClassification(), Reconstruction(), Regression(), TextGeneration())
}
