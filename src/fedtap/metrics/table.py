"""How to read the metrics: which way is better, and which one of a task counts in comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fedtap.pairs import Modality, Pair, TaskName

Values = dict[str, tuple[float, int]]
"""Metric name -> (value, number of examples or tokens that it is a mean over)."""

HIGHER_IS_BETTER: Mapping[str, bool] = MappingProxyType(
    {
        "accuracy": True,
        "macro_f1": True,
        "micro_f1": True,
        "example_f1": True,
        "average_precision": True,
        "balanced_accuracy": True,
        "auroc": True,
        "cross_entropy": False,
        "perplexity": False,
        "mse": False,
        "mae": False,
        "r2": True,
        "psnr": True,
        "ssim": True,
        "exact_match": True,
        "chrf": True,
        "rouge_l": True,
        "meteor": True,
        "meteor-exact-stem": True,
        "bertscore_f1": True,
    }
)
"""By a metric's name, without the ``[encoder]`` at the end of those that depend on one."""

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "accuracy": (0.0, 1.0),
        "macro_f1": (0.0, 1.0),
        "micro_f1": (0.0, 1.0),
        "example_f1": (0.0, 1.0),
        "average_precision": (0.0, 1.0),
        "balanced_accuracy": (0.0, 1.0),
        "auroc": (0.0, 1.0),
        "cross_entropy": (0.0, 1e6),
        "perplexity": (1.0, 1e100),
        "mse": (0.0, 1e6),
        "mae": (0.0, 1e100),
        "r2": (-1e100, 1.0),
        "psnr": (0.0, 100.0),
        "ssim": (-1.0, 1.0),
        "exact_match": (0.0, 1.0),
        "chrf": (0.0, 100.0),
        "rouge_l": (0.0, 1.0),
        "meteor": (0.0, 1.0),
        "meteor-exact-stem": (0.0, 1.0),
        "bertscore_f1": (-1.0, 1.0),
    }
)
"""The least and the greatest value of each, for what others send; where there is no greatest, one beyond any use."""

_OF_TYPE: Mapping[TaskName, frozenset[str]] = MappingProxyType(
    {
        "classification": frozenset({"accuracy", "macro_f1", "balanced_accuracy", "auroc", "cross_entropy"}),
        "multilabel_classification": frozenset(
            [
                "example_f1",
                "micro_f1",
                "macro_f1",
                "average_precision",
                "balanced_accuracy",
                "auroc",
                "cross_entropy",
            ]
        ),
        "reconstruction": frozenset({"mse", "psnr", "ssim"}),
        "regression": frozenset({"mae", "mse", "r2"}),
        "text_generation": frozenset(
            [
                "cross_entropy",
                "perplexity",
                "exact_match",
                "chrf",
                "rouge_l",
                "meteor",
                "meteor-exact-stem",
                "bertscore_f1",
            ]
        ),
    }
)
_ROUNDING = 1e-3  # a mean in single precision may leave its range by so much of the greatest value, or of one


def possible(metric: str, value: float, type: TaskName) -> bool:
    """Tell whether a metric, with or without its ``[encoder]``, can have a value on a task of some type.

    >>> possible("accuracy", 0.5, "classification"), possible("accuracy", 1e300, "classification")
    (True, False)
    """
    low, high = range_of(metric, type)
    return measures(metric, type) and low - _ROUNDING <= value <= high + _ROUNDING


def range_of(metric: str, type: TaskName) -> tuple[float, float]:
    """Return the least and the greatest value of a metric, with or without its ``[encoder]``, on a task of some type.

    Squared errors of numbers are in a unit of the user's, and so of any size; those of pictures are not.

    >>> range_of("mse", "reconstruction"), range_of("mse", "regression")
    ((0.0, 1000000.0), (0.0, 1e+100))
    """
    name = metric.partition("[")[0]
    return RANGES["mae"] if (name, type) == ("mse", "regression") else RANGES[name]


def measures(metric: str, type: TaskName) -> bool:
    """Tell whether tasks of some type have a metric."""
    return metric.partition("[")[0] in _OF_TYPE[type]


PRIMARY: Mapping[TaskName, str] = MappingProxyType(
    {
        "classification": "accuracy",
        "multilabel_classification": "example_f1",
        "reconstruction": "mse",
        "regression": "mae",
        "text_generation": "cross_entropy",
    }
)


def primary(type: TaskName, modality: Modality) -> str:
    """Return the metric that stands for a task where one number must.

    It is :data:`PRIMARY`, except that text generated from an image and a text together is visual question answering, whose
    short answers are right or wrong: ``exact_match``. Free text has many right answers, so there cross-entropy counts.

    >>> primary("text_generation", "text"), primary("text_generation", "image+text")
    ('cross_entropy', 'exact_match')
    """
    if type == "text_generation" and modality == "image+text":
        return "exact_match"
    return PRIMARY[type]


def primary_metrics(pairs: Iterable[Pair]) -> dict[str, str]:
    """Return the primary metric of every task, by the task's name.

    Raises
    ------
    ValueError
        If one task name stands for two kinds of task: its results could not be compared across clients.

    Examples
    --------
    >>> primary_metrics([Pair("digits", "classification", "image", "scans")])
    {'digits': 'accuracy'}
    """
    metrics: dict[str, str] = {}
    for pair in pairs:
        metric = primary(pair.type, pair.modality)
        known = metrics.setdefault(pair.task, metric)
        if known != metric:
            raise ValueError(
                f"task '{pair.task}' is measured by {known} at one client and by {metric} at another; "
                "give the two kinds of task different names"
            )
    return metrics
