r"""The synthetic problem of the study: pairs are tanh teachers, the model one hidden layer and a head a pair. NumPy alone.

Pair p asks for :math:`y = v_p \cdot \tanh(U_p x) + \epsilon`. *Unlike* pairs have feature maps :math:`U_p` of their own, *alike*
ones have the same and differ in :math:`v_p`. The student is :math:`a_p \cdot \tanh(W x)`: the trunk W is shared by the pairs of a
federation or private to each, the head a is each pair's own. Clients take plain SGD steps at a constant rate, and sets of clients
are drawn alike, as the theorem has it. All federations of an arm are trained at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtap.runtime.randomness import numpy_generator
from fedtap.study.pairs.design import DRAWN, HOLDERS, Arm, Size, rounds_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INPUTS, HIDDEN, FEATURES = 8, 24, 4
TRAIN, VALIDATION, TEST, BATCH = 30, 24, 200, 10
RATE, NOISE, SPREAD = 0.1, 0.3, 1.5
"""The rate of a step, the noise of the answers, the size of the teachers' feature maps."""
TUNING = 60
"""Steps of a client's personal model."""


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs ``(pairs, clients, examples, INPUTS)`` and answers without the last axis."""

    x: Floats
    y: Floats


@dataclass(frozen=True, slots=True)
class Data:
    """All pairs' examples; the test answers are without noise, and a pair's clients share them."""

    train: Split
    validation: Split
    test: Split

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(self.train.x.shape[0])


@dataclass(frozen=True, slots=True)
class Models:
    """A model for each of R places: trunks ``(R, HIDDEN, INPUTS)`` and heads ``(R, HIDDEN)``."""

    trunk: Floats
    head: Floats

    def at(self, places: Ints) -> Models:
        """Return copies of some."""
        return Models(self.trunk[places].copy(), self.head[places].copy())


def make_data(kind: str, pairs: int, seed: int, clients: int = HOLDERS) -> Data:
    """Return the teachers' examples: the first pairs are the same however many there are."""
    common = numpy_generator(seed, "study of pairs", kind, "feature map").normal(size=(FEATURES, INPUTS))
    splits: dict[str, list[tuple[Floats, Floats]]] = {"train": [], "validation": [], "test": []}
    for pair in range(pairs):
        rng = numpy_generator(seed, "study of pairs", kind, pair)
        own = rng.normal(size=(FEATURES, INPUTS))
        features = (common if kind == "alike" else own) * SPREAD / np.sqrt(INPUTS)
        out = rng.normal(size=FEATURES)
        out = out / (np.tanh(rng.normal(size=(4000, INPUTS)) @ features.T) @ out).std()
        for name, of, size in (("train", clients, TRAIN), ("validation", clients, VALIDATION), ("test", 1, TEST)):
            x = rng.normal(size=(of, size, INPUTS))
            noise = 0.0 if name == "test" else NOISE
            splits[name].append((x, np.tanh(x @ features.T) @ out + noise * rng.normal(size=(of, size))))
    return Data(*(Split(np.stack([x for x, _ in each]), np.stack([y for _, y in each])) for each in splits.values()))


def gradient(models: Models, x: Floats, y: Floats) -> Models:
    """Return the gradients of half the mean squared error; x is ``(R, B, INPUTS)``, y ``(R, B)``."""
    hidden = np.tanh(x @ models.trunk.transpose(0, 2, 1))
    error = ((hidden @ models.head[:, :, None])[:, :, 0] - y) / x.shape[1]
    back = error[:, :, None] * models.head[:, None] * (1 - hidden**2)
    return Models(back.transpose(0, 2, 1) @ x, (error[:, None] @ hidden)[:, 0])


def losses(models: Models, x: Floats, y: Floats) -> Floats:
    """Return the mean squared error of each model, ``(R,)``."""
    hidden = np.tanh(x @ models.trunk.transpose(0, 2, 1))
    return np.asarray((((hidden @ models.head[:, :, None])[:, :, 0] - y) ** 2).mean(1))


def train(models: Models, split: Split, pair: Ints, client: Ints, steps: int, rng: np.random.Generator) -> None:
    """Take local steps with each model on the examples of its client, in place."""
    for _ in range(steps):
        pick = rng.integers(0, TRAIN, (len(pair), BATCH))
        at = (pair[:, None], client[:, None], pick)
        slope = gradient(models, split.x[at], split.y[at])
        models.trunk[:] -= RATE * slope.trunk
        models.head[:] -= RATE * slope.head


def mean_by(values: Floats, place: Ints, before: Floats) -> Floats:
    """Return the mean of the values of each place; what no value came to stays as it was."""
    count = np.bincount(place, minlength=len(before))
    total = np.zeros_like(before)
    np.add.at(total, place, values)
    shape = (-1, *[1] * (values.ndim - 1))
    return np.where(count.reshape(shape) > 0, total / np.maximum(count, 1).reshape(shape), before)


def federate(data: Data, arm: Arm, size: Size, seed: int) -> tuple[Models, Ints]:
    """Train all federations of an arm; return each pair's model, and in how many rounds it was trained."""
    everyone = np.arange(data.pairs)
    groups = data.pairs // arm.pairs
    slot = everyone // arm.pairs if arm.trunk == "shared" else everyone
    begin = numpy_generator(seed, "study of pairs", "start")
    trunk = np.repeat(begin.normal(size=(1, HIDDEN, INPUTS)) / np.sqrt(INPUTS), slot.max() + 1, 0)
    head = np.repeat(0.1 * begin.normal(size=(1, HIDDEN)), data.pairs, 0)
    trained = np.zeros(data.pairs, np.int64)
    draws, batches = (numpy_generator(seed, "study of pairs", arm.key, what) for what in ("draws", "batches"))
    for _ in range(rounds_of(arm.length, arm.pairs, size.synthetic_rounds)):
        chosen = np.argsort(draws.random((groups, HOLDERS * arm.pairs)), axis=1)[:, :DRAWN]
        pair = (np.arange(groups)[:, None] * arm.pairs + chosen // HOLDERS).ravel()
        local = Models(trunk[slot[pair]], head[pair])
        train(local, data.train, pair, (chosen % HOLDERS).ravel(), size.synthetic_steps, batches)
        trunk = mean_by(local.trunk, slot[pair], trunk)
        head = mean_by(local.head, pair, head)
        trained[np.unique(pair)] += 1
    return Models(trunk[slot], head), trained


def personal(data: Data, served: Models, seed: int) -> Floats:
    """Return the test loss of each pair's personal models: every client tunes its slice, and keeps it if validation says so."""
    pair = np.repeat(np.arange(data.pairs), HOLDERS)
    client = np.tile(np.arange(HOLDERS), data.pairs)
    before, after = served.at(pair), served.at(pair)
    train(after, data.train, pair, client, TUNING, numpy_generator(seed, "study of pairs", "tuning"))
    kept = losses(after, data.validation.x[pair, client], data.validation.y[pair, client]) < losses(
        before, data.validation.x[pair, client], data.validation.y[pair, client]
    )
    test = data.test.x[pair, 0], data.test.y[pair, 0]
    found = np.where(kept, losses(after, *test), losses(before, *test))
    return np.asarray(found.reshape(data.pairs, HOLDERS).mean(1))


def disagreement(data: Data, served: Models, pairs: int) -> float:
    r"""Return :math:`\zeta_{pairs}^2` of the trunk: how far the pairs' gradients are from their mean, over all federations."""
    slope = np.zeros((data.pairs, HIDDEN * INPUTS))
    for client in range(HOLDERS):
        found = gradient(served, data.train.x[:, client], data.train.y[:, client])
        slope += found.trunk.reshape(data.pairs, -1) / HOLDERS
    groups = slope.reshape(-1, pairs, slope.shape[1])
    return float(((groups - groups.mean(1, keepdims=True)) ** 2).sum(2).mean())


def measure(data: Data, arm: Arm, size: Size, seed: int) -> list[dict[str, object]]:
    """Train an arm and return its records, one a pair and outcome."""
    served, trained = federate(data, arm, size, seed)
    by_client = [losses(served, data.train.x[:, c], data.train.y[:, c]) for c in range(HOLDERS)]
    outcomes = {
        "training": np.mean(by_client, 0),
        "test": losses(served, data.test.x[:, 0], data.test.y[:, 0]),
        "personal": personal(data, served, seed),
    }
    about = {"kind": arm.kind, "pairs": arm.pairs, "trunk": arm.trunk, "length": arm.length, "seed": seed}
    apart = disagreement(data, served, arm.pairs) if arm.trunk == "shared" and arm.pairs > 1 else None
    return [
        {**about, "pair": f"teacher{pair:02d}", "outcome": outcome, "value": float(value)}
        for outcome, values in outcomes.items()
        for pair, value in enumerate(values)
    ] + [
        {**about, "pair": "", "outcome": "updates", "value": float(trained.mean())},
        *([] if apart is None else [{**about, "pair": "", "outcome": "zeta2_pairs", "value": apart}]),
    ]
