"""Every model of a client, scored: own test split, cross-client test, and, for clients held out, the unseen split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from fedtap.algorithms.base import ByTask, Models
from fedtap.data.federated_dataset import FederatedDataset
from fedtap.data.loader import TaskExamples
from fedtap.evaluation.outcomes import Outcomes
from fedtap.metrics.text import TextMetric
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import ScoreSettings

Row = dict[str, Any]
CROSS = "cross"
Test: TypeAlias = tuple[Pair, str, Sequence[TaskExamples]]
"""A task, the name of a split, and its examples: one at least."""
Hear: TypeAlias = Callable[[int, Any], None]
"""Told the place of a batch's first example, and what the model answered to the batch."""
BATCH = 64


def rows_of(metrics: Mapping[str, tuple[float, int]], *, client: str, pair: Pair, model: str, split: str) -> list[Row]:
    """Return metrics as rows of results.json; one that is no finite number, of a model that has diverged, is None."""
    about = {"client": client, "task": pair.task, "family": pair.family, "model": model, "split": split}
    return [
        {**about, "metric": metric, "value": value if math.isfinite(value) else None, "n": n}
        for metric, (value, n) in sorted(metrics.items())
    ]


def score(network: Network, examples: Sequence[TaskExamples], settings: ScoreSettings) -> dict[str, tuple[float, int]]:
    """Return the metrics, over all examples together, of the model that is swapped into the network.

    The examples are of one task type and head; their domains may differ, and may be unknown to the model, which then goes
    without a domain expert.
    """
    metrics: dict[str, tuple[float, int]] = scored(network, examples, settings).value()
    return metrics


@torch.inference_mode()
def scored(
    network: Network, examples: Sequence[TaskExamples], settings: ScoreSettings, hear: Hear | None = None
) -> Any:
    """Return the accumulator of metrics with all these examples in it; :func:`score` says which they may be.

    ``hear`` is told the answers, batch after batch.
    """
    network.eval()
    kind = TASK_TYPES[examples[0].pair.type]
    scores = kind.new_scores(settings)
    place = 0
    for part in examples:
        references = part.references
        for number, batch in enumerate(part.batches(BATCH, network.device)):
            (out,) = network(batch)
            right = references[number * BATCH : (number + 1) * BATCH]
            answers = kind.answers(out.head, out.fused, out.output, network.words)
            kind.score(scores, answers, out.output, batch[0].target, network.words, right)
            if hear is not None:
                hear(place, answers)
            place += len(batch[0])
    return scores


def rows_of_models(
    tests: Sequence[Test],
    models: Models,
    network: Network,
    *,
    client: str,
    text_metrics: Sequence[TextMetric],
    class_metrics: Sequence[str],
    outcomes: Outcomes | None = None,
) -> list[Row]:
    """Return the rows of a client's models on each of some tests; the parameters are those of :func:`evaluate_client`.

    ``outcomes`` hear of all tests but the cross-client ones.
    """
    rows: list[Row] = []
    for model, state in models.items():
        if isinstance(state, ByTask):
            continue
        network.load(state)
        for pair, split, examples in tests:
            head = network.architecture.blueprint.heads[pair.head]
            settings = ScoreSettings(head.classes, tuple(text_metrics), tuple(class_metrics), head.scale)
            kept = None if split == CROSS else outcomes
            scores = scored(network, examples, settings, partial(kept.answers.hear, model, pair) if kept else None)
            if kept is not None:
                kept.add(model, pair, scores)
            rows += rows_of(scores.value(), client=client, pair=pair, model=model, split=split)
    for name, choice in models.items():
        if isinstance(choice, ByTask):
            used = set(choice.models.items())
            rows += [{**row, "model": name} for row in rows if (row["task"], row["model"]) in used]
    return rows


def evaluate_client(
    *,
    client: str,
    pairs: Iterable[Pair],
    models: Models,
    network: Network,
    dataset: FederatedDataset,
    cross_examples: int | None,
    unseen: bool,
    text_metrics: Sequence[TextMetric] = (),
    class_metrics: Sequence[str] = (),
    outcomes: Outcomes | None = None,
) -> list[Row]:
    """Return the rows of a client: each of its models on each task that the architecture serves.

    Parameters
    ----------
    client, pairs
        The client.
    models
        Its models by name. The rows of one that is a choice among others are theirs, under its name.
    network
        Models are swapped into it.
    dataset
        Where test examples come from.
    cross_examples
        The most examples of a cross-client test; None: no such test, since the data of others are out of reach.
    unseen
        Whether the client was held out of training; its own test split is then named ``unseen``.
    text_metrics
        What generated texts are scored by beside the usual metrics.
    class_metrics
        What classifiers are scored by beside the usual metrics, by name.
    outcomes
        Told what each model did, and answered, on each example of the client's own test split.
    """
    tests: list[Test] = []
    own = dataset.client_data(client).tasks
    for pair in network.architecture.served(pairs):
        tests.append((pair, "unseen" if unseen else "test", [own[pair.task]["test"]]))
        cross = [] if cross_examples is None else dataset.cross(client, pair, cross_examples)
        if cross:
            tests.append((pair, CROSS, cross))
    return rows_of_models(
        tests,
        models,
        network,
        client=client,
        text_metrics=text_metrics,
        class_metrics=class_metrics,
        outcomes=outcomes,
    )
