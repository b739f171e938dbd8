"""What a method can do at a client: draws by purpose, counts, the finish that validation chooses."""

import pytest
import torch

from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from fedtap.training.loop import Objective, batch_loss, plain_gradient, train
from fedtap.training.schedule import finetune_rates
from fedtap.training.terms import Disentangle, Proximal, Teacher
from tiny import CONCEPTS, CPU, DIGITS, LAW, MOOD, REDRAW, VQA, build_network, jittered, local_client, mixed_batch

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"lr": 0.01, "warmup_rounds": 1, "finetune_lr": 0.02, "select_every": 1}


def relative_score(client: LocalClient, start: ComponentState, state: ComponentState) -> float:
    """Return the mean over tasks of the validation loss relative to the start's."""
    before, after = client.mean_losses(start), client.mean_losses(state)
    return sum(after[task] / before[task] for task in before) / len(before)


def test_training_is_the_loop_on_the_draw_of_its_purpose() -> None:
    client = local_client(PAIRS)
    start = jittered(client.initial_state(), scale=0.1)
    trained = client.train(start, 3, "federated")
    network = build_network(PAIRS)
    network.load(start)
    batches = client.data.draw(client.tasks, size=8, steps=3, generator=client.generator("federated"), device=CPU)
    losses = train(network, batches, [client.rate] * 3, client.scenario.training)
    assert trained.state.equal(network.state())
    assert trained.losses == losses
    assert trained.kept_steps == client.steps_taken == 3
    assert not trained.state.equal(start)


def test_batches_may_be_given_in_place_of_a_draw() -> None:
    start = jittered(local_client(PAIRS).initial_state(), scale=0.1)
    client, other = local_client(PAIRS), local_client(PAIRS)
    drawn = client.train(start, 3, "federated")
    assert other.train(start, 3, other.batches(3, "federated")).state.equal(drawn.state)
    first = next(other.batches(1, "federated"))
    assert not other.train(start, 3, [first] * 3).state.equal(drawn.state)
    with pytest.raises(ValueError, match="longer"):
        other.train(start, 3, [first] * 2)


def test_a_gradient_rule_pays_a_step_for_every_gradient_that_it_asks_for() -> None:
    def two(network: Network, batch: Batch, objective: Objective) -> None:
        plain_gradient(network, batch, objective)
        plain_gradient(network, batch, objective)

    client = local_client(PAIRS)
    start = client.initial_state()
    assert client.train(start, 3, "federated", gradient=two).kept_steps == 3
    assert client.steps_taken == 6
    client.finetune(start, 4, "finish", gradient=two)
    assert client.steps_taken == 14


def test_the_same_call_gives_the_same_bits_and_another_purpose_round_or_seed_does_not() -> None:
    start = jittered(local_client(PAIRS).initial_state(), scale=0.1)

    def trained(purpose: str, **where: int) -> ComponentState:
        return local_client(PAIRS, **where).train(start, 2, purpose, rates=[0.01, 0.01]).state

    first = trained("federated")
    assert trained("federated").equal(first)
    assert not trained("personal").equal(first)
    assert not trained("federated", round=3).equal(first)
    assert not trained("federated", seed=1).equal(first)


def test_the_state_given_is_left_as_it_was() -> None:
    client = local_client(PAIRS)
    start = client.initial_state()
    kept = start.clone()
    client.train(start, 2, "federated")
    client.finetune(start, 4, "finish")
    assert start.equal(kept)


@pytest.mark.parametrize("select_every", [1, 2, 3])
@pytest.mark.parametrize("taught", [False, True])
def test_the_finish_keeps_the_best_state_on_validation(select_every: int, taught: bool) -> None:
    client = local_client(PAIRS, training={**FINISH, "select_every": select_every})
    start = jittered(client.initial_state(), scale=0.2)
    teacher = Teacher(client.train(start, 10, "teacher").state, {"digits": 0.5, "law": 2.0}) if taught else None
    client.steps_taken = 0
    done = client.finetune(start, 8, "finish", terms=[teacher] if teacher else [])
    seen = {0: start}
    network = build_network(PAIRS)
    network.load(start)
    batches = client.data.draw(client.tasks, size=8, steps=8, generator=client.generator("finish"), device=CPU)
    train(
        network,
        batches,
        finetune_rates(client.scenario.training, 8),
        client.scenario.training,
        terms=[teacher] if teacher else [],
        after_step=lambda step: seen.update({step: network.state()}),
    )
    looked_at = {step for step in seen if step % select_every == 0} | {8}
    scores = {step: relative_score(client, start, seen[step]) for step in looked_at}
    best = min(scores, key=scores.__getitem__)
    assert done.kept_steps == best > 0
    assert done.state.equal(seen[best])
    assert client.steps_taken == 8


def test_a_finish_that_only_harms_keeps_its_start() -> None:
    client = local_client(PAIRS, training=FINISH)
    good = client.train(client.initial_state(), 60, "good", rates=[0.02] * 60).state
    wild = local_client(PAIRS, training={**FINISH, "finetune_lr": 5.0})
    done = wild.finetune(good, 3, "finish")
    assert done.kept_steps == 0
    assert done.state.equal(good)


def test_a_finish_is_never_worse_than_its_start_on_validation() -> None:
    for lr in (0.001, 0.05, 0.3):
        client = local_client(PAIRS, training={**FINISH, "finetune_lr": lr, "select_every": 2})
        start = jittered(client.initial_state(), scale=0.2)
        assert relative_score(client, start, client.finetune(start, 5, "finish").state) <= 1.0


def test_a_finish_of_no_steps_changes_nothing() -> None:
    client = local_client(PAIRS)
    start = client.initial_state()
    done = client.finetune(start, 0, "finish")
    assert done.state.equal(start)
    assert (done.kept_steps, client.steps_taken, done.losses) == (0, 0, {})


def test_validation_losses_are_those_of_each_example_alone() -> None:
    client = local_client(PAIRS)
    state = jittered(client.initial_state())
    losses = client.example_losses(state)
    for task in client.tasks:
        held = client.data.tasks[task]["validation"]
        assert losses[task].shape == (len(held),)
        assert losses[task].dtype == torch.float64
    law = client.data.tasks["law"]["validation"]
    client.network.load(state)
    for i in range(3):
        part = law.take([i], [0])
        with torch.no_grad():
            (out,) = client.network((part,))
        logits = (out.output @ client.network.words.embedding.T)[0]
        alone = torch.nn.functional.cross_entropy(logits, part.target[0])
        assert float(losses["law"][i]) == pytest.approx(float(alone), rel=1e-4)
    means = client.mean_losses(state)
    assert means == pytest.approx({task: float(values.mean()) for task, values in losses.items()})


def test_counts_are_the_examples_whose_path_uses_a_component() -> None:
    client = local_client((DIGITS, MOOD, REDRAW), n={"digits": 5, "mood": 7, "redraw": 11})
    counts = client.counts()
    assert counts.keys() == client.plan
    assert counts[ComponentKey("shared")] == 23
    assert counts[ComponentKey("encoder", ("image",))] == 16
    assert counts[ComponentKey("encoder", ("text",))] == 7
    assert counts[ComponentKey("head", ("redraw",))] == 11
    assert counts[ComponentKey("expert", ("mote", "image", "shared"))] == 16
    assert counts[ComponentKey("expert", ("mote", "image", "image_generation"))] == 11
    assert counts[ComponentKey("expert", ("mome", "shared", "shared"))] == 23


def test_exclusive_components_are_on_no_other_tasks_path() -> None:
    client = local_client((CONCEPTS, LAW, VQA))
    assert client.exclusive("law") == {ComponentKey("domain", ("law",)), ComponentKey("head", ("law",))}
    assert client.exclusive("law") | client.path("concepts") | client.path("vqa") == client.plan
    assert ComponentKey("encoder", ("image",)) in client.exclusive("vqa")
    assert local_client((LAW,)).exclusive("law") == local_client((LAW,)).plan


def test_training_alone_takes_as_many_steps_as_a_participant() -> None:
    # 2 clients, 1 a round, 6 rounds: three turns each, spread over rounds 1, 3 (or 4) and 6
    client = local_client(
        (DIGITS,), rounds=6, clients_per_round=1, local_steps=2, training={"lr": 1.0, "warmup_rounds": 1}
    )
    rates = client.alone_rates
    assert len(rates) == 6
    assert rates[0] == rates[1] == 1.0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates, reverse=True)


def test_tasks_that_an_architecture_does_not_serve_are_left_out() -> None:
    pairs = (DIGITS, REDRAW)
    client = local_client(pairs, network=build_network(pairs, probe=True))
    assert client.tasks == ("digits",)
    assert client.plan == {ComponentKey("probe", ("image", "digits"))}
    nothing = local_client((REDRAW,), network=build_network(pairs, probe=True))
    trained = nothing.train(nothing.initial_state(), 3, "federated")
    assert (len(trained.state), trained.losses, nothing.steps_taken) == (0, {}, 0)


def test_a_gradient_is_that_of_autograd_where_the_state_given_stands() -> None:
    client = local_client(PAIRS)
    state = jittered(client.initial_state(), scale=0.1)
    batch = next(client.batches(1, "here"))
    found = client.gradient(state, batch)
    network = build_network(PAIRS)
    network.load(state)
    batch_loss(network, batch).backward()
    for key, name, parameter in network.named():
        torch.testing.assert_close(
            found[key][name], torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        )
    assert frozenset(found) == client.plan
    assert client.steps_taken == 1
    assert not any(tensor.requires_grad for _, _, tensor in found.tensors())


def test_a_gradient_is_zero_where_the_batch_does_not_reach_and_old_ones_are_forgotten() -> None:
    client = local_client(PAIRS)
    state = jittered(client.initial_state(), scale=0.1)
    client.gradient(state, mixed_batch(PAIRS))
    found = client.gradient(state, mixed_batch([MOOD]))
    reached = client.path("mood")
    for key in client.plan:
        assert any(float(tensor.abs().max()) > 0 for tensor in found[key].values()) == (key in reached), key
    assert client.gradient(state, mixed_batch([MOOD])).equal(found)
    assert client.steps_taken == 3


def test_the_gradient_of_a_term_is_part_of_the_gradient() -> None:
    client = local_client(PAIRS)
    state, anchor = (jittered(client.initial_state(), seed=seed, scale=0.1) for seed in (1, 2))
    batch = mixed_batch(PAIRS)
    plain, pulled = client.gradient(state, batch), client.gradient(state, batch, [Proximal(anchor, 0.5)])
    expected = plain.zip(torch.add, state.zip(lambda w, w0: 0.5 * (w - w0), anchor))
    for key, name, tensor in expected.tensors():
        torch.testing.assert_close(pulled[key][name], tensor, atol=1e-5, rtol=1e-4)


def test_a_gradient_leaves_the_state_given_and_training_after_it_as_they_were() -> None:
    client, fresh = local_client(PAIRS), local_client(PAIRS)
    state = jittered(client.initial_state(), scale=0.1)
    kept = state.clone()
    found = client.gradient(state, mixed_batch(PAIRS))
    copy = found.clone()
    after = client.train(state, 2, "federated").state
    assert state.equal(kept)
    assert found.equal(copy)
    assert after.equal(fresh.train(state, 2, "federated").state)


def test_batches_are_a_draw_of_their_purpose_that_sees_every_example_before_any_again() -> None:
    client = local_client(PAIRS, n=8)  # 24 examples: three batches of eight

    def drawn(purpose: str, steps: int) -> list[list[bytes]]:
        batches = client.batches(steps, purpose)
        return [
            sorted(
                tensor.numpy().tobytes() for part in batch for tensor in (part.image, part.text) if tensor is not None
            )
            for batch in batches
        ]

    assert drawn("a", 4) == drawn("a", 4)
    assert drawn("a", 4)[:2] == drawn("a", 2)
    assert drawn("a", 4) != drawn("b", 4)
    seen = [
        (
            part.pair.task,
            tuple(part.target[i].flatten().tolist()),
            (part.image if part.text is None else part.text)[i].sum().item(),
        )
        for batch in client.batches(3, "a")
        for part in batch
        for i in range(len(part))
    ]
    assert len(seen) == len(set(seen)) == 24
    assert client.steps_taken == 0  # looking costs nothing


def test_training_hands_on_what_moves_what_is_added_and_what_is_stepped_along() -> None:
    settings = {"training": {**FINISH, "optimizer": "sgd", "clip": 1e9, "weight_decay": 0.0}}
    client = local_client(PAIRS, **settings)
    start = jittered(client.initial_state(), scale=0.1)
    anchor = jittered(start, seed=4, scale=0.1)
    batch = next(client.batches(1, "one"))
    slope = client.gradient(start, batch, [Proximal(anchor, 0.3)])

    def negated(network: Network, given: Batch, objective: Objective) -> None:
        plain_gradient(network, given, objective)
        for parameter in network.trainable():
            if parameter.grad is not None:
                parameter.grad.neg_()

    trained = client.train(
        start,
        1,
        "one",
        rates=[0.1],
        terms=[Proximal(anchor, 0.3)],
        only=lambda key, name: key.kind != "head",
        gradient=negated,
    ).state
    for key, name, tensor in trained.tensors():
        if key.kind == "head":
            assert torch.equal(tensor, start[key][name])
        else:
            torch.testing.assert_close(tensor, start[key][name] + 0.1 * slope[key][name])


def test_a_finish_may_leave_a_part_as_it_is() -> None:
    client = local_client(PAIRS, training=FINISH)
    start = jittered(client.initial_state(), scale=0.2)
    done = client.finetune(start, 6, "finish", only=lambda key, name: key.kind == "head")
    assert done.kept_steps > 0
    for key, name, tensor in done.state.tensors():
        assert torch.equal(tensor, start[key][name]) == (key.kind != "head")


@pytest.mark.parametrize("settings", [{"training": {"micro_batch": 3}}, {"privacy": {"local": {"noise": 1.0}}}])
def test_a_term_that_compares_examples_needs_the_batch_whole(settings: dict[str, object]) -> None:
    client = local_client((DIGITS, MOOD), **settings)
    state, terms = client.initial_state(), [Disentangle(0.5)]
    with pytest.raises(
        UserError, match=r"(training\.micro_batch=3|privacy\.local): .* compares the examples of a batch"
    ):
        client.train(state, 2, "federated", terms=terms)
    if "privacy" in settings:
        client.train(state, 2, "federated", terms=terms, stays=True)  # what never leaves is trained as ever
    roomy = local_client((DIGITS, MOOD), training={"micro_batch": 8})  # as large as a batch: nothing is cut
    whole = local_client((DIGITS, MOOD), training={}).train(state, 2, "federated", terms=terms).state
    assert roomy.train(state, 2, "federated", terms=terms).state.equal(whole)


@pytest.mark.parametrize(
    ("epochs", "examples", "steps"),
    [(None, 20, 4), (1, 16, 2), (1, 17, 3), (2, 17, 5), (0.5, 16, 1), (0.01, 16, 1), (1.1, 80, 11), (3, 5, 3)],
)
def test_steps_are_those_of_so_many_passes_over_all_tasks(epochs: float | None, examples: int, steps: int) -> None:
    """Batches are of 8, or of all that there are."""
    client = local_client((DIGITS, MOOD), n={"digits": examples - 2, "mood": 2}, local_epochs=epochs)
    assert client.scenario.local_steps == steps
    state = client.initial_state()
    client.train(state, client.scenario.local_steps, "federated")
    assert client.steps_taken == steps
