"""Text generation: a small autoregressive decoder that attends to the fused tokens, tied to the tower's frozen embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedtap.batch import NO_TOKEN
from fedtap.metrics.text import Reference, TextScores
from fedtap.tasks.attention import CausalAttention, CrossAttention, FeedForward, KeysValues
from fedtap.tasks.base import Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.tied_softmax import likeliest, sampled_token_losses, token_divergences, token_losses


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the fused tokens, feed-forward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.look_back = CausalAttention(dim, heads)
        self.look_at_input = CrossAttention(dim, heads)
        self.think = FeedForward(dim, 2 * dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Map ``(n, length, dim)`` to the same shape."""
        x = x + self.look_back(x)
        x = x + self.look_at_input(x, memory, mask)
        out: Tensor = x + self.think(x)
        return out

    def step(self, x: Tensor, before: KeysValues | None, memory: KeysValues, mask: Tensor) -> tuple[Tensor, KeysValues]:
        """Return the output at one more position, and what the next one needs of those before it."""
        back, so_far = self.look_back.step(x, before)
        x = x + back
        x = x + self.look_at_input.look(x, memory, mask)
        return x + self.think(x), so_far


class TextHead(nn.Module):
    """Maps embedded tokens so far and the fused input to a hidden vector in the space of the word embeddings, per position."""

    def __init__(self, dim: int, heads: int, layers: int, embedding_dim: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.embed = nn.Linear(embedding_dim, dim)
        self.position = nn.Parameter(torch.empty(length, dim))
        self.memory_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(DecoderLayer(dim, heads) for _ in range(layers))
        self.out_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, embedding_dim)

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Start the positions apart, by a little."""
        self.position.normal_(std=0.02, generator=generator)

    def forward(self, fused: Fused, embedded: Tensor) -> Tensor:
        """Return ``(n, length, embedding_dim)`` for embedded previous tokens of that shape."""
        x = self.embed(embedded) + self.position[: embedded.shape[1]]
        memory = self.memory_norm(fused.tokens)
        for layer in self.layers:
            x = layer(x, memory, fused.mask[:, None, None, :])
        hidden: Tensor = self.out(self.out_norm(x))
        return hidden

    def read(self, fused: Fused) -> list[KeysValues]:
        """Return what each layer looks at in the input, for :meth:`step`."""
        memory = self.memory_norm(fused.tokens)
        return [layer.look_at_input.read(memory) for layer in self._layers()]

    def step(
        self,
        embedded: Tensor,
        place: int,
        before: Sequence[KeysValues | None],
        memory: Sequence[KeysValues],
        mask: Tensor,
    ) -> tuple[Tensor, list[KeysValues]]:
        """Return what :meth:`forward` gives at one place, computed from what the steps before it left.

        Parameters
        ----------
        embedded
            ``(n, embedding_dim)``, the previous tokens.
        place
            The position, from 0.
        before
            What the step before returned beside its output; a None for each layer at the first.
        memory
            What :meth:`read` returned.
        mask
            ``(n, tokens)`` bool, True at tokens of the input.

        Returns
        -------
        tuple
            ``(n, embedding_dim)``, and each layer's keys and values so far.
        """
        x = (self.embed(embedded) + self.position[place])[:, None]
        left: list[KeysValues] = []
        for layer, past, held in zip(self._layers(), before, memory, strict=True):
            x, so_far = layer.step(x, past, held, mask[:, None, None, :])
            left.append(so_far)
        hidden: Tensor = self.out(self.out_norm(x))
        return hidden[:, 0], left

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]


class TextGeneration(TaskType):
    """Write a text, token by token; a target is token ids that end with the end token."""

    name = "text_generation"
    is_distribution = True

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return a decoder."""
        network = sizes.network
        return TextHead(network.dim, network.heads, network.decoder_layers, sizes.embedding_dim, network.answer_tokens)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return hidden vectors ``(n, length, width)`` under teacher forcing: position t has seen the tokens before t."""
        assert words is not None
        start = target.new_full((target.shape[0], 1), words.start_id)
        previous = torch.cat([start, target[:, :-1]], dim=1)
        hidden: Tensor = head(fused, words.embedding[previous.clamp(min=0)])
        return hidden

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Cross-entropy of hidden vectors ``(n, length, width)`` against token ids; padding is ignored.

        With a shortlist it is estimated where a gradient is asked for, and exact everywhere else.
        """
        assert words is not None
        real = target != NO_TOKEN
        if words.shortlist is not None and output.requires_grad:
            flat = sampled_token_losses(output[real], words.embedding, target[real], words.shortlist)
        else:
            flat = token_losses(output[real], words.embedding, target[real])
        total = output.new_zeros(target.shape).masked_scatter(real, flat).sum(dim=1)
        return Losses(total, real.sum(dim=1).to(total.dtype))

    def wrong(self, output: Tensor, target: Tensor, words: Words | None) -> Tensor:
        """Return whether greedy generation would write anything else than the target, ``(n,)``.

        Up to the first token that differs it has seen the target's own, as ``output`` has under teacher forcing.
        """
        assert words is not None
        real = target != NO_TOKEN
        missed = likeliest(output[real], words.embedding, barred=words.pad_id) != target[real]
        return torch.zeros_like(real).masked_scatter(real, missed).any(dim=1)

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return ``tau^2 KL(teacher || student)``, mean over non-padding tokens."""
        assert words is not None
        real = target != NO_TOKEN
        return token_divergences(student[real], teacher[real], words.embedding, temperature).mean()

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> list[str]:
        """Generate greedily, up to the end token or the head's length; the reference, and so ``output``, plays no part."""
        assert words is not None
        return [words.decode(ids) for ids in generate(head, fused, words)]

    def new_scores(self, settings: ScoreSettings) -> TextScores:
        """Return token cross-entropy, perplexity, exact match, chrF, ROUGE-L, and what else the settings ask for."""
        return TextScores(settings.text_metrics)

    def score(
        self,
        scores: TextScores,
        answers: Sequence[str],
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add examples by their token losses, and by their generated texts against what was ``written``, uncut and unspelled."""
        assert words is not None
        losses = self.losses(output, target, words)
        scores.update(losses.total, losses.units, answers, written)


@torch.no_grad()
def generate(head: nn.Module, fused: Fused, words: Words) -> list[list[int]]:
    """Return greedily generated token ids, without the end token.

    The input is read once, and a text that has ended takes no more part.
    """
    assert isinstance(head, TextHead)
    texts: list[list[int]] = [[] for _ in range(len(fused.tokens))]
    writing = list(range(len(texts)))
    memory, mask = head.read(fused), fused.mask
    before: Sequence[KeysValues | None] = [None] * len(memory)
    tokens = torch.full((len(texts),), words.start_id, dtype=torch.long, device=mask.device)
    for place in range(head.length):
        hidden, left = head.step(words.embedding[tokens], place, before, memory, mask)
        logits = hidden @ words.embedding.T
        if words.pad_id is not None:
            logits[:, words.pad_id] = -torch.inf
        tokens = logits.argmax(dim=-1)
        goes_on = tokens != words.end_id
        for row, token in zip(writing, tokens.tolist(), strict=True):
            if token != words.end_id:
                texts[row].append(token)
        if not bool(goes_on.all()):
            writing = [row for row, more in zip(writing, goes_on.tolist(), strict=True) if more]
            if not writing:
                break
            tokens, mask = tokens[goes_on], mask[goes_on]
            memory, left = ([(k[goes_on], v[goes_on]) for k, v in held] for held in (memory, left))
        before = left
    return texts
