"""Clients' data, encoded when they are needed: examples from the partition, features from the cache, targets beside them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtap.batch import NO_TOKEN
from fedtap.data.cross import CrossExamples
from fedtap.data.encode import Note, inputs_of
from fedtap.data.example import Example, ImageRef
from fedtap.data.feature_extractor import FoundationModel
from fedtap.data.images import RECONSTRUCTION_SIZE, resize
from fedtap.data.loader import ClientData, Pictures, Split, TaskExamples, class_weights
from fedtap.data.partition import Partition, fingerprints
from fedtap.data.shortfalls import shortfalls
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import Scenario
from fedtap.scenario.unit import scaled

Progress = Callable[[str, int, int], None]
KEPT = 16  # clients whose encoded data stay in memory


class FederatedDataset:
    """Gives each client its encoded splits. Features stay on disk; of all clients only the last few are held in memory.

    Parameters
    ----------
    scenario, partition, seed
        Who holds which examples.
    backbone
        Its towers encode what the cache does not hold yet.
    folder
        The feature cache's folder.
    progress
        Called with (tower, done, total) while examples are encoded.
    note
        Called with a line on what of the cache was damaged and is made again.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        partition: Partition,
        seed: int,
        backbone: FoundationModel,
        folder: Path,
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> None:
        self._scenario = scenario
        self._partition = partition
        self._seed = seed
        self._backbone = backbone
        self._images = inputs_of(folder, backbone.vision, note=note)
        self._texts = inputs_of(folder, backbone.text, note=note)
        self._progress = progress
        self._held: OrderedDict[str, ClientData] = OrderedDict()
        self._classes = {
            task.pair.head: len(source(task.source).classes(task))
            for client in scenario.clients
            for task in client.tasks
            if task.classifies
        }
        self._scales = {
            task.pair.head: task.scale for client in scenario.clients for task in client.tasks if task.scale is not None
        }
        self._cross: CrossExamples | None = None  # all of it is gathered when the first client is tested

    @property
    def partition(self) -> Partition:
        """Who holds which examples."""
        return self._partition

    def prepare(self, clients: Sequence[str]) -> None:
        """Encode at once whatever these clients hold that is not in the cache yet."""
        images: dict[str, Callable[[], Any]] = {}
        texts: dict[str, Callable[[], str]] = {}
        for client in clients:
            for pair in self._scenario.client(client).pairs:
                splits = self._partition[client][pair.task]
                for example in (example for split in SPLITS for example in splits[split]):
                    if example.image is not None and "image" in pair.modality:
                        images.setdefault(example.image.digest, example.image.load)
                    if example.text is not None and "text" in pair.modality:
                        texts.setdefault(digest(example.text), _constant(example.text))
        self._images.get(list(images.items()), self._telling("vision"))
        self._texts.get(list(texts.items()), self._telling("text"))

    def client_data(self, client: str) -> ClientData:
        """Return a client's encoded splits."""
        if client in self._held:
            self._held.move_to_end(client)
            return self._held[client]
        tasks: dict[str, Mapping[Split, TaskExamples]] = {}
        for pair in self._scenario.client(client).pairs:
            splits = self._partition[client][pair.task]
            encoded = {split: self.encode(pair, splits[split]) for split in SPLITS}
            tasks[pair.task] = self._weighed(client, pair, encoded)
        self._held[client] = ClientData(tasks)
        if len(self._held) > KEPT:
            self._held.popitem(last=False)
            self._images.release()
            self._texts.release()
        return self._held[client]

    def _weighed(self, client: str, pair: Pair, splits: Mapping[Split, TaskExamples]) -> Mapping[Split, TaskExamples]:
        """Return a task's splits with the weights of their classes, where it has any; a test weighs nothing."""
        task = next(task for task in self._scenario.client(client).tasks if task.name == pair.task)
        if task.class_weights is None:
            return splits
        names = source(task.source).classes(task)
        weights = class_weights(task.class_weights, names, splits["train"].labels())
        return {
            split: part if split == "test" else replace(part, weights=weights[part.labels()])
            for split, part in splits.items()
        }

    def fingerprints(self) -> dict[str, str]:
        """Return for each client a digest of its examples."""
        return fingerprints(self._partition)

    def shortfalls(self) -> dict[str, list[str]]:
        """Return for each client where its data fall short of what was asked, and of what a model can write."""
        return shortfalls(self._scenario, self._partition, self._seed, words=self._backbone.vocabulary)

    def examples(self, client: str) -> dict[str, int]:
        """Return the number of training examples of each task of a client, as the client tells it (``privacy.blur_counts``)."""
        reported = self._scenario.privacy.reported
        return {task: reported(len(splits.train)) for task, splits in self._partition[client].items()}

    def cross(self, client: str, pair: Pair, limit: int) -> list[TaskExamples]:
        """Return test examples of the OTHER participating clients that this client's model of a pair can be asked.

        Those are the tasks with the same head, type and modality; where their domain differs, their examples come as a
        :class:`TaskExamples` of their own. At most ``limit`` are drawn, the same for every method of a seed. Examples whose
        content this client holds in its own test split are left out.
        """
        if self._cross is None:
            self._cross = CrossExamples(self._scenario.participants, self._partition, self._seed)
        return [
            self.encode(Pair(pair.task, pair.type, pair.modality, domain, pair.head), examples)
            for domain, examples in self._cross.draw(client, pair, limit).items()
        ]

    def encode(self, pair: Pair, examples: Sequence[Example]) -> TaskExamples:
        """Return features and targets of some examples of a pair."""
        images = texts = None
        if "image" in pair.modality:
            references = [_present(example.image, pair, "image") for example in examples]
            images = self._images.get([(image.digest, image.load) for image in references])
        if "text" in pair.modality:
            inputs = [_present(example.text, pair, "text") for example in examples]
            texts = self._texts.get([(digest(text), _constant(text)) for text in inputs])
        written = tuple(str(example.target) for example in examples) if pair.type == "text_generation" else ()
        also = tuple(example.also for example in examples) if any(example.also for example in examples) else ()
        return TaskExamples(pair, images, texts, self._targets(pair, examples), written, also=also)

    def _targets(self, pair: Pair, examples: Sequence[Example]) -> Tensor | Pictures:
        if pair.type == "classification":
            return torch.tensor([int(_present(example.target, pair, "label")) for example in examples])
        if pair.type == "regression":
            numbers = [scaled(float(_present(e.target, pair, "target")), self._scales[pair.head]) for e in examples]
            return torch.tensor(numbers, dtype=torch.float32)
        if pair.type == "multilabel_classification":
            held = torch.zeros(len(examples), self._classes[pair.head])
            for row, example in enumerate(examples):
                held[row, list(_present(example.target, pair, "label"))] = 1.0
            return held
        if pair.type == "reconstruction":
            return Pictures([_thumbnail(_present(example.image, pair, "image")) for example in examples])
        limit = self._scenario.network.answer_tokens
        ids = [self._backbone.vocabulary.encode(str(_present(e.target, pair, "target")), limit) for e in examples]
        padded = torch.full((len(ids), max(map(len, ids))), NO_TOKEN)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = torch.tensor(tokens)
        return padded

    def _telling(self, tower: str) -> Callable[[int, int], None] | None:
        tell = self._progress
        return None if tell is None else lambda done, total: tell(tower, done, total)


def _thumbnail(image: ImageRef) -> Callable[[], NDArray[np.uint8]]:
    return lambda: resize(image.load(), RECONSTRUCTION_SIZE)


def _constant(text: str) -> Callable[[], str]:
    return lambda: text


def _present(value: Any, pair: Pair, what: str) -> Any:
    if value is None:
        raise UserError(f"task '{pair.task}': an example has no {what}, which {pair.type} on {pair.modality} needs")
    return value
