"""What each model of a client did on each of its own test examples, and a few of those with every model's answer.

It is for the run's report, and changes no result. Not here: metrics (evaluate), how it is shown (reporting).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedtap.algorithms.base import ByTask, Models
from fedtap.data.example import Example
from fedtap.data.federated_dataset import FederatedDataset
from fedtap.data.images import RECONSTRUCTION_SIZE, denormalise, resize
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS
from fedtap.evaluation.answers import NOTHING, Answers, Wanted
from fedtap.metrics import primary
from fedtap.pairs import CLASSIFIES, Pair
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.text import one_line
from fedtap.scenario.safety import PrivacySettings
from fedtap.scenario.scenario import ClientSettings, Scenario, TaskSettings
from fedtap.scenario.unit import unscaled

MOST_LETTERS = 600
"""Of a text, or an answer, that is shown."""
RIGHT_OR_WRONG = frozenset({"accuracy", "exact_match"})
"""Metrics whose outcomes are 1 or 0."""


def recorded(scenario: Scenario) -> bool:
    """Tell whether outcomes are kept: nothing of a single example is, where any setting of ``privacy`` asks for discretion."""
    return scenario.privacy == PrivacySettings()


class Outcomes:
    """Gathers, while a client is tested, each model's outcomes on the primary metric of each task, in the order of examples.

    Beside them ``answers`` of single examples; ``wanted`` says of which (see :func:`wanted`).
    """

    def __init__(self, wanted: Wanted = NOTHING) -> None:
        self.answers = Answers(wanted)
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


def wanted(
    client: ClientSettings, served: Sequence[Pair], *, dataset: FederatedDataset, examples: int, seed: int
) -> dict[str, Sequence[int] | None]:
    """Return of which test examples of each task the answers are needed, if so many of each are shown.

    Where answers are right or wrong, which are shown depends on that: then it is None, and the answers to all are needed.
    """
    if not examples:
        return {}
    return {
        pair.task: None
        if primary(pair.type, pair.modality) in RIGHT_OR_WRONG
        else _places(client, pair, None, dataset=dataset, examples=examples, seed=seed)
        for pair in served
    }


def told(
    client: ClientSettings,
    served: Sequence[Pair],
    models: Models,
    outcomes: Outcomes,
    *,
    dataset: FederatedDataset,
    deployed: str,
    examples: int,
    seed: int,
) -> dict[str, Any]:
    """Return what is kept of a client's test: outcomes of all examples, and some with their answers, as plain JSON values.

    ``served`` are the pairs that it was tested on, ``examples`` is how many of each task are shown; the model that is
    ``deployed`` says which are right. ``outcomes`` were made for these examples, by :func:`wanted`.
    """
    tasks: dict[str, Any] = {}
    for pair in served:
        metric, values = primary(pair.type, pair.modality), outcomes.of(models, pair.task)
        splits = dataset.partition[client.id][pair.task]
        judge = values.get(deployed) or next(iter(values.values()), None)
        right = judge if metric in RIGHT_OR_WRONG else None
        places = _places(client, pair, right, dataset=dataset, examples=examples, seed=seed)
        tasks[pair.task] = {
            "metric": metric,
            "sizes": {split: len(splits[split]) for split in SPLITS},
            "values": {model: [_finite(value) for value in each] for model, each in values.items()},
            "shown": [_question(client, pair, splits.test[place], place) for place in places],
        }
    whole = [model for model, state in models.items() if not isinstance(state, ByTask)]
    for pair in served:
        asked = next(each for each in client.tasks if each.name == pair.task)
        names = _classes(client, pair) if tasks[pair.task]["shown"] else ()
        for shown in tasks[pair.task]["shown"]:
            for model in whole:
                shown["answers"][model] = _plain(asked, outcomes.answers.to(model, pair.task, shown["place"]), names)
    for model, choice in models.items():
        if isinstance(choice, ByTask):
            for task, used in choice.models.items():
                for shown in tasks.get(task, {"shown": []})["shown"]:
                    if used in shown["answers"]:
                        shown["answers"][model] = shown["answers"][used]
    return {"tasks": tasks}


def _places(
    client: ClientSettings,
    pair: Pair,
    right: Sequence[float] | None,
    *,
    dataset: FederatedDataset,
    examples: int,
    seed: int,
) -> list[int]:
    """Return the places of the test examples of a task that are shown; ``right`` as :func:`chosen` has it."""
    size = len(dataset.partition[client.id][pair.task].test)
    return chosen(right, size, examples, numpy_generator(seed, "shown examples", client.id, pair.task))


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
        best, share = answer
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
