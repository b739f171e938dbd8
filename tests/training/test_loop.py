"""The training loop against hand-computed losses and a hand-written AdamW."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.batch import NO_TOKEN, batch_size, micro_batches
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.network.probe import probe_features
from fedtap.pairs import ComponentKey, Pair
from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.loop import Objective, TaskMeans, batch_loss, plain_gradient, train
from fedtap.training.terms import Proximal, Teacher
from tiny import DIGITS, LAW, MOOD, REDRAW, VQA, build_network, client_data, jittered, mixed_batch

PAIRS = (DIGITS, MOOD, REDRAW, VQA, LAW)
SIZES = {"digits": 1, "mood": 5, "redraw": 2, "vqa": 3, "law": 4}


def network_and_batch() -> tuple[Network, tuple]:
    network = build_network(PAIRS)
    network.load(jittered(network.initial_state()))
    data = client_data(PAIRS, SIZES)
    return network, data.collate([(task, i) for task, n in SIZES.items() for i in range(n)])


def mean_losses(network: Network, batch: tuple) -> dict[str, Tensor]:
    """Return the mean loss of each task by PyTorch's own functions."""
    found = {}
    for part, out in zip(batch, network(batch), strict=True):
        if part.pair.type == "classification":
            found[part.pair.task] = F.cross_entropy(out.output, part.target)
        elif part.pair.type == "reconstruction":
            found[part.pair.task] = F.mse_loss(out.output, part.target)
        else:
            logits = out.output @ network.words.embedding.T
            found[part.pair.task] = F.cross_entropy(logits.flatten(0, 1), part.target.flatten(), ignore_index=NO_TOKEN)
    return found


def test_a_batchs_loss_is_the_tasks_mean_losses_weighted_by_their_examples() -> None:
    network, batch = network_and_batch()
    means = TaskMeans()
    loss = batch_loss(network, batch, means)
    by_task = mean_losses(network, batch)
    expected = sum(SIZES[task] / 15 * by_task[task] for task in SIZES)
    torch.testing.assert_close(loss, expected)
    assert means.means() == pytest.approx({task: float(value.detach()) for task, value in by_task.items()}, rel=1e-4)


def test_running_means_weigh_by_examples_not_by_batches() -> None:
    means = TaskMeans()
    means.add("a", 6.0, 3)
    means.add("a", 10.0, 1)
    means.add("b", 1.0, 2)
    assert means.means() == {"a": 4.0, "b": 0.5}


def test_distillation_adds_its_weighted_distance_to_the_tasks_it_names() -> None:
    network, batch = network_and_batch()
    mine = network.state()
    other = jittered(mine, seed=9)
    plain = batch_loss(network, batch)
    outputs = [out.output.detach() for out in network(batch)]
    network.load(other)
    theirs = [out.output.detach() for out in network(batch)]
    network.load(mine)
    parts = {part.pair.task: i for i, part in enumerate(batch)}
    tau = 2.0
    divergence = {}
    for task in ("mood", "law"):
        i = parts[task]
        s, t = outputs[i], theirs[i]
        if task == "law":
            real = batch[i].target != NO_TOKEN
            s, t = (x[real] @ network.words.embedding.T for x in (s, t))
        q, p = (F.log_softmax(x / tau, dim=-1) for x in (s, t))
        divergence[task] = tau**2 * F.kl_div(q, p, log_target=True, reduction="batchmean")
    divergence["redraw"] = F.mse_loss(outputs[parts["redraw"]], theirs[parts["redraw"]])
    weights = {"mood": 0.5, "law": 2.0, "redraw": 1.0, "digits": 0.0}  # vqa is not named
    taught = batch_loss(network, batch, terms=[Teacher(other, weights, tau)])
    added = sum(weights[task] * SIZES[task] / 15 * divergence[task] for task in divergence)
    torch.testing.assert_close(taught - plain, added, atol=1e-4, rtol=1e-3)
    assert network.state().equal(mine)


def adamw(
    network: Network, batches: list, rates: list[float], settings: TrainingSettings
) -> tuple[Tensor, Tensor, list]:
    """Train a linear classifier on pooled features: gradients, clipping and AdamW written out in float64."""
    (part,) = batches[0]
    features = probe_features(part).shape[1]
    w, b = torch.zeros(3, features, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in (w, b)]
    losses = []
    for step, ((part,), rate) in enumerate(zip(batches, rates, strict=True), start=1):
        x = probe_features(part).double()
        p = torch.softmax(x @ w.T + b, dim=1)
        y = F.one_hot(part.target, 3).double()
        losses.append((-(p * y).sum(1).log().sum(), len(y)))
        gradients = [(p - y).T @ x / len(y), (p - y).mean(0)]
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        factor = min(1.0, settings.clip / (norm + 1e-6))
        for value, gradient, (m, v) in zip((w, b), gradients, moments, strict=True):
            g = gradient * factor
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            value.mul_(1 - rate * settings.weight_decay)
            value.sub_(rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))
    return w, b, losses


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_steps_are_those_of_adamw(clip: float) -> None:
    network = build_network([DIGITS], probe=True)
    network.load(network.initial_state())
    data = client_data([DIGITS], 20)
    batches = [data.collate([("digits", i) for i in range(first, first + n)]) for first, n in ((0, 8), (8, 8), (16, 4))]
    rates, settings = [0.1, 0.02, 0.3], TrainingSettings(weight_decay=0.5, clip=clip)
    means = train(network, batches, rates, settings)
    w, b, losses = adamw(network, batches, rates, settings)
    state = network.state()[ComponentKey("probe", ("image", "digits"))]
    torch.testing.assert_close(state["weight"], w.float(), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(state["bias"], b.float(), atol=2e-5, rtol=1e-4)
    # the mean over the twenty examples seen, each before the step that it was seen in
    assert means == pytest.approx({"digits": float(sum(total for total, _ in losses)) / 20}, rel=1e-5)


def test_only_the_model_that_is_swapped_in_moves_and_frozen_layers_do_not() -> None:
    network = build_network((DIGITS, MOOD), adaptation="lora")
    everything = jittered(network.initial_state())
    network.load(everything)
    plan = network.architecture.plan([MOOD])
    frozen = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.load(everything.slice(plan))
    train(network, [mixed_batch([MOOD], 4)] * 2, [0.1, 0.1], TrainingSettings())
    after = network.state()
    assert all(not torch.equal(tensor, everything[key][name]) for key, name, tensor in after.tensors())
    network.load(after.slice([]))
    elsewhere = dict(network.named_parameters())
    for key in network.architecture.plan([DIGITS]) - plan:
        for name, tensor in everything[key].items():
            assert torch.equal(elsewhere[f"_modules_by_name.{key}.{name}"], tensor)
    assert frozen
    assert all(torch.equal(buffer, frozen[name]) for name, buffer in network.named_buffers())


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    network, batch = network_and_batch()
    state = network.state()
    broken = state.slice([ComponentKey("shared")]).map(lambda tensor: tensor * math.nan)
    network.load(state.merge(broken))
    with pytest.raises(FloatingPointError, match=r"nan at step 1; lower training\.lr"):
        train(network, [batch], [0.1], TrainingSettings())


def test_the_observer_is_called_after_each_step_and_every_batch_needs_its_rate() -> None:
    network, batch = network_and_batch()
    states: list[tuple[int, ComponentState]] = []
    train(
        network, [batch] * 2, [1e-3, 1e-3], TrainingSettings(), after_step=lambda n: states.append((n, network.state()))
    )
    assert [number for number, _ in states] == [1, 2]
    assert states[1][1].equal(network.state())
    assert not states[0][1].equal(states[1][1])
    with pytest.raises(ValueError, match="longer"):
        train(network, [batch], [1e-3, 1e-3], TrainingSettings())


# --- what moves, and along what ------------------------------------------------------------------------------------------


def is_head(key: ComponentKey, name: str) -> bool:
    return key.kind == "head"


def two_tasks() -> tuple[Network, list]:
    network = build_network((DIGITS, MOOD))
    network.load(jittered(network.initial_state(), scale=0.1))
    return network, [mixed_batch((DIGITS, MOOD), seed=seed) for seed in range(3)]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_not_chosen_stays_bit_for_bit_and_may_move_again_after(optimizer: str) -> None:
    network, batches = two_tasks()
    before = network.state()
    settings = TrainingSettings(optimizer=optimizer, weight_decay=0.3)  # decay would move what has no gradient too
    seen: list[bool] = []
    train(
        network,
        batches,
        [0.1] * 3,
        settings,
        only=is_head,
        after_step=lambda _: seen.extend(p.grad is not None for key, _, p in network.named() if key.kind != "head"),
    )
    after = network.state()
    for key, name, tensor in after.tensors():
        assert torch.equal(tensor, before[key][name]) == (key.kind != "head"), (key, name)
    assert seen
    assert not any(seen)  # nor was anything computed for it
    assert all(parameter.requires_grad for parameter in network.trainable())


def test_the_choice_goes_by_tensor_not_by_component() -> None:
    network, batches = two_tasks()
    before = network.state()
    train(network, batches, [0.1] * 3, TrainingSettings(), only=lambda key, name: name.endswith("bias"))
    moved = {
        name.endswith("bias")
        for key, name, tensor in network.state().tensors()
        if not torch.equal(tensor, before[key][name])
    }
    assert moved == {True}


def test_choosing_all_is_choosing_nothing_in_particular() -> None:
    states = []
    for only in (None, lambda key, name: True):
        network, batches = two_tasks()
        train(network, batches, [0.1] * 3, TrainingSettings(), only=only)
        states.append(network.state())
    assert states[0].equal(states[1])


def test_where_nothing_is_chosen_the_losses_are_measured_and_nothing_moves() -> None:
    network, batches = two_tasks()
    before, steps = network.state(), []
    expected = TaskMeans()
    for batch in batches:
        batch_loss(network, batch, expected)
    means = train(
        network, batches, [0.1] * 3, TrainingSettings(), only=lambda key, name: False, after_step=steps.append
    )
    assert network.state().equal(before)
    assert means == pytest.approx(expected.means())
    assert steps == [1, 2, 3]
    assert all(parameter.requires_grad for parameter in network.trainable())


def test_a_batch_that_does_not_reach_what_moves_moves_nothing() -> None:
    network, _ = two_tasks()
    before = network.state()
    settings = TrainingSettings(weight_decay=0.5)
    train(network, [mixed_batch([MOOD])], [0.1], settings, only=lambda key, _: key == ComponentKey("head", ("digits",)))
    assert network.state().equal(before)


def broken_rule(network: Network, batch: tuple, objective: object) -> None:
    raise RuntimeError("the rule broke")


def broken_choice(key: ComponentKey, name: str) -> bool:
    raise RuntimeError("the choice broke")


@pytest.mark.parametrize(
    "how",
    [
        {"only": is_head, "gradient": broken_rule},
        {"only": broken_choice},
        {"only": is_head, "after_step": lambda step: broken_choice(ComponentKey("shared"), "")},
    ],
    ids=["gradient", "only", "after_step"],
)
def test_whatever_breaks_leaves_a_network_that_can_learn(how: dict) -> None:
    network, batches = two_tasks()
    with pytest.raises(RuntimeError, match="broke"):
        train(network, batches, [0.1] * 3, TrainingSettings(), **how)
    assert all(parameter.requires_grad for parameter in network.trainable())


def test_steps_of_sgd_by_hand() -> None:
    """``w <- w - rate (c (p - y) x / n + decay w)``, where c clips the plain gradient to the norm given."""
    network = build_network([DIGITS], probe=True)
    key = ComponentKey("probe", ("image", "digits"))
    start = jittered(network.initial_state())
    network.load(start)
    data = client_data([DIGITS], 16)
    batches = [data.collate([("digits", i) for i in range(first, first + 8)]) for first in (0, 8)]
    rates, settings = [0.5, 0.1], TrainingSettings(optimizer="sgd", weight_decay=0.2, clip=0.4)
    train(network, batches, rates, settings)
    w, b = start[key]["weight"].double(), start[key]["bias"].double()
    clipped = 0
    for (part,), rate in zip(batches, rates, strict=True):
        x, y = probe_features(part).double(), F.one_hot(part.target, 3).double()
        error = torch.softmax(x @ w.T + b, dim=1) - y
        gw, gb = error.T @ x / 8, error.mean(0)
        norm = float((gw.square().sum() + gb.square().sum()).sqrt())
        clipped += norm > 0.4
        factor = min(1.0, 0.4 / (norm + 1e-6))
        w, b = w - rate * (factor * gw + 0.2 * w), b - rate * (factor * gb + 0.2 * b)
    assert clipped
    torch.testing.assert_close(network.state()[key]["weight"], w.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.state()[key]["bias"], b.float(), atol=1e-5, rtol=1e-5)


def test_a_gradient_rule_may_look_elsewhere_and_puts_the_model_back() -> None:
    """The first-order gradient after a step of 0.2, as MAML takes it: on logistic regression, by hand."""
    key, inner = ComponentKey("probe", ("image", "digits")), 0.2

    def ahead(network: Network, batch: tuple, objective: object) -> None:
        kept = network.state()
        plain_gradient(network, batch, objective)
        with torch.no_grad():
            for parameter in network.trainable():
                parameter.sub_(inner * parameter.grad)
        plain_gradient(network, batch, objective)
        network.load(kept)

    network = build_network([DIGITS], probe=True)
    start = jittered(network.initial_state())
    network.load(start)
    (part,) = batch = client_data([DIGITS], 8).collate([("digits", i) for i in range(8)])
    means = train(
        network, [batch], [0.3], TrainingSettings(optimizer="sgd", weight_decay=0.0, clip=1e9), gradient=ahead
    )
    x, y = probe_features(part).double(), F.one_hot(part.target, 3).double()

    def slope(w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, float]:
        p = torch.softmax(x @ w.T + b, dim=1)
        return (p - y).T @ x / 8, (p - y).mean(0), float(-(p * y).sum(1).log().mean())

    w, b = start[key]["weight"].double(), start[key]["bias"].double()
    gw, gb, here = slope(w, b)
    hw, hb, there = slope(w - inner * gw, b - inner * gb)
    torch.testing.assert_close(network.state()[key]["weight"], (w - 0.3 * hw).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.state()[key]["bias"], (b - 0.3 * hb).float(), atol=1e-5, rtol=1e-5)
    assert means == pytest.approx({"digits": (here + there) / 2}, rel=1e-4)  # over both looks at the batch


def test_a_step_of_a_batch_in_parts_is_the_step_of_the_whole() -> None:
    """With one example a task and part the means are over the same things; a step, and what the observer hears, stay one."""
    network = build_network((DIGITS, MOOD))
    batch = mixed_batch((DIGITS, MOOD), each=4)
    settings, seen = TrainingSettings(), []
    results = {}
    for micro in (None, 2):
        network.load(network.initial_state())
        train(network, [batch], [0.1], settings.model_copy(update={"micro_batch": micro}), after_step=seen.append)
        results[micro] = {(key, name): p.grad.clone() for key, name, p in network.named()}
    for where, gradient in results[None].items():
        torch.testing.assert_close(results[2][where], gradient, atol=1e-6, rtol=1e-4)
    assert seen == [1, 1]


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("pairs", [(LAW,), (LAW, VQA, DIGITS, MOOD, REDRAW)])
@pytest.mark.parametrize("with_terms", ["plain", "teacher", "ensemble", "proximal"])
def test_parts_weigh_as_the_whole_batch_does(micro: int, pairs: tuple[Pair, ...], with_terms: str) -> None:
    """Texts have unequal lengths: a part's mean over its tokens counts for its tokens, not for its examples."""
    network = build_network(pairs)
    start = jittered(network.initial_state())
    other = jittered(start, seed=5)
    sizes = {pair.task: n for pair, n in zip(pairs, (7, 4, 3, 2, 2), strict=False)}
    batch = client_data(pairs, sizes).collate([(task, i) for task, n in sizes.items() for i in range(n)])
    lengths = [(part.target != NO_TOKEN).sum(dim=1) for part in batch if part.pair.type == "text_generation"]
    assert all(len(set(each.tolist())) > 1 for each in lengths)
    weights = dict.fromkeys(sizes, 2.0)
    terms = {
        "plain": [],
        "teacher": [Teacher(other, weights, 2.0)],
        "ensemble": [Teacher(other, weights, ensemble_with=[start])],
        "proximal": [Proximal(other, 0.7)],
    }[with_terms]
    beside = [other] if with_terms == "ensemble" else []
    found, means = {}, {}
    for cut in (None, micro):
        network.load(start)
        means[cut] = TaskMeans()
        loss = partial(batch_loss, network, means=means[cut], terms=terms, ensemble_with=beside)
        plain_gradient(network, batch, Objective(loss, cut))
        grads = [p.grad.flatten() for _, _, p in network.named() if p.grad is not None]
        found[cut] = torch.cat(grads)
    assert float((found[micro] - found[None]).norm() / found[None].norm()) < 1e-6
    assert means[micro].means() == pytest.approx(means[None].means(), rel=1e-6)


def test_parts_of_a_whole_stand_for_its_examples_by_their_tokens() -> None:
    batch = client_data((LAW, DIGITS), {"law": 5, "digits": 3}).collate(
        [("law", i) for i in range(5)] + [("digits", i) for i in range(3)]
    )
    law = next(part for part in batch if part.pair == LAW)
    tokens = (law.target != NO_TOKEN).sum(dim=1)
    parts = [part for whole in micro_batches(batch, 2) for part in whole]
    assert [part.weight for part in parts if part.pair == LAW] == pytest.approx(
        [5 * float(tokens[i : i + 2].sum()) / float(tokens.sum()) for i in (0, 2, 4)]
    )
    assert [part.weight for part in parts if part.pair == DIGITS] == [1, 2]
    assert sum(part.weight for part in parts) == pytest.approx(8)
    assert [part.weight for part in batch] == [len(part) for part in batch]


def test_no_more_than_a_part_goes_through_the_network_at_once() -> None:
    network, sizes = build_network((DIGITS, LAW)), []
    network.load(network.initial_state())
    forward = network.architecture.forward
    network.architecture.forward = lambda batch, *rest: sizes.append(batch_size(batch)) or forward(batch, *rest)
    train(network, [mixed_batch((DIGITS, LAW), each=5)], [0.1], TrainingSettings(micro_batch=4))
    assert sizes == [4, 4, 2]


def test_parts_hold_every_example_once_and_no_padding_that_nobody_needs() -> None:
    batch = mixed_batch((DIGITS, LAW), each=5)
    parts = list(micro_batches(batch, 3))
    assert [batch_size(part) for part in parts] == [3, 3, 3, 1]
    for part in parts:
        assert sorted(row for own in part for row in own.rows.tolist()) == list(range(batch_size(part)))
        for own in part:
            if own.text_mask is not None:
                assert own.text_mask.any(dim=0).all()
    for whole in batch:
        pieces = [own for part in parts for own in part if own.pair == whole.pair]
        for name in ("image", "text", "target"):
            tensor = getattr(whole, name)
            if tensor is not None:
                rows = [row for piece in pieces for row in getattr(piece, name)]
                order = [
                    i
                    for start in range(0, batch_size(batch), 3)
                    for i, row in enumerate(whole.rows.tolist())
                    if start <= row < start + 3
                ]
                for row, i in zip(rows, order, strict=True):
                    kept, full = row.reshape(-1), tensor[i].reshape(-1)  # cut at the end, where there was padding
                    assert torch.equal(kept, full[: len(kept)])
                    nothing = NO_TOKEN if name == "target" else 0
                    assert bool((full[len(kept) :] == nothing).all())
    assert next(micro_batches(batch, None)) is batch
    assert next(micro_batches(batch, 10)) is batch


def weighed(batch: tuple, *weights: float) -> tuple:
    """Return a batch whose first part has weights."""
    return (replace(batch[0], weights=torch.tensor(weights)), *batch[1:])


def test_a_weight_multiplies_the_loss_of_its_example() -> None:
    network = build_network((DIGITS, MOOD))
    network.load(jittered(network.initial_state()))
    batch = mixed_batch((DIGITS, MOOD))
    network.eval()
    digits, mood = network(batch)
    each = F.cross_entropy(digits.output, batch[0].target, reduction="none")
    expected = (2.0 * each[0] + 0.5 * each[1] + 0.25 * each[2] + F.cross_entropy(mood.output, batch[1].target) * 3) / 6
    means = TaskMeans()
    torch.testing.assert_close(batch_loss(network, weighed(batch, 2.0, 0.5, 0.25), means), expected)
    assert means.means()["digits"] == pytest.approx(float((each * torch.tensor([2.0, 0.5, 0.25])).mean().detach()))
    torch.testing.assert_close(batch_loss(network, weighed(batch, 1.0, 1.0, 1.0)), batch_loss(network, batch))


def test_parts_of_a_batch_keep_the_weights_of_their_examples() -> None:
    batch = weighed(mixed_batch((DIGITS, MOOD)), 2.0, 0.5, 0.25)
    parts = [part for small in micro_batches(batch, 2) for part in small if part.pair == DIGITS]
    assert torch.cat([part.weights for part in parts]).tolist() == [2.0, 0.5, 0.25]
    assert all(part.weights is None for small in micro_batches(batch, 2) for part in small if part.pair == MOOD)
    network = build_network((DIGITS, MOOD))
    network.load(jittered(network.initial_state()))
    network.eval()
    whole = [[p.grad.clone() for p in network.parameters() if p.grad is not None] for _ in [take(network, batch, None)]]
    cut = [[p.grad.clone() for p in network.parameters() if p.grad is not None] for _ in [take(network, batch, 2)]]
    for one, other in zip(whole[0], cut[0], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def take(network: Network, batch: tuple, micro: int | None) -> None:
    plain_gradient(network, batch, Objective(partial(batch_loss, network), micro))
