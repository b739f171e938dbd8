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
        "cross_entropy": False,
        "perplexity": False,
        "mse": False,
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

PRIMARY: Mapping[TaskName, str] = MappingProxyType(
    {"classification": "accuracy", "reconstruction": "mse", "text_generation": "cross_entropy"}
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
