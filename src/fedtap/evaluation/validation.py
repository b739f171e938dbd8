"""A client's models in the middle of a run, scored on its own validation data. Not here: in which rounds (the scenario says).

What models are chosen by on the same data is another thing, and takes no part in this: see ``training/judge.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.algorithms.base import Models
from fedtap.data.splits import Split
from fedtap.evaluation.evaluate import Row, Test, rows_of_models
from fedtap.metrics.text import TextMetric
from fedtap.training.client import LocalClient

SPLIT: Split = "validation"


def validation_rows(
    client: LocalClient, models: Models, *, text_metrics: Sequence[TextMetric], class_metrics: Sequence[str]
) -> list[Row]:
    """Return the rows of a client's models on the validation split of each of its tasks, in the form of results.json.

    Parameters
    ----------
    client
        The client at work in a round.
    models
        Those of its models that there are, by name; they are swapped into its network.
    text_metrics, class_metrics
        What is asked for beside the usual metrics, as for the tests after the last round.
    """
    tests: list[Test] = [
        (pair, SPLIT, [examples]) for pair in client.pairs if len(examples := client.data.tasks[pair.task][SPLIT])
    ]
    return rows_of_models(
        tests, models, client.network, client=client.id, text_metrics=text_metrics, class_metrics=class_metrics
    )
