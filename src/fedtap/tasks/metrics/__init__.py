"""Metrics: accumulators fed batch by batch, one file a task type, and the table that says how to read them.

Every accumulator sums over examples (or tokens) and divides once, in ``value()``; a mean of batch means would weigh the
examples of a short last batch more than the others. Not here: losses, which are for training and live with the heads.
"""

from fedtap.tasks.metrics.classification import ClassificationScores
from fedtap.tasks.metrics.reconstruction import ReconstructionScores
from fedtap.tasks.metrics.table import (
    HIGHER_IS_BETTER,
    PRIMARY,
    RANGES,
    Values,
    measures,
    possible,
    primary,
    primary_metrics,
)
from fedtap.tasks.metrics.text import TextMetric, TextScores, normalise_answer, token_values

__all__ = [
    "HIGHER_IS_BETTER",
    "PRIMARY",
    "RANGES",
    "ClassificationScores",
    "ReconstructionScores",
    "TextMetric",
    "TextScores",
    "Values",
    "measures",
    "normalise_answer",
    "possible",
    "primary",
    "primary_metrics",
    "token_values",
]
