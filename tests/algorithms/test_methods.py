"""What holds for every method, and the baselines one by one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from fedtap.algorithms.base import Algorithm, ByTask, ClientState, Models, ServerState, Update
from fedtap.algorithms.registry import algorithms, make
from fedtap.components import ComponentState
from fedtap.network.probe import probe_features
from fedtap.pairs import ComponentKey, Pair
from fedtap.training.client import LocalClient
from fedtap.training.linear import INVERSE_PENALTIES
from tiny import CLASSES, DIGITS, LAW, MEMES, MOOD, REDRAW, VQA, build_network, jittered, local_client

METHODS = sorted(algorithms())
CLIENTS = [(DIGITS,), (DIGITS, MOOD, LAW), (MEMES, REDRAW, VQA)]
FINISH = 2
SETTINGS = {
    "training": {"finetune_steps": FINISH, "finetune_lr": 0.01, "lr": 0.01, "warmup_rounds": 1, "select_every": 1}
}


def trains(method: str, architecture: str) -> bool:
    """Tell whether a method can be asked to train this architecture."""
    kind = algorithms()[method]
    return kind.architecture is None and (kind.architectures is None or architecture in kind.architectures)


def client_of(method: str, pairs: tuple[Pair, ...], *, on: str = "experts", **settings: object) -> LocalClient:
    kind = algorithms()[method]
    network = build_network(pairs, name=kind.architecture or on, adaptation=kind.adaptations.get("full", "full"))
    return local_client(pairs, network=network, **{**SETTINGS, **settings})


def received_by(algorithm: Algorithm, client: LocalClient) -> ComponentState:
    """Return what the server would send at the start: the tensors of the plan that travel."""
    return client.initial_state().select(algorithm.travels)


def whole_turn(
    method: str, pairs: tuple[Pair, ...], *, on: str = "experts"
) -> tuple[LocalClient, ComponentState, Update, ClientState]:
    """Let a client take part in a round, then personalise from what came of it; what hooks are given stays as it was."""
    algorithm, client = make({}, method), client_of(method, pairs, on=on)
    received, start = received_by(algorithm, client), algorithm.start(client)
    kept, kept_start = received.clone(), copied(start)
    update, later = algorithm.local_round(client, received, start)
    kept_later, server = copied(later), ServerState(received)
    finished = algorithm.aggregate(server, {"c": update}).slice_for("c", frozenset(received)) if received else received
    kept_finished = finished.clone()
    state = algorithm.personalise(client, finished, later)
    assert received.equal(kept)
    assert finished.equal(kept_finished)
    for held, was in ((start, kept_start), (later, kept_later)):
        assert all(held.models[name].equal(model) for name, model in was.items())
    return client, finished, update, state


def copied(state: ClientState) -> dict[str, ComponentState]:
    return {name: model.clone() for name, model in state.models.items()}


def model_of(models: Models, name: str, task: str) -> ComponentState:
    """Return the model that a task uses."""
    found = models[name]
    model = models[found.models[task]] if isinstance(found, ByTask) else found
    assert isinstance(model, ComponentState)
    return model


def tensors_of(*states: ComponentState) -> list[tuple[str, torch.Tensor]]:
    return [(f"{key}:{name}", tensor) for state in states for key, name, tensor in state.tensors()]


GROUNDS = [
    *[pytest.param(method, pairs, "experts", id=f"{method}-{len(pairs)}") for method in METHODS for pairs in CLIENTS],
    *[pytest.param(method, CLIENTS[1], "plain", id=f"{method}-plain") for method in METHODS if trains(method, "plain")],
    *[pytest.param(method, CLIENTS[0], "probe", id=f"{method}-probe") for method in METHODS if trains(method, "probe")],
]
"""Every method with clients of several kinds, and on every architecture that it can train."""


@pytest.mark.parametrize(("method", "pairs", "on"), GROUNDS)
def test_every_methods_models_move_and_are_whole(method: str, pairs: tuple[Pair, ...], on: str) -> None:
    algorithm = make({}, method)
    client, finished, update, state = whole_turn(method, pairs, on=on)
    start = client.initial_state()
    models = algorithm.models(finished, state)
    assert algorithm.deployed in models
    for name, model in models.items():
        if isinstance(model, ByTask):
            assert model.models.keys() == set(client.tasks)
            continue
        expected = frozenset(received_by(algorithm, client)) if name == "federated" else client.plan
        assert frozenset(model) == expected, name
        still = [key for key in model if model.slice([key]).equal(start.slice([key]))]
        assert still == [], name
        assert all(bool(torch.isfinite(tensor).all()) for _, tensor in tensors_of(model))
    assert frozenset(update.components) == frozenset(received_by(algorithm, client))
    assert frozenset(update.counts) == frozenset(update.components)
    assert update.losses.keys() == set(client.tasks)
    if (pairs, on) == (CLIENTS[1], "experts"):
        same_bits((update, state), whole_turn(method, pairs, on=on)[2:])


def same_bits(first: tuple[Update, ClientState], second: tuple[Update, ClientState]) -> None:
    """Assert that the same call has given the same twice."""
    assert first[0].components.equal(second[0].components)
    assert first[0].losses == second[0].losses
    assert first[0].decisions == second[0].decisions
    assert first[1].facts == second[1].facts
    assert first[1].models.keys() == second[1].models.keys()
    assert all(first[1].models[name].equal(second[1].models[name]) for name in first[1].models)


@pytest.mark.parametrize("method", METHODS)
def test_at_equal_compute_every_method_takes_the_same_steps_in_a_round(method: str) -> None:
    algorithm, client = make({}, method), client_of(method, (DIGITS, MOOD))
    received = received_by(algorithm, client)
    algorithm.local_round(client, received, algorithm.start(client))
    assert client.steps_taken == client.scenario.local_steps


@pytest.mark.parametrize("method", METHODS)
def test_a_client_that_never_took_part_is_served(method: str) -> None:
    algorithm, client = make({}, method), client_of(method, (DIGITS, MOOD))
    received = jittered(client.initial_state(), scale=0.05).select(algorithm.travels)
    models = algorithm.models(received, algorithm.personalise(client, received, algorithm.start(client)))
    deployed = {task: model_of(models, algorithm.deployed, task) for task in client.tasks}
    assert all(frozenset(model) == client.plan for model in deployed.values())
    losses = {task: client.mean_losses(model)[task] for task, model in deployed.items()}
    untrained = client.mean_losses(client.initial_state())
    if algorithm.deployed != "federated":  # without a personal model newcomers get the slice as it is
        assert sum(losses.values()) < sum(untrained.values())


def test_fedavg_weighs_by_examples_and_keeps_what_nobody_trained() -> None:
    fedavg = make({}, "fedavg")
    a, b, c = (ComponentKey("head", (name,)) for name in "abc")
    current = ComponentState({key: {"w": torch.tensor([9.0])} for key in (a, b, c)})
    first = Update(ComponentState({a: {"w": torch.tensor([1.0])}, b: {"w": torch.tensor([5.0])}}), {a: 3, b: 4})
    second = Update(ComponentState({a: {"w": torch.tensor([5.0])}}), {a: 1})
    after = fedavg.aggregate(ServerState(current), {"one": first, "two": second}).components
    assert [float(after[key]["w"]) for key in (a, b, c)] == [2.0, 5.0, 9.0]


def test_fedavg_sends_what_its_steps_made_and_keeps_nothing() -> None:
    client = client_of("fedavg", (DIGITS, MOOD))
    received = jittered(client.initial_state(), scale=0.1)
    update, state = make({}, "fedavg").local_round(client, received, ClientState())
    expected = client_of("fedavg", (DIGITS, MOOD)).train(received, 4, "federated")
    assert update.components.equal(expected.state)
    assert update.losses == expected.losses
    assert update.counts == client.counts()
    assert state == ClientState()


def test_fine_tuning_is_the_finish_of_the_slice() -> None:
    client = client_of("fedavg_ft", (DIGITS, MOOD))
    received = jittered(client.initial_state(), scale=0.1)
    state = make({}, "fedavg_ft").personalise(client, received, ClientState())
    expected = client_of("fedavg_ft", (DIGITS, MOOD)).finetune(received, FINISH, "finish")
    assert state.models["finetuned"].equal(expected.state)
    assert state.facts == {"finetune_steps_kept": expected.kept_steps}
    losses, before = client.mean_losses(state.models["finetuned"]), client.mean_losses(received)
    assert sum(losses[task] / before[task] for task in losses) < len(losses)


def test_local_training_sends_nothing_and_hears_nothing() -> None:
    local, client = make({}, "local"), client_of("local", (DIGITS, MOOD))
    start = local.start(client)
    noise = jittered(client.initial_state(), scale=9.0)
    update, state = local.local_round(client, noise, start)
    assert len(update.components) == 0
    assert update.counts == {}
    assert len(received_by(local, client)) == 0
    expected = client_of("local", (DIGITS, MOOD)).train(client.initial_state(), 4, "federated").state
    assert state.models["personal"].equal(expected)
    done = local.personalise(client, noise, state)
    finish = client_of("local", (DIGITS, MOOD)).finetune(expected, FINISH, "finish").state
    assert done.models["personal"].equal(finish)


def test_a_newcomer_trains_alone_for_as_many_steps_as_a_participant() -> None:
    local, client = make({}, "local"), client_of("local", (DIGITS,))
    done = local.personalise(client, ComponentState(), local.start(client))
    assert client.steps_taken == len(client.alone_rates) + FINISH
    assert done.facts["trained"] is True


def pooled(client: LocalClient, task: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    held = client.data.tasks[task][split]
    part = held.take(range(len(held)), range(len(held)))
    return probe_features(part).double().numpy(), part.target.numpy()


@pytest.mark.parametrize("pair", [DIGITS, MOOD, MEMES], ids=lambda pair: pair.modality)
def test_the_probe_predicts_what_scikit_learn_does(pair: Pair) -> None:
    client = client_of("probe", (pair,), n=40)
    probe = make({}, "probe")
    received = client.initial_state()
    state = probe.models(received, probe.personalise(client, received, ClientState()))["personal"]
    (x, y), (vx, vy), (tx, _) = (pooled(client, pair.task, split) for split in ("train", "validation", "test"))
    assert set(y) == set(range(CLASSES))
    scaler = StandardScaler().fit(x)
    fits = [LogisticRegression(C=c, max_iter=5000).fit(scaler.transform(x), y) for c in INVERSE_PENALTIES]
    best = min(fits, key=lambda fit: log_loss(vy, fit.predict_proba(scaler.transform(vx)), labels=fit.classes_))
    client.network.load(state)
    held = client.data.tasks[pair.task]["test"]
    with torch.no_grad():
        (out,) = client.network((held.take(range(len(held)), range(len(held))),))
    expected = best.predict_proba(scaler.transform(tx))
    assert np.allclose(out.output.softmax(-1).numpy(), expected, atol=2e-3)
    assert out.output.argmax(-1).tolist() == expected.argmax(1).tolist()


def test_probe_features_are_masked_means_side_by_side() -> None:
    client = client_of("probe", (MEMES,))
    part = client.data.tasks["memes"]["train"].take([0, 1], [0, 1])
    features = probe_features(part)
    for i in range(2):
        image, text = part.image[i].mean(0), part.text[i][part.text_mask[i]].mean(0)
        expected = torch.cat([(x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() for x in (image, text)])
        torch.testing.assert_close(features[i], expected, atol=1e-5, rtol=1e-4)
