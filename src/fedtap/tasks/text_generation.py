"""Text generation: a small autoregressive decoder that attends to the fused tokens, tied to the tower's frozen embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedtap.tasks.attention import CausalAttention, CrossAttention, FeedForward
from fedtap.tasks.base import Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.metrics import TextScores
from fedtap.tasks.tied_softmax import token_divergences, token_losses


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


class TextGeneration(TaskType):
    """Write a text, token by token; a target is token ids that end with the end token."""

    name = "text_generation"

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return a decoder."""
        network = sizes.network
        return TextHead(network.dim, network.heads, network.decoder_layers, sizes.embedding_dim, network.answer_tokens)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return hidden vectors ``(n, length, width)`` under teacher forcing: position t has seen the tokens before t."""
        assert words is not None
        start = target.new_full((target.shape[0], 1), words.start_id)
        previous = torch.cat([start, target[:, :-1]], dim=1)
        hidden: Tensor = head(fused, words.embedding[previous])
        return hidden

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Cross-entropy of hidden vectors ``(n, length, width)`` against token ids; padding is ignored."""
        assert words is not None
        real = target != words.pad_id
        flat = token_losses(output[real], words.embedding, target[real])
        total = output.new_zeros(target.shape).masked_scatter(real, flat).sum(dim=1)
        return Losses(total, real.sum(dim=1).to(total.dtype))

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return ``tau^2 KL(teacher || student)``, mean over non-padding tokens."""
        assert words is not None
        real = target != words.pad_id
        return token_divergences(student[real], teacher[real], words.embedding, temperature).mean()

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> list[str]:
        """Generate greedily, up to the end token or the head's length; the reference, and so ``output``, plays no part."""
        assert words is not None
        return [words.decode(ids) for ids in generate(head, fused, words)]

    def new_scores(self, settings: ScoreSettings) -> TextScores:
        """Return token cross-entropy, perplexity, exact match, chrF, ROUGE-L, and what else the settings ask for."""
        return TextScores(settings.text_metrics)

    def score(
        self, scores: TextScores, head: nn.Module, fused: Fused, output: Tensor, target: Tensor, words: Words | None
    ) -> None:
        """Add examples by their token losses and generated texts; references are cut to the longest target like them."""
        assert words is not None
        losses = self.losses(output, target, words)
        references = [words.decode(_cut(ids, words)) for ids in target.tolist()]
        scores.update(losses.total, losses.units, self.answers(head, fused, None, words), references)


@torch.no_grad()
def generate(head: nn.Module, fused: Fused, words: Words) -> list[list[int]]:
    """Return greedily generated token ids, without the end token."""
    assert isinstance(head, TextHead)
    n = fused.tokens.shape[0]
    tokens = torch.full((n, 1), words.start_id, dtype=torch.long, device=fused.tokens.device)
    done = torch.zeros(n, dtype=torch.bool, device=tokens.device)
    for _ in range(head.length):
        hidden = head(fused, words.embedding[tokens])[:, -1]
        logits = hidden @ words.embedding.T
        logits[:, words.pad_id] = -torch.inf
        following = logits.argmax(dim=-1).masked_fill(done, words.pad_id)
        tokens = torch.cat([tokens, following[:, None]], dim=1)
        done |= following == words.end_id
        if bool(done.all()):
            break
    return [_cut(row, words) for row in tokens[:, 1:].tolist()]


def _cut(ids: list[int], words: Words) -> list[int]:
    """Return the ids before the end token."""
    stop = next((i for i, token in enumerate(ids) if token in (words.end_id, words.pad_id)), len(ids))
    return ids[:stop]
