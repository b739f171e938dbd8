r"""By what a client judges its models on validation, whatever it decides: the one place where that is said.

Every decision that a method takes on a client's validation split (the guard, adoption by part, soft replacement, mix, refit, the
paired gate, which state of the fine-tuning is kept, which model a task uses) compares numbers that this file makes, one an
example, less is better:

``cross_entropy``
    The loss that is trained: cross-entropy in nats, of pictures the squared error.
``calibrated``
    The same at the temperature that suits this model best on these very examples, one number a model and task (Guo, Pleiss, Sun,
    Weinberger 2017, arXiv 1706.04599): :math:`\min_b \; \overline{-\log softmax(b z)_y}`. A model that has learned its few
    examples by heart is overconfident; as it stands its loss can be worse than that of a model that knows nothing, though it is
    right more often. With b near 0 no model is worse than one that knows nothing. Pictures have no temperature.
``metric``
    What is reported of the task (:func:`fedtap.metrics.primary`): wrong answers where answers are right or wrong, as
    (wrong + 1) / examples, so that a task without a wrong answer can still be compared by ratio, and of several labels what is
    missing of an F1 of 1; elsewhere the loss. Where
    examples have several right answers, texts are written for this, and held against all of them.

Not here: the decisions (personalization, model_selection).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from fedtap.data.loader import TaskExamples
from fedtap.metrics import primary
from fedtap.metrics.text import is_right
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import TaskType, Words

Judge = Literal["cross_entropy", "calibrated", "metric"]
Answered: TypeAlias = Iterable[tuple[Tensor, Tensor]]
"""What a model's head gave for some examples, and their targets, batch by batch."""

RIGHT_OR_WRONG = ("accuracy", "example_f1", "exact_match")
"""Metrics of answers that are right or wrong, or partly so."""
BLUNTEST, SHARPEST = 0.001, 10.0
LOOKS = 20  # each takes 0.62 of the interval before: b is known to a part in a thousand
_GOLDEN = (math.sqrt(5) - 1) / 2


@torch.no_grad()
def scored(network: Network, examples: Mapping[str, TaskExamples], judge: Judge) -> dict[str, Tensor]:
    """Return :func:`judgements` of each task's examples for the model that is in the network now."""
    was_training = network.training
    network.eval()
    result: dict[str, Tensor] = {}
    for task, held in examples.items():
        if judge == "metric" and held.also and primary(held.pair.type, held.pair.modality) in RIGHT_OR_WRONG:
            result[task] = _written_wrong(network, held)
            continue
        answered = ((network(batch)[0].output, batch[0].target) for batch in held.batches(128, network.device))
        found = judgements(judge, held.pair, answered, network.words)
        if held.weights is not None and judge != "metric":  # what is trained with weights is judged with them
            found = found * held.weights.double()
        result[task] = found
    network.train(was_training)
    return result


def judgements(judge: Judge, pair: Pair, answered: Answered, words: Words | None) -> Tensor:
    """Return a number for each example of a task, ``(n,)`` float64 on the CPU; less is better, and only means are compared.

    Parameters
    ----------
    judge
        By what.
    pair
        The task.
    answered
        The model's outputs for the examples, and their targets.
    words
        What text generation is tied to.
    """
    kind = TASK_TYPES[pair.type]
    if judge == "metric" and primary(pair.type, pair.modality) in RIGHT_OR_WRONG:
        wrong = torch.cat([kind.wrong(output, target, words).to("cpu", torch.float64) for output, target in answered])
        return wrong + 1 / len(wrong)
    if judge == "calibrated" and kind.is_distribution:
        held = list(answered)
        best = best_sharpness(lambda sharpness: float(_losses(kind, held, words, sharpness).mean()))
        return _losses(kind, held, words, best)
    return _losses(kind, answered, words)


def _written_wrong(network: Network, examples: TaskExamples) -> Tensor:
    """Return the judgement by ``metric`` where examples have several right texts, ``(n,)`` float64."""
    kind = TASK_TYPES[examples.pair.type]
    written: list[str] = []
    for batch in examples.batches(128, network.device):
        (out,) = network(batch)
        written += kind.answers(out.head, out.fused, None, network.words)
    right = [is_right(text, reference) for text, reference in zip(written, examples.references, strict=True)]
    return 1.0 - torch.tensor(right, dtype=torch.float64) + 1 / len(right)


def best_sharpness(loss: Callable[[float], float]) -> float:
    """Return where a convex function of a model's inverse temperature is least, between BLUNTEST and SHARPEST.

    Golden-section search over the logarithm, in which it has one valley.

    >>> round(best_sharpness(lambda b: (b - 2.0) ** 2), 2)
    2.0
    """
    low, high = math.log(BLUNTEST), math.log(SHARPEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    of_left, of_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(LOOKS - 2):
        if of_left <= of_right:
            high, right, of_right = right, left, of_left
            left = high - _GOLDEN * (high - low)
            of_left = loss(math.exp(left))
        else:
            low, left, of_left = left, right, of_right
            right = low + _GOLDEN * (high - low)
            of_right = loss(math.exp(right))
    return math.exp(left if of_left <= of_right else right)


def _losses(kind: TaskType, answered: Answered, words: Words | None, sharpness: float = 1.0) -> Tensor:
    """Return the losses of the answers, each raised to a power and normalised; at 1 they are as they are."""
    parts = [
        kind.losses(output if sharpness == 1.0 else sharpness * output, target, words).per_example()
        for output, target in answered
    ]
    return torch.cat([part.to("cpu", torch.float64) for part in parts])
