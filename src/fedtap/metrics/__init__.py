"""Metrics: accumulators fed batch by batch, one file a task type, and the table that says how to read them (the names here).

Every accumulator sums over examples (or tokens) and divides once, in ``value()``; a mean of batch means would weigh the
examples of a short last batch more than the others. They are imported from their files, so that who only reads numbers, as pages
do, need not load PyTorch. Not here: losses, which are for training and live with the heads.
"""

from fedtap.metrics.table import (
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

__all__ = [
    "HIGHER_IS_BETTER",
    "PRIMARY",
    "RANGES",
    "Values",
    "measures",
    "possible",
    "primary",
    "primary_metrics",
    "range_of",
]
