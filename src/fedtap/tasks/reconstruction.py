"""Reconstruction of a 64 x 64 picture from its fused tokens: mean squared error in the normalised image space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.tasks.attention import CrossAttention, FeedForward
from fedtap.tasks.base import Fused, HeadSizes, Losses, TaskType, Words
from fedtap.tasks.metrics import ReconstructionScores

GRID = 8  # the decoder starts from GRID x GRID places and doubles three times: 64 x 64
CHANNELS = (64, 32, 16, 3)


class Upsampler(nn.Sequential):
    """Three transposed convolutions, ``(n, 64, 8, 8)`` to ``(n, 3, 64, 64)``."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [nn.ConvTranspose2d(CHANNELS[i], CHANNELS[i + 1], 4, stride=2, padding=1), nn.GELU()]
        super().__init__(*layers[:-1])


class GridHead(nn.Module):
    """Each of 8 x 8 places asks the fused tokens for what it needs (cross-attention), then the places are upsampled.

    One pooled vector was worse than the mean picture: it has lost where things are.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(GRID * GRID, dim))
        self.norm = nn.LayerNorm(dim)
        self.ask = CrossAttention(dim, heads)
        self.think = FeedForward(dim, 2 * dim)
        self.out_norm = nn.LayerNorm(dim)
        self.to_channels = nn.Linear(dim, CHANNELS[0])
        self.upsample = Upsampler()

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Start the places apart from each other."""
        self.places.normal_(std=0.5, generator=generator)

    def forward(self, fused: Fused) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``."""
        n = fused.tokens.shape[0]
        places = self.places.expand(n, -1, -1)
        places = places + self.ask(places, self.norm(fused.tokens), fused.mask)
        places = places + self.think(places)
        channels = self.to_channels(self.out_norm(places)).transpose(1, 2)
        picture: Tensor = self.upsample(channels.reshape(n, CHANNELS[0], GRID, GRID))
        return picture


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
        return GridHead(network.dim, network.heads)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``."""
        pictures: Tensor = head(fused)
        return pictures

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Mean squared error over pixels and channels, per example."""
        total = (output - target).square().flatten(1).mean(dim=1)
        return Losses(total, torch.ones_like(total))

    def distance(self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float) -> Tensor:
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
