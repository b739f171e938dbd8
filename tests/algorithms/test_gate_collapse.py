"""The collapse of the paper's gate where clients have few examples, and what mends it.

A personal model that knows its sixteen examples by heart has a training loss that no federated model beats: after the first
participation nothing is replaced any more, and TAP is local training, though the federated model is better on data not trained
on. Adoption by trial on validation, judged at the best temperature, goes on adopting; and so does ``tap_best``, which has one
model in the place of two, and asks validation data for heads alone.
"""

import numpy as np
import torch

from fedtap.algorithms.base import ServerState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.data.loader import ClientData, TaskExamples
from fedtap.training.client import LocalClient
from tiny import CLASSES, DIGITS, SPEC, build_network, scenario_of

NAMES, ROUNDS, SIZES = ("a", "b", "c"), 5, {"train": 16, "validation": 24, "test": 60}
TRAINING = {"lr": 0.01, "warmup_rounds": 1, "finetune_steps": 4, "finetune_lr": 0.003, "select_every": 2}
SIGNAL = 0.4  # of a class, in standard deviations of the noise of one feature


def alike(name: str) -> ClientData:
    """Return data drawn as every other client's: clients differ in nothing but their examples."""
    towards = np.random.default_rng(7).normal(size=(CLASSES, SPEC.vision_dim))
    draw = np.random.default_rng(ord(name))
    splits = {}
    for split, n in SIZES.items():
        label = draw.integers(0, CLASSES, n)
        noise = draw.normal(size=(n, SPEC.vision_tokens, SPEC.vision_dim))
        image = [(noise[i] + SIGNAL * towards[label[i]]).astype(np.float16) for i in range(n)]
        splits[split] = TaskExamples(DIGITS, image, None, torch.from_numpy(label))
    return ClientData({"digits": splits})


def federate(**params: object) -> tuple[list[str], float]:
    """Return what became of every decision after the first participations, and the mean test loss of the personal models."""
    method, network = make({"name": "tap", **params}), build_network((DIGITS,))
    scenario = scenario_of(dict.fromkeys(NAMES, (DIGITS,)), rounds=ROUNDS, local_steps=8, training=TRAINING)

    def at(name: str, number: int) -> LocalClient:
        shared = {"network": network, "scenario": scenario, "seed": 0, "judge": method.params.judge}
        return LocalClient(name, (DIGITS,), data=alike(name), round=number, **shared)

    server = ServerState(at("a", 1).initial_state())
    states = {name: method.start(at(name, 1)) for name in NAMES}
    outcomes: list[str] = []
    for number in range(1, ROUNDS + 1):
        updates = {}
        for name in NAMES:
            updates[name], states[name] = method.local_round(at(name, number), server.components, states[name])
            outcomes += [decision.outcome for decision in updates[name].decisions if number > 1]
        server = method.aggregate(server, updates)
    return outcomes, float(np.mean([loss_of(at(name, ROUNDS + 1), states[name].models["personal"]) for name in NAMES]))


def loss_of(client: LocalClient, state: ComponentState) -> float:
    return client.mean_losses(state, "test")["digits"]


def test_a_gate_on_memorised_training_losses_never_opens_and_a_trial_on_validation_does() -> None:
    by_heart, lost = federate()
    assert by_heart == ["kept"] * 12
    by_trial, won = federate(adopt="parts", judge="calibrated")
    assert sum(outcome != "kept" for outcome in by_trial) >= 7
    assert won < lost


def test_one_model_in_the_place_of_two_is_what_mends_it() -> None:
    """What ``tap_best`` would keep at home is a head that is a tenth better; of clients alike hardly one is."""
    _, lost = federate()
    decided, won = federate(name="tap_best")
    assert len(decided) == 12
    assert sum(outcome != "kept" for outcome in decided) >= 10
    assert won < 0.8 * lost
