"""What each model of a client did on each of its own test examples, and a few of those with every model's answer.

It is for the run's report, and changes no result. Not here: metrics (evaluate), how it is shown (reporting).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fedtap.algorithms.base import ByTask, Models
from fedtap.batch import Batch
from fedtap.data.example import Example
from fedtap.data.federated_dataset import FederatedDataset
from fedtap.data.images import RECONSTRUCTION_SIZE, denormalise, resize
from fedtap.data.loader import TaskExamples
from fedtap.data.prefetch import on_device
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS
from fedtap.network.network import Network
from fedtap.pairs import CLASSIFIES, Pair
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.text import one_line
from fedtap.scenario.safety import PrivacySettings
from fedtap.scenario.scenario import ClientSettings, Scenario, TaskSettings
from fedtap.scenario.unit import unscaled
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.metrics import primary

MOST_LETTERS = 600
"""Of a text, or an answer, that is shown."""
RIGHT_OR_WRONG = frozenset({"accuracy", "exact_match"})
"""Metrics whose outcomes are 1 or 0."""


def recorded(scenario: Scenario) -> bool:
    """Tell whether outcomes are kept: nothing of a single example is, where any setting of ``privacy`` asks for discretion."""
    return scenario.privacy == PrivacySettings()


class Outcomes:
    """Gathers, while a client is tested, each model's outcomes on the primary metric of each task, in the order of examples."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = {}

    def add(self, model: str, pair: Pair, scores: Any) -> None:
        """Take a model's outcomes on a task from its scores."""
        self._found[model, pair.task] = scores.outcomes(primary(pair.type, pair.modality))

    def of(self, models: Models, task: str) -> dict[str, list[float]]:
        """Return the outcomes on a task by model; of a choice among models those of the one that it uses."""
        names = {
            name: choice.models.get(task, name) if isinstance(choice, ByTask) else name
            for name, choice in models.items()
        }
        return {name: self._found[used, task] for name, used in names.items() if (used, task) in self._found}


def chosen(right: Sequence[float] | None, size: int, number: int, generator: np.random.Generator) -> list[int]:
    """Return the places of so many examples, drawn by a generator: half of them right, half wrong, as far as there are such.

    Parameters
    ----------
    right
        Whether each was answered right; None where answers are neither right nor wrong, and all are drawn alike.
    size
        How many examples there are.
    number
        How many to return, at the most.

    Examples
    --------
    >>> chosen([1.0, 1.0, 1.0, 0.0], 4, 2, np.random.default_rng(0))[1]
    3
    """
    order = [int(place) for place in generator.permutation(size)]
    if right is None:
        return order[:number]
    good, bad = ([place for place in order if bool(right[place]) is want] for want in (True, False))
    wrong = min(len(bad), max(number // 2, number - len(good)))
    return good[: number - wrong] + bad[:wrong]


@torch.no_grad()
def told(
    client: ClientSettings,
    models: Models,
    outcomes: Outcomes,
    *,
    network: Network,
    dataset: FederatedDataset,
    deployed: str,
    examples: int,
    seed: int,
) -> dict[str, Any]:
    """Return what is kept of a client's test: outcomes of all examples, and some with their answers, as plain JSON values.

    ``examples`` is how many of each task are shown; the model that is ``deployed`` says which are right.
    """
    network.eval()
    tasks: dict[str, Any] = {}
    places: dict[str, list[int]] = {}
    for pair in network.architecture.served(client.pairs):
        metric, values = primary(pair.type, pair.modality), outcomes.of(models, pair.task)
        splits = dataset.partition[client.id][pair.task]
        judge = values.get(deployed) or next(iter(values.values()), None)
        generator = numpy_generator(seed, "shown examples", client.id, pair.task)
        right = judge if metric in RIGHT_OR_WRONG else None
        places[pair.task] = chosen(right, len(splits.test), examples, generator)
        tasks[pair.task] = {
            "metric": metric,
            "sizes": {split: len(splits[split]) for split in SPLITS},
            "values": {model: [_finite(value) for value in each] for model, each in values.items()},
            "shown": [_question(client, pair, splits.test[place], place) for place in places[pair.task]],
        }
    own = dataset.client_data(client.id).tasks
    for model, state in models.items():
        if isinstance(state, ByTask) or not examples:
            continue
        network.load(state)
        for pair in network.architecture.served(client.pairs):
            if places[pair.task]:
                asked = next(each for each in client.tasks if each.name == pair.task)
                names = _classes(client, pair)
                answers = _answers(network, own[pair.task]["test"], places[pair.task])
                for shown, answer in zip(tasks[pair.task]["shown"], answers, strict=True):
                    shown["answers"][model] = _plain(asked, answer, names)
    for model, choice in models.items():
        if isinstance(choice, ByTask):
            for task, used in choice.models.items():
                for shown in tasks.get(task, {"shown": []})["shown"]:
                    if used in shown["answers"]:
                        shown["answers"][model] = shown["answers"][used]
    return {"tasks": tasks}


def _answers(network: Network, examples: TaskExamples, places: Sequence[int]) -> list[Any]:
    """Return what the model that is swapped in answers to some examples."""

    def batches() -> Iterator[Batch]:
        yield (examples.take(places, range(len(places))),)

    (batch,) = on_device(batches(), network.device)
    (out,) = network(batch)
    return list(TASK_TYPES[examples.pair.type].answers(out.head, out.fused, out.output, network.words))


def _question(client: ClientSettings, pair: Pair, example: Example, place: int) -> dict[str, Any]:
    """Return an example's input and truth."""
    picture = None
    if example.image is not None and "image" in pair.modality:
        picture = _png(resize(example.image.load(), RECONSTRUCTION_SIZE))
    text = one_line(example.text, MOST_LETTERS) if example.text is not None and "text" in pair.modality else None
    if pair.type == "classification":
        truth: dict[str, Any] = {"text": _classes(client, pair)[int(str(example.target))]}
    elif pair.type == "multilabel_classification":
        names = _classes(client, pair)
        truth = {"text": _together([names[label] for label in example.labels])}
    elif pair.type == "regression":
        truth = {"text": f"{float(str(example.target)):g}"}
    elif pair.type == "reconstruction":
        truth = {"image": picture}
    else:
        truth = {"text": one_line(" / ".join((str(example.target), *example.also)), MOST_LETTERS)}
    return {"place": place, "text": text, "image": picture, "truth": truth, "answers": {}}


def _classes(client: ClientSettings, pair: Pair) -> tuple[str, ...]:
    if pair.type not in CLASSIFIES:
        return ()
    task = next(task for task in client.tasks if task.name == pair.task)
    return tuple(source(task.source).classes(task))


def _plain(task: TaskSettings, answer: Any, names: Sequence[str]) -> Mapping[str, Any]:
    if task.scale is not None:
        return {"text": f"{unscaled(float(answer), task.scale):.4g}"}
    if task.type == "classification":
        best = int(answer.argmax())
        share = float(answer[best])
        return {"text": names[best], **({"share": round(share, 4)} if math.isfinite(share) else {})}
    if task.type == "multilabel_classification":
        return {"text": _together([name for name, share in zip(names, answer.tolist(), strict=True) if share > 0.5])}
    if task.type == "reconstruction":
        return {"image": _png(denormalise(answer.nan_to_num(0.0).cpu().numpy()))}
    return {"text": one_line(str(answer), MOST_LETTERS)}


def _together(names: Sequence[str]) -> str:
    """Return several labels in one line.

    >>> _together(["old", "red"]), _together([])
    ('old; red', '(none)')
    """
    return one_line("; ".join(names), MOST_LETTERS) or "(none)"


def _png(pixels: NDArray[np.uint8]) -> str:
    """Return a picture as a PNG file in base64; the same bytes for the same pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _finite(value: float) -> float | None:
    """Return a value as JSON has it; None where a model has diverged."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
