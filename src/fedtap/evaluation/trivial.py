"""The trivial baselines of a client's tasks, as rows beside its models: what one gets without looking at the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch

from fedtap.batch import NO_TOKEN
from fedtap.data.loader import ClientData, Split, TaskExamples
from fedtap.evaluation import baselines
from fedtap.evaluation.evaluate import Row, rows_of
from fedtap.metrics.multilabel import f1_of_each, f1_of_labels
from fedtap.metrics.regression import errors_of
from fedtap.metrics.text import TextMetric, token_values
from fedtap.network.probe import probe_features
from fedtap.pairs import Pair
from fedtap.scenario.unit import Scale, unscaled
from fedtap.tasks.base import Words

MODELS = frozenset({"majority", "base_rates", "mean_picture", "mean_value", "median_value", "unigram", "question_only"})
"""What stands for a model's name in the rows of the trivial baselines."""


def trivial_rows(
    *,
    client: str,
    pairs: Iterable[Pair],
    data: ClientData,
    words: Words | None,
    unseen: bool,
    text_metrics: Sequence[TextMetric] = (),
    class_metrics: Sequence[str] = (),
    scales: Mapping[str, Scale] = MappingProxyType({}),
) -> list[Row]:
    """Return what takes no learning, as far as it applies to each task.

    Majority class, base rates of labels, mean and median number, mean picture, unigram cross-entropy, most frequent answer,
    question-only.

    All are fitted on the client's own training split and scored on its own test split. ``text_metrics`` score the most
    frequent answer too: it says what they give to a text that has nothing to do with the input. So do ``class_metrics`` of the
    majority class, which has the same share of every example. ``scales`` are those of numbers, by head.
    """
    rows: list[Row] = []
    for pair in pairs:
        splits = data.tasks[pair.task]
        if pair.type == "classification":
            found = _majority(splits["train"], splits["test"], class_metrics)
        elif pair.type == "multilabel_classification":
            found = _base_rates(splits, class_metrics)
        elif pair.type == "regression":
            found = _constants(splits["train"], splits["test"], scales[pair.head])
        elif pair.type == "reconstruction":
            found = _mean_picture(splits["train"], splits["test"])
        else:
            assert words is not None
            found = _text(pair, splits, words, text_metrics)
        split = "unseen" if unseen else "test"
        for model, metrics in found.items():
            rows += rows_of(metrics, client=client, pair=pair, model=model, split=split)
    return rows


Found = dict[str, dict[str, tuple[float, int]]]


def _majority(train: TaskExamples, test: TaskExamples, class_metrics: Sequence[str]) -> Found:
    value = baselines.majority(train.labels().numpy(), test.labels().numpy())
    found = {"accuracy": (value, len(test))}
    present = int((test.labels().bincount() > 0).sum())
    if "balanced_accuracy" in class_metrics:
        found["balanced_accuracy"] = (float(value > 0) / present, len(test))
    if "auroc" in class_metrics and present > 1:
        found["auroc"] = (0.5, len(test))
    return {"majority": found}


def _base_rates(splits: Mapping[Split, TaskExamples], class_metrics: Sequence[str]) -> Found:
    train, validation, test = (splits[split].labels().numpy() > 0 for split in ("train", "validation", "test"))
    n, right = len(test), splits["test"].labels() > 0
    said = torch.from_numpy(baselines.common_labels(train, validation)).expand(n, -1)
    found = {
        "example_f1": float(f1_of_each(said, right).mean()),
        **f1_of_labels(said, right),
        "cross_entropy": baselines.base_rates(train, test),
    }
    present, mixed = test.any(axis=0), test.any(axis=0) & ~test.all(axis=0)
    if present.any():  # of one chance for all examples it is the share of those that have the label
        found["average_precision"] = float(test[:, present].mean())
    for metric in ("auroc", "balanced_accuracy"):
        if metric in class_metrics and mixed.any():
            found[metric] = 0.5
    return {"base_rates": {metric: (value, n) for metric, value in found.items()}}


def _constants(train: TaskExamples, test: TaskExamples, scale: Scale) -> Found:
    seen, right = (unscaled(examples.labels().double(), scale) for examples in (train, test))
    always = {"mean_value": seen.mean(), "median_value": seen.quantile(0.5)}
    return {model: errors_of(value.expand(len(right)), right) for model, value in always.items()}


def _mean_picture(train: TaskExamples, test: TaskExamples) -> Found:
    pictures = [examples.targets().numpy() for examples in (train, test)]
    return {"mean_picture": {"mse": (baselines.mean_picture(*pictures), len(test))}}


def _text(pair: Pair, splits: Mapping[Split, TaskExamples], words: Words, text_metrics: Sequence[TextMetric]) -> Found:
    ids = {split: [[t for t in row if t != NO_TOKEN] for row in splits[split].labels().tolist()] for split in splits}
    vocabulary = words.embedding.shape[0]
    unigram = baselines.unigram(ids["train"], ids["validation"], ids["test"], vocabulary)
    answers = {split: list(splits[split].references) for split in ids}
    n = len(splits["test"])
    majority = baselines.majority_text(answers["train"], answers["test"])
    found: Found = {
        "unigram": token_values(unigram, sum(map(len, ids["test"]))),
        "majority": {"exact_match": (majority, n)},
    }
    always = [baselines.most_frequent_text(answers["train"])] * n
    found["majority"].update({metric.name: (metric(always, answers["test"]), n) for metric in text_metrics})
    if pair.modality == "image+text":
        features = {split: _question_features(splits[split], words) for split in splits}
        blind = baselines.question_only(
            features["train"],
            answers["train"],
            features["validation"],
            answers["validation"],
            features["test"],
            answers["test"],
        )
        found["question_only"] = {"exact_match": (blind, n)}
    return found


def _question_features(examples: TaskExamples, words: Words) -> np.ndarray:
    """Return the pooled features of the texts alone ``(n, features)``, or of their words where texts come as token ids."""
    pair = Pair("question", "text_generation", "text", "any")
    batch = TaskExamples(pair, None, examples.text, examples.target).whole()
    if batch.text is not None and batch.text.dtype == torch.long:
        batch = replace(batch, text=words.embedding.to("cpu")[batch.text])
    return probe_features(batch).double().numpy()
