"""Softmax regression in NumPy, float64: what a method's round on two linear probes ought to be, written out.

Of the package it takes the batches drawn and their pooled features; gradients and steps are its own. A model is, per task, its
weights and bias side by side, ``(classes, features + 1)``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedtap.batch import Batch, batch_size
from fedtap.components import ComponentState
from fedtap.network.probe import probe_features
from fedtap.pairs import ComponentKey
from fedtap.training.client import LocalClient
from tiny import CLASSES, DIGITS, MOOD, build_network, local_client

PAIRS = (DIGITS, MOOD)
KEYS = {pair.task: ComponentKey("probe", (pair.modality, pair.head)) for pair in PAIRS}

Model = dict[str, NDArray[np.float64]]


def probe_client(*, clip: float = 1e9, **settings: Any) -> LocalClient:
    """Return a client with two probes that takes plain gradient steps of rate about 0.4."""
    training = {
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "clip": clip,
        "lr": 0.5,
        "finetune_steps": 6,
        "finetune_lr": 0.3,
    }
    network = build_network(PAIRS, name="probe")
    return local_client(PAIRS, network=network, **{"batch_size": 6, "training": training, **settings})


def model_of(state: ComponentState) -> Model:
    """Return a state's numbers."""
    sides = {task: (state[key]["weight"].numpy(), state[key]["bias"].numpy()[:, None]) for task, key in KEYS.items()}
    return {task: np.hstack(both).astype(np.float64) for task, both in sides.items()}


def state_of(model: Model) -> ComponentState:
    """Return the state with these numbers."""
    numbers = {task: torch.from_numpy(values).float() for task, values in model.items()}
    return ComponentState(
        {
            KEYS[task]: {"weight": both[:, :-1].contiguous(), "bias": both[:, -1].contiguous()}
            for task, both in numbers.items()
        }
    )


def random_model(seed: int, scale: float = 0.3) -> Model:
    """Return a model of random numbers, exact in float32."""
    draw = np.random.default_rng(seed)
    start = model_of(probe_client().initial_state())
    return {task: (scale * draw.normal(size=w.shape)).astype(np.float32).astype(float) for task, w in start.items()}


def each(function: Callable[..., Any], *models: Model) -> Model:
    """Return a model of ``function`` of each task's numbers."""
    return {task: function(*(model[task] for model in models)) for task in models[0]}


def gradient(model: Model, batch: Batch, clip: float = 1e9) -> Model:
    """Return the gradient of the mean cross-entropy over a batch's examples, brought to norm ``clip`` where it is longer."""
    slopes = each(np.zeros_like, model)
    for part in batch:
        features = probe_features(part).double().numpy()
        x = np.hstack([features, np.ones((len(features), 1))])
        scores = np.exp(x @ model[part.pair.task].T)
        wrong = scores / scores.sum(axis=1, keepdims=True) - np.eye(CLASSES)[part.target.numpy()]
        slopes[part.pair.task] = wrong.T @ x / batch_size(batch)
    length = np.sqrt(sum(float((slope**2).sum()) for slope in slopes.values()))
    return each(lambda slope: slope * min(1.0, clip / length), slopes)


def assert_same(state: ComponentState, expected: Model) -> None:
    """Assert that a state holds the numbers expected, to what float32 can tell."""
    for task, values in model_of(state).items():
        np.testing.assert_allclose(values, expected[task], atol=2e-6, rtol=1e-4)
