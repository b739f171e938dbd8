"""Metrics: accumulators fed batch by batch, one file a task type, and the table that says how to read them.

Every accumulator sums over examples (or tokens) and divides once, in ``value()``; a mean of batch means would weigh the
examples of a short last batch more than the others. Not here: losses, which are for training and live with the heads.
"""

from fedtap.tasks.metrics.classification import ClassificationScores
from fedtap.tasks.metrics.multilabel import MultilabelScores, f1_of_each, f1_of_labels
from fedtap.tasks.metrics.reconstruction import ReconstructionScores
from fedtap.tasks.metrics.regression import RegressionScores, errors_of
from fedtap.tasks.metrics.table import (
    HIGHER_IS_BETTER,
    PRIMARY,
    RANGES,
    Values,
    measures,
    possible,
    primary,
    primary_metrics,
    range_of,
)
from fedtap.tasks.metrics.text import (
    Reference,
    TextMetric,
    TextScores,
    each_of,
    is_right,
    normalise_answer,
    token_values,
)

__all__ = [
    "HIGHER_IS_BETTER",
    "PRIMARY",
    "RANGES",
    "ClassificationScores",
    "MultilabelScores",
    "ReconstructionScores",
    "Reference",
    "RegressionScores",
    "TextMetric",
    "TextScores",
    "Values",
    "each_of",
    "errors_of",
    "f1_of_each",
    "f1_of_labels",
    "is_right",
    "measures",
    "normalise_answer",
    "possible",
    "primary",
    "primary_metrics",
    "range_of",
    "token_values",
]
