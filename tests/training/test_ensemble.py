"""Models that answer together: the mean of outputs, as a teacher and in training."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.batch import NO_TOKEN
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.ensemble import ensemble_outputs
from fedtap.training.loop import TaskMeans, batch_loss, train
from fedtap.training.terms import Teacher
from tiny import DIGITS, LAW, MOOD, REDRAW, build_network, jittered, local_client, mixed_batch

PAIRS = (DIGITS, MOOD, REDRAW, LAW)
BATCH = mixed_batch(PAIRS, 3)


def network_and_models() -> tuple[Network, list[ComponentState]]:
    network = build_network(PAIRS)
    models = [jittered(network.initial_state(), seed=seed) for seed in range(3)]
    network.load(models[0])
    return network, models


def outputs_of(model: ComponentState) -> list[Tensor]:
    """Return a model's outputs, text as logits over the vocabulary."""
    network = build_network(PAIRS)
    network.load(model)
    outputs = [output.output.detach() for output in network(BATCH)]
    return [*outputs[:3], outputs[3] @ network.words.embedding.T]


def common(models: list[ComponentState]) -> list[Tensor]:
    """Return mean logits of classes and tokens, and mean pictures."""
    return [torch.stack(each).mean(dim=0) for each in zip(*map(outputs_of, models), strict=True)]


def test_outputs_are_averaged_and_alone_a_model_is_itself() -> None:
    network, models = network_and_models()
    mine = network(BATCH)
    assert ensemble_outputs(network, mine, [], BATCH) is mine
    mixed = ensemble_outputs(network, mine, models[1:], BATCH)
    found = [*(output.output for output in mixed[:3]), mixed[3].output @ network.words.embedding.T]
    for output, expected in zip(found, common(models), strict=True):
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)
    twin = ensemble_outputs(network, mine, [models[0]], BATCH)
    assert all(torch.equal(a.output, b.output) for a, b in zip(twin, mine, strict=True))
    assert network.state().equal(models[0])


def test_the_loss_beside_other_models_is_that_of_the_common_answer() -> None:
    network, models = network_and_models()
    means = TaskMeans()
    loss = batch_loss(network, BATCH, means, ensemble_with=models[1:])
    digits, mood, picture, text = common(models)
    target = {part.pair.task: part.target for part in BATCH}
    expected = {
        "digits": F.cross_entropy(digits, target["digits"]),
        "mood": F.cross_entropy(mood, target["mood"]),
        "redraw": F.mse_loss(picture, target["redraw"]),
        "law": F.cross_entropy(text.flatten(0, 1), target["law"].flatten(), ignore_index=NO_TOKEN),
    }
    torch.testing.assert_close(loss, sum(expected.values()) / 4, atol=1e-4, rtol=1e-4)
    assert means.means() == pytest.approx({task: float(value) for task, value in expected.items()}, rel=1e-3)


def test_half_of_the_slope_of_the_common_answer_reaches_the_model_in_training() -> None:
    network, models = network_and_models()
    torch.autograd.backward(batch_loss(network, BATCH, ensemble_with=[models[1]]))
    got = {(str(key), name): p.grad.clone() for key, name, p in network.named() if p.grad is not None}
    network.zero_grad()
    outputs = network(BATCH)
    slopes = []
    for part, output, other in zip(BATCH, outputs, network.run_as(models[1], BATCH), strict=True):
        mixed = ((output.output.detach() + other.output) / 2).requires_grad_()
        if part.pair.type == "classification":
            loss = F.cross_entropy(mixed, part.target)
        elif part.pair.type == "reconstruction":
            loss = F.mse_loss(mixed, part.target)
        else:
            logits = mixed @ network.words.embedding.T
            loss = F.cross_entropy(logits.flatten(0, 1), part.target.flatten(), ignore_index=NO_TOKEN)
        slopes.append(torch.autograd.grad(loss / 4, mixed)[0] / 2)
    torch.autograd.backward([output.output for output in outputs], slopes)
    wanted = {(str(key), name): p.grad for key, name, p in network.named() if p.grad is not None}
    assert got.keys() == wanted.keys()
    assert any(bool(slope.abs().max() > 1e-3) for slope in got.values())
    for name, slope in got.items():
        torch.testing.assert_close(slope, wanted[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_an_ensemble_teaches_the_mean_of_its_outputs(tau: float) -> None:
    network, models = network_and_models()
    weights = {"digits": 0.5, "redraw": 2.0, "law": 1.5}
    taught = batch_loss(network, BATCH, terms=[Teacher(models[1], weights, tau, ensemble_with=[models[2]])])
    mine, theirs = outputs_of(models[0]), common(models[1:])
    real = BATCH[3].target != NO_TOKEN

    def divergence(student: Tensor, teacher: Tensor) -> Tensor:
        p, q = F.softmax(teacher / tau, dim=-1), F.softmax(student / tau, dim=-1)
        return tau**2 * (p * (p.log() - q.log())).sum(dim=-1).mean()

    added = 0.5 * divergence(mine[0], theirs[0]) + 2.0 * F.mse_loss(mine[2], theirs[2])
    added = added + 1.5 * divergence(mine[3][real], theirs[3][real])
    torch.testing.assert_close(taught - batch_loss(network, BATCH), added / 4, atol=1e-4, rtol=1e-3)


def test_with_models_beside_it_the_student_of_a_teacher_is_the_common_answer() -> None:
    network, models = network_and_models()
    teacher = Teacher(models[2], {"mood": 1.0})
    plain = batch_loss(network, BATCH, ensemble_with=[models[1]])
    added = batch_loss(network, BATCH, terms=[teacher], ensemble_with=[models[1]]) - plain
    q, p = F.log_softmax(common(models[:2])[1], dim=-1), F.log_softmax(outputs_of(models[2])[1], dim=-1)
    torch.testing.assert_close(added, (p.exp() * (p - q)).sum(dim=-1).mean() / 4, atol=1e-5, rtol=1e-3)


def test_training_beside_a_model_moves_one_and_not_the_other() -> None:
    client = local_client((DIGITS, MOOD))
    start, other = (jittered(client.initial_state(), seed=seed, scale=0.1) for seed in (1, 2))
    kept = other.clone()
    trained = client.train(start, 2, "federated", ensemble_with=[other])
    assert other.equal(kept)
    network = build_network((DIGITS, MOOD))
    network.load(start)
    train(network, client.batches(2, "federated"), [client.rate] * 2, TrainingSettings(), ensemble_with=[kept])
    assert trained.state.equal(network.state())
    assert not trained.state.equal(client.train(start, 2, "federated").state)
    assert client.steps_taken == 4  # those of the two calls; a model that stands beside takes none
