"""Reconstruction of a 64 x 64 picture from its fused tokens: mean squared error in the normalised image space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.tasks.attention import CrossAttention, FeedForward
from fedtap.tasks.base import Fused, HeadSizes, Losses, TaskType, Words
from fedtap.tasks.metrics import ReconstructionScores

GRID, PATCH = 8, 8  # GRID x GRID places of PATCH x PATCH pixels: 64 x 64
CANVAS = 10.0
CHANNELS = (64, 32, 16, 3)


class Upsampler(nn.Sequential):
    """Three transposed convolutions, ``(n, 64, 8, 8)`` to ``(n, 3, 64, 64)``."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [nn.ConvTranspose2d(CHANNELS[i], CHANNELS[i + 1], 4, stride=2, padding=1), nn.GELU()]
        super().__init__(*layers[:-1])


class GridHead(nn.Module):
    """Each of 8 x 8 places asks the fused tokens for what it needs (cross-attention), then paints its own 8 x 8 pixels.

    One pooled vector was worse than the mean picture: it has lost where things are. Here a place starts by looking at the
    tokens nearest to it. What all pictures have in common is a canvas of its own, which learns ``CANVAS`` times as fast: Adam
    moves a parameter by no more than the rate a step, and a few dozen steps would not reach the mean picture.
    """

    def __init__(self, dim: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.places = nn.Parameter(torch.empty(GRID * GRID, dim))
        self.nearness = nn.Parameter(torch.empty(heads, GRID * GRID, tokens))
        self.memory_norm = nn.LayerNorm(dim)
        self.ask = CrossAttention(dim, heads)
        self.think = FeedForward(dim, 2 * dim)
        self.out_norm = nn.LayerNorm(dim)
        self.paint = nn.Linear(dim, 3 * PATCH * PATCH)
        self.canvas = nn.Parameter(torch.empty(3, GRID * PATCH, GRID * PATCH))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Start the places apart from each other, each near its tokens."""
        self.places.normal_(generator=generator)
        self.canvas.zero_()
        self.nearness.copy_(_nearness(self.nearness.shape[-1]).expand_as(self.nearness))

    def forward(self, fused: Fused) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``."""
        n = fused.tokens.shape[0]
        places = self.places.expand(n, -1, -1)
        hidden = torch.finfo(places.dtype).min
        bias = self.nearness.masked_fill(~fused.mask[:, None, None, :], hidden)
        places = places + self.ask(places, self.memory_norm(fused.tokens), bias)
        places = places + self.think(places)
        patches = self.paint(self.out_norm(places)).transpose(1, 2)
        painted = F.fold(patches, (GRID * PATCH, GRID * PATCH), kernel_size=PATCH, stride=PATCH)
        return painted + CANVAS * self.canvas


def _nearness(tokens: int) -> Tensor:
    """Return ``(GRID * GRID, tokens)`` attention logits that fall with the squared distance, in token widths, on a square grid.

    Tokens that make no square grid (a class token among them) are equally near to every place.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        return torch.zeros(GRID * GRID, tokens)
    centres, own = ((torch.arange(k) + 0.5) / k for k in (side, GRID))
    apart = (own[:, None] - centres[None, :]).square() * side**2
    both = apart[:, None, :, None] + apart[None, :, None, :]
    return -2.0 * both.reshape(GRID * GRID, tokens)


class PooledHead(nn.Module):
    """The paper's head: one pooled vector, a linear map to 64 x 8 x 8, three transposed convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.spread = nn.Linear(dim, CHANNELS[0] * GRID * GRID)
        self.upsample = Upsampler()

    def forward(self, fused: Fused) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``."""
        spread = self.spread(self.norm(fused.pooled()))
        picture: Tensor = self.upsample(spread.unflatten(1, (CHANNELS[0], GRID, GRID)))
        return picture


class Reconstruction(TaskType):
    """Give the picture back; a target is the picture ``(3, 64, 64)`` in [-1, 1]."""

    name = "reconstruction"

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return the head that ``network.reconstruction.head`` names."""
        network = sizes.network
        if network.reconstruction.head == "pooled":
            return PooledHead(network.dim)
        return GridHead(network.dim, network.heads, sizes.vision_tokens)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``."""
        pictures: Tensor = head(fused)
        return pictures

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Mean squared error over pixels and channels, per example."""
        total = (output - target).square().flatten(1).mean(dim=1)
        return Losses(total, torch.ones_like(total))

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return the squared error to the teacher's picture: a softmax over pixels would mean nothing."""
        return F.mse_loss(student, teacher)

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)`` in [-1, 1]."""
        pictures: Tensor = head(fused) if output is None else output
        return pictures.clamp(-1, 1)

    def new_scores(self, classes: int) -> ReconstructionScores:
        """Return MSE, PSNR and SSIM."""
        return ReconstructionScores()

    def score(
        self,
        scores: ReconstructionScores,
        head: nn.Module,
        fused: Fused,
        output: Tensor,
        target: Tensor,
        words: Words | None,
    ) -> None:
        """Add examples by their pictures."""
        scores.update(output, target)
