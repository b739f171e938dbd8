"""One test for each fault known of the authors' research code, numbered as in the project's notes on the method.

Each is short and would have caught its fault; the same matters are tested in depth beside the modules that they concern.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import algorithms, make
from fedtap.batch import NO_TOKEN
from fedtap.components import ComponentState
from fedtap.data.images import denormalise, normalise
from fedtap.data.partition import partition
from fedtap.data.splits import SPLITS
from fedtap.evaluation.evaluate import score
from fedtap.experiment.setup import Simulation, set_up
from fedtap.federation.rounds import run_round
from fedtap.federation.sampling import schedule
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.pairs import path, plan
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import ScoreSettings
from fedtap.training.loop import train
from tiny import (
    CPU,
    DIGITS,
    EVERY_PAIR,
    LAW,
    MEDICINE,
    MOOD,
    REDRAW,
    TEN_KINDS,
    build_network,
    client_data,
    file_scenario,
    generator,
    jittered,
    local_client,
    mixed_batch,
    words,
)


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Simulation, Server]]:
    """Return a function that sets up the ten kinds of client under a method."""
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    scenario = file_scenario(tmp_path / "own", local_steps=2)

    def built(method: str) -> tuple[Simulation, Server]:
        algorithm, store = make({}, method), ClientStore(tmp_path / method)
        bench = set_up(scenario, algorithm, seed=0, device="cpu", store=store, tell=lambda event: None)
        server = Server(
            algorithm=algorithm,
            architecture=bench.network.architecture,
            state=bench.start,
            cards=bench.cards,
        )
        return bench, server

    return built


@pytest.mark.parametrize("method", ["fedavg", "tap"])
def test_fault_1_after_a_round_every_tensor_of_a_clients_plan_is_the_servers(federation, method: str) -> None:
    bench, server = federation(method)
    before = server.components
    events: list[dict[str, object]] = []
    run_round(server, bench.transport, list(TEN_KINDS), 1, events.append)
    assert not [event for event in events if event["event"] in ("failed", "rejected")]
    assert [key for key in before if server.components.slice([key]).equal(before.slice([key]))] == []
    for client, pairs in TEN_KINDS.items():
        received = server.request(client, 2).components
        assert frozenset(received) == plan(pairs)
        bench.network.load(received)
        assert bench.network.state().equal(server.components.slice(plan(pairs)))


def test_fault_2_plan_transfer_training_and_replacement_cover_the_same_components() -> None:
    everyone = [(pair,) for pair in EVERY_PAIR] + [pairs for pairs in TEN_KINDS.values() if len(pairs) > 1]
    for pairs in everyone:
        client = local_client(pairs, local_steps=1)
        received = jittered(client.initial_state(), seed=1)
        personal = jittered(client.initial_state(), seed=2)
        state = ClientState({"personal": personal}, {"personal_losses": dict.fromkeys(client.tasks, 1e9)})
        update, after = make({}, "tap").local_round(client, received, state)
        assert frozenset(received) == plan(pairs)
        assert frozenset(update.components) == plan(pairs)
        assert after.models["personal"].equal(update.components)  # every task was replaced, hence everything
        for pair in pairs:
            families = {name for key in path(pairs, pair.task) if key.kind == "expert" for name in key.names}
            assert pair.family in families


def test_fault_3_text_generation_reads_its_input() -> None:
    network = build_network([LAW])
    network.load(jittered(network.initial_state()))
    (part,) = mixed_batch([LAW], 2)
    question, other = (replace(part, text=part.text[i : i + 1], text_mask=part.text_mask[i : i + 1]) for i in (0, 1))
    answers = [replace(asked, rows=part.rows[:1], target=part.target[:1]) for asked in (question, other)]
    ((first,), (second,)) = (network((asked,)) for asked in answers)
    logits, others = (out.output @ words().embedding.T for out in (first, second))
    assert (logits - others).abs().amax(dim=-1).min() > 1e-3
    TASK_TYPES["text_generation"].losses(first.output, answers[0].target, network.words).mean().backward()
    reached = {
        name.split(".")[1].split("/")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    assert {"encoder", "attention", "expert", "domain", "shared"} <= reached


def test_fault_4_replacing_an_image_task_leaves_the_clients_text_components_alone() -> None:
    pairs = (DIGITS, MOOD)
    client = local_client(pairs, local_steps=1)
    personal = jittered(client.initial_state(), seed=2)
    state = ClientState({"personal": personal}, {"personal_losses": {"digits": 1e9, "mood": 0.0}, "took_part": True})
    _, after = make({}, "tap").local_round(client, jittered(client.initial_state(), seed=1), state)
    changed = {key for key in personal if not personal.slice([key]).equal(after.models["personal"].slice([key]))}
    assert changed == path(pairs, "digits")
    assert not {key for key in changed if "text" in key.names or "text_classification" in key.names}


def test_fault_5_the_untrained_adapter_changes_nothing_and_frozen_layers_stay_frozen() -> None:
    network = build_network([MOOD], adaptation="lora", layers=2)
    start = network.initial_state()
    silent = start.map(torch.clone)
    adapters = [key for key in start if key.kind in ("attention", "expert", "domain")]
    halves = {key: {name for name, tensor in start[key].items() if not tensor.any()} for key in adapters}
    assert all(len(zero) == len(start[key]) // 2 for key, zero in halves.items())
    without = silent.merge(silent.slice(adapters).map(torch.zeros_like))
    outputs = []
    for state in (start, without):
        network.load(state)
        outputs.append(network(mixed_batch([MOOD], 3))[0].fused.tokens.detach())
    torch.testing.assert_close(
        outputs[0], outputs[1], atol=1e-5, rtol=0
    )  # that IS the pretrained layer: network/test_fusion.py
    frozen = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.load(start)
    train(network, [mixed_batch([MOOD], 3)] * 3, [0.1] * 3, local_client([MOOD]).scenario.training)
    assert frozen
    assert all(torch.equal(buffer, frozen[name]) for name, buffer in network.named_buffers())
    assert all(not network.state()[key][name].equal(start[key][name]) for key in adapters for name in start[key])


@pytest.mark.parametrize("method", sorted(algorithms()))
def test_fault_6_every_methods_parameters_move(method: str) -> None:
    algorithm = make({}, method)
    client = local_client(
        (DIGITS, MOOD), network=build_network((DIGITS, MOOD), probe=algorithm.architecture == "probe")
    )
    start = client.initial_state()
    received = start.select(algorithm.travels)
    update, state = algorithm.local_round(client, received, algorithm.start(client))
    assert client.steps_taken == client.scenario.local_steps
    trained = [*([update.components] if update.components else []), *state.models.values()]
    assert trained
    for model in trained:
        begun = ComponentState({key: {name: start[key][name] for name in model[key]} for key in model})
        assert all(not model.slice([key]).equal(begun.slice([key])) for key in model)


def test_fault_7_permuting_a_batch_of_several_domains_permutes_its_outputs() -> None:
    pairs = (LAW, MEDICINE, DIGITS)
    network = build_network(pairs)
    network.load(jittered(network.initial_state()))
    data = client_data(pairs, 3)
    places = [(pair.task, i) for pair in pairs for i in range(3)]
    order = [4, 8, 0, 3, 7, 1, 6, 2, 5]

    def outputs(chosen: list[tuple[str, int]]) -> dict[int, torch.Tensor]:
        batch = data.collate(chosen)
        rows = {}
        for part, out in zip(batch, network(batch), strict=True):
            rows.update(zip(part.rows.tolist(), out.fused.pooled().detach(), strict=True))
        return rows

    straight, permuted = outputs(places), outputs([places[i] for i in order])
    for row, place in enumerate(order):
        torch.testing.assert_close(permuted[row], straight[place], atol=1e-5, rtol=1e-5)


def test_fault_8_no_content_is_trained_on_and_tested_on(tmp_path: Path) -> None:
    scenario = file_scenario(tmp_path / "own")
    keys: dict[str, set[str]] = {split: set() for split in SPLITS}
    for seed in (0, 1):
        for tasks in partition(scenario, seed).values():
            for splits in tasks.values():
                for split in SPLITS:
                    keys[split] |= {example.key for example in splits[split]}
    assert all(keys.values())
    # over all clients, all tasks, and even all seeds
    assert all(not keys[a] & keys[b] for a, b in combinations(SPLITS, 2))


# --- fault 9, part by part -----------------------------------------------------------------------------------------------


def test_fault_9_image_normalisation_does_not_wrap_in_eight_bits() -> None:
    every_value = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    normal = normalise(every_value)
    assert normal.dtype == np.float32
    assert np.allclose(normal[0].ravel(), np.arange(256) / 127.5 - 1, atol=1e-6)
    assert (np.diff(normal[0].ravel()) > 0).all()
    assert np.array_equal(denormalise(normal), every_value)


@pytest.mark.parametrize("pair", [pair for pair in EVERY_PAIR if "text" in pair.modality], ids=lambda pair: pair.task)
def test_fault_9_padding_is_not_attended_to(pair) -> None:
    network = build_network([pair])
    network.load(jittered(network.initial_state()))
    (part,) = mixed_batch([pair], 3)
    noise = 20 * torch.randn(part.text.shape, generator=generator("noise"))
    dirty = replace(part, text=torch.where(part.text_mask[..., None], part.text, noise))
    assert not part.text_mask.all()
    ((clean,), (other,)) = network((part,)), network((dirty,))
    torch.testing.assert_close(clean.output, other.output, atol=1e-5, rtol=1e-5)


def test_fault_9_distillation_ignores_padding() -> None:
    target = torch.tensor([[5, 3, NO_TOKEN, NO_TOKEN]])
    student, teacher = (torch.randn(1, 4, 6, generator=generator(name)) for name in ("student", "teacher"))
    kind = TASK_TYPES["text_generation"]
    cut = kind.distance(student[:, :2], teacher[:, :2], target[:, :2], words(), 1.0)
    assert torch.equal(kind.distance(student, teacher, target, words(), 1.0), cut)
    assert float(cut) > 0


def test_fault_9_pictures_are_distilled_by_squared_error_not_by_a_softmax_over_pixels() -> None:
    student, teacher = torch.zeros(1, 3, 64, 64), torch.full((1, 3, 64, 64), 0.5)
    distance = TASK_TYPES["reconstruction"].distance(student, teacher, student, None, 1.0)
    assert float(distance) == 0.25  # to a softmax, two even pictures are the same


@pytest.mark.parametrize("pair", [DIGITS, REDRAW, LAW], ids=lambda pair: pair.type)
def test_fault_9_metrics_are_means_over_examples_not_over_unequal_batches(pair) -> None:
    network = build_network([pair])
    network.load(jittered(network.initial_state()))
    test = client_data([pair], 67).tasks[pair.task]["train"]  # batches of 64 and 3
    scored = score(network, [test], ScoreSettings(3))
    kind, total, units = TASK_TYPES[pair.type], 0.0, 0.0
    for i in range(len(test)):
        part = test.take([i], [0])
        with torch.no_grad():
            losses = kind.losses(network((part,))[0].output, part.target, network.words)
        total, units = total + float(losses.total), units + float(losses.units)
    metric = "mse" if pair.type == "reconstruction" else "cross_entropy"
    value, n = scored[metric]
    assert value == pytest.approx(total / units, rel=1e-4)
    assert n == units


def test_fault_9_the_order_of_the_data_depends_on_the_seed() -> None:
    def labels(seed: int) -> list[int]:
        client = local_client([DIGITS], n=40, seed=seed)
        batches = client.data.draw(["digits"], size=8, steps=5, generator=client.generator("federated"), device=CPU)
        return [int(label) for (part,) in batches for label in part.target]

    assert labels(0) == labels(0) != labels(1)


def test_fault_9_the_first_rounds_clients_depend_on_the_seed() -> None:
    first = {tuple(schedule(list(TEN_KINDS), per_round=3, rounds=1, seed=seed)[0]) for seed in range(8)}
    assert len(first) > 4
