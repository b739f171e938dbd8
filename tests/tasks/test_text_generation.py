"""Text generation: it reads its input, looks back only, and writes what a plain loop would write."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from fedtap.batch import NO_TOKEN
from fedtap.network.initialisation import initialise
from fedtap.tasks.base import Fused, Words
from fedtap.tasks.text_generation import TextGeneration, TextHead, generate
from tiny import END, LAW, SPEC, START, VOCABULARY, build_network, examples, generator, head_sizes, jittered, words

KIND, WORDS = TextGeneration(), words()
TARGET = torch.tensor([[5, 6, 7, END], [9, END, NO_TOKEN, NO_TOKEN]])


def head(layers: int = 2) -> TextHead:
    built = KIND.build_head(head_sizes("text", decoder_layers=layers))
    assert isinstance(built, TextHead)
    initialise(built, generator("head"))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator("more", parameter.shape)))
    return built.eval()


def fused(n: int = 2, name: str = "input") -> Fused:
    mask = torch.ones(n, 5, dtype=torch.bool)
    mask[0, 3:] = False
    return Fused(torch.randn(n, 5, 16, generator=generator(name)), mask)


def test_two_prompts_give_two_answers_and_gradients_reach_encoder_and_fusion() -> None:
    network = build_network([LAW])
    network.load(jittered(network.initial_state()))
    part = examples(LAW, 2).take([0, 0], [0, 1])
    assert part.text is not None
    prompts = part.text.clone()
    prompts[1] = prompts[1].flip(1)
    (out,) = network((replace(part, text=prompts),))
    logits = out.output @ WORDS.embedding.T
    assert float((logits[0] - logits[1]).detach().abs().amax(dim=1).min()) > 1e-2  # at every position
    out.fused.tokens.retain_grad()
    KIND.losses(out.output, part.target, WORDS).mean().backward()
    assert float(out.fused.tokens.grad.abs().max()) > 0
    reached = {
        key.kind
        for key in network.held
        if any(p.grad is not None and p.grad.any() for p in [*parameters(network, key)])
    }
    assert reached == {"encoder", "shared", "domain", "attention", "expert", "head"}


def parameters(network, key):
    prefix = f"_modules_by_name.{key}."
    return [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]


@torch.no_grad()
def test_a_position_has_seen_the_tokens_before_it_and_no_others() -> None:
    built, given = head(), fused()
    before = KIND.run(built, given, TARGET, WORDS)
    for place in range(4):
        changed = TARGET.clone()
        changed[:, place] = 11
        after = KIND.run(built, given, changed, WORDS)
        assert torch.allclose(after[:, : place + 1], before[:, : place + 1], atol=1e-6)
        if place < 3:
            assert not torch.allclose(after[:, place + 1], before[:, place + 1], atol=1e-3)
            assert not torch.allclose(after[:, 3], before[:, 3], atol=1e-4)


@torch.no_grad()
def test_hidden_tokens_of_the_input_are_not_looked_at() -> None:
    built, given = head(), fused()
    noise = Fused(given.tokens.masked_fill(~given.mask[..., None], 99.0), given.mask)
    assert torch.allclose(KIND.run(built, noise, TARGET, WORDS), KIND.run(built, given, TARGET, WORDS), atol=1e-5)


@torch.no_grad()
def test_teacher_forcing_feeds_the_start_token_then_the_target() -> None:
    built, given = head(), fused()
    fed = WORDS.embedding[torch.tensor([[START, 5, 6, 7], [START, 9, END, 0]])]
    assert torch.equal(KIND.run(built, given, TARGET, WORDS), built(given, fed))


def test_losses_are_sums_over_real_tokens() -> None:
    hidden = torch.randn(2, 4, SPEC.embedding_dim, generator=generator("hidden"))
    losses = KIND.losses(hidden, TARGET, WORDS)
    logits = hidden @ WORDS.embedding.T
    each = F.cross_entropy(logits.flatten(0, 1), TARGET.flatten().clamp(min=0), reduction="none").view(2, 4)
    torch.testing.assert_close(losses.total, torch.stack([each[0].sum(), each[1, :2].sum()]))
    assert losses.units.tolist() == [4.0, 2.0]
    assert float(losses.mean()) == pytest.approx(float((each[0].sum() + each[1, :2].sum()) / 6))
    longer = KIND.losses(F.pad(hidden, (0, 0, 0, 3), value=8.0), F.pad(TARGET, (0, 3), value=NO_TOKEN), WORDS)
    assert torch.equal(longer.total, losses.total)
    assert torch.equal(longer.units, losses.units)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_the_distance_is_over_real_tokens_only(tau: float) -> None:
    student, teacher = (torch.randn(2, 4, SPEC.embedding_dim, generator=generator(name)) for name in ("s", "t"))
    distance = KIND.distance(student, teacher, TARGET, WORDS, tau)
    total = 0.0
    for row, length in ((0, 4), (1, 2)):
        for place in range(length):
            q, p = (torch.softmax(x[row, place] @ WORDS.embedding.T / tau, -1) for x in (student, teacher))
            total += tau**2 * float((p * (p / q).log()).sum())
    assert float(distance) == pytest.approx(total / 6, rel=1e-4)
    elsewhere = teacher.clone()
    elsewhere[1, 2:] += 100
    assert torch.equal(KIND.distance(student, elsewhere, TARGET, WORDS, tau), distance)


def written_by_a_plain_loop(built: TextHead, given: Fused, words: Words) -> list[list[int]]:
    """Write each example alone, a token at a time, from the full history."""
    texts = []
    for i in range(len(given.tokens)):
        alone = Fused(given.tokens[i : i + 1], given.mask[i : i + 1])
        ids = [START]
        while len(ids) <= built.length:
            hidden = built(alone, words.embedding[torch.tensor([ids])])[0, -1]
            scores = words.embedding @ hidden
            best = max((token for token in range(1, VOCABULARY)), key=lambda token: float(scores[token]))
            if best == words.end_id:
                break
            ids.append(best)
        texts.append(ids[1:])
    return texts


@torch.no_grad()
def test_greedy_writing_equals_a_plain_loop_and_stops_at_the_end_token() -> None:
    built, given = head(), fused(24, "many")
    ending = replace(WORDS, end_id=1)  # a token that this head writes now and then
    texts = generate(built, given, ending)
    assert texts == written_by_a_plain_loop(built, given, ending)
    assert {0, 1, 2, built.length} <= {len(text) for text in texts}
    assert not any(token in text for text in texts for token in (ending.end_id, ending.pad_id))


@torch.no_grad()
def test_a_step_gives_what_the_whole_gives_at_its_place() -> None:
    built, given = head(), fused()
    embedded = WORDS.embedding[TARGET]
    whole = built(given, embedded)
    memory, left = built.read(given), [None] * len(built.layers)
    for place in range(TARGET.shape[1]):
        hidden, left = built.step(embedded[:, place], place, left, memory, given.mask)
        torch.testing.assert_close(hidden, whole[:, place], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_input_is_read_once_and_a_text_that_has_ended_takes_no_more_part() -> None:
    built, given = head(), fused(24, "many")
    read, rows = [], []
    for layer in built.layers:
        layer.look_at_input.kv.register_forward_hook(lambda *_: read.append(1))
    built.out.register_forward_hook(lambda _module, _inputs, output: rows.append(len(output)))
    texts = generate(built, given, replace(WORDS, end_id=1))
    assert len(read) == len(built.layers)
    # a text of n tokens takes part in n + 1 steps, the last of which ends it, and in no more than the head has places
    assert rows == [sum(len(text) >= place for text in texts) for place in range(len(rows))]
    assert rows[0] > rows[-1] > 0


@torch.no_grad()
def test_a_text_that_ends_at_once_is_empty_and_nothing_more_is_computed() -> None:
    built = head()
    built.out.weight.zero_()
    built.out.bias.copy_(10 * WORDS.embedding[END])
    calls = []
    built.out.register_forward_hook(lambda *_: calls.append(1))
    assert generate(built, fused(), WORDS) == [[], []]
    assert len(calls) == 1
    assert KIND.answers(built, fused(), None, WORDS) == ["", ""]


@torch.no_grad()
def test_the_reference_plays_no_part_in_an_answer() -> None:
    built, given = head(), fused()
    answers = KIND.answers(built, given, None, WORDS)
    assert answers == KIND.answers(built, given, KIND.run(built, given, TARGET, WORDS), WORDS)
    assert answers == [" ".join(f"w{token}" for token in text) for text in generate(built, given, WORDS)]


def test_with_a_shortlist_only_what_asks_for_a_gradient_is_an_estimate() -> None:
    shortlisted = replace(WORDS, shortlist=4)
    hidden = torch.randn(2, 4, SPEC.embedding_dim, generator=generator("shortlist"))
    torch.manual_seed(3)
    exact, seen = KIND.losses(hidden, TARGET, WORDS), KIND.losses(hidden, TARGET, shortlisted)
    assert torch.equal(seen.total, exact.total)  # as in validation and in tests
    asked = hidden.clone().requires_grad_()
    estimated = KIND.losses(asked, TARGET, shortlisted)
    assert not torch.allclose(estimated.total, exact.total, rtol=1e-3)
    assert torch.equal(estimated.units, exact.units)
    torch.manual_seed(3)
    again = KIND.losses(asked, TARGET, shortlisted)
    assert torch.equal(again.total, estimated.total)
    again.mean().backward()
    assert asked.grad is not None
    assert bool((asked.grad[1, 2:] == 0).all())  # padding
    assert bool((asked.grad[1, :2] != 0).any())
