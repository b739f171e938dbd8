"""Reconstruction of a 64 x 64 picture from its fused tokens: mean squared error in the normalised image space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.metrics.reconstruction import ReconstructionScores
from fedtap.metrics.text import Reference
from fedtap.tasks.base import ClosedForm, Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.sketch_fit import SIZE, SKETCH, SketchFit
from fedtap.tasks.token_grid import grid_side, pool_grid

PLACES = 4  # a side, at the most
SKETCH_SCALE, CANVAS_SCALE = 2.0, 10.0
GRID = 8  # the paper's decoder starts from GRID x GRID places and doubles three times
CHANNELS = (64, 32, 16, 3)


class Upsampler(nn.Sequential):
    """Three transposed convolutions, ``(n, 64, 8, 8)`` to ``(n, 3, 64, 64)``."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [nn.ConvTranspose2d(CHANNELS[i], CHANNELS[i + 1], 4, stride=2, padding=1), nn.GELU()]
        super().__init__(*layers[:-1])


class GridHead(nn.Module):
    """All tokens at their places, drawn together into one vector; from it a 16 x 16 sketch, enlarged, on a canvas.

    One vector pooled over the picture was worse than the mean picture: it has lost where things are. A decoder of transposed
    convolutions, or of places that attend to the tokens, stayed at the mean picture for as many steps as a small client takes;
    a nearly linear way from places to pixels does not. What all pictures have in common is a canvas of its own. Canvas and sketch
    are scaled, so that a few dozen steps of Adam, which move a parameter by no more than the rate each, can reach them.
    """

    def __init__(self, dim: int, side: int, lead: int = 0) -> None:
        super().__init__()
        self.lead = lead
        self.kept = min(side, PLACES)
        self.norm = nn.LayerNorm(dim)
        self.gather = nn.Linear(dim * self.kept**2, dim)
        self.sketch = nn.Linear(dim, 3 * SKETCH * SKETCH)
        self.canvas = nn.Parameter(torch.empty(3, SIZE, SIZE))

    @torch.no_grad()
    def start(self, _generator: torch.Generator) -> None:
        """Start with a grey picture: a random sketch would be noise that takes dozens of steps to unlearn."""
        self.sketch.weight.zero_()
        self.canvas.zero_()

    def forward(self, fused: Fused) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)``; the tokens after the leading ones are those of the grid, row by row."""
        sketch = self.sketch(self.features(fused)).unflatten(1, (3, SKETCH, SKETCH))
        enlarged = F.interpolate(SKETCH_SCALE * sketch, size=SIZE, mode="bilinear", align_corners=False)
        return enlarged + CANVAS_SCALE * self.canvas

    def features(self, fused: Fused) -> Tensor:
        """Return what the sketch is linear in, ``(n, dim)``."""
        gathered: Tensor = self.gather(self.norm(pool_grid(fused.tokens[:, self.lead :], self.kept)).flatten(1))
        return gathered + F.gelu(gathered)


class GridFit:
    """The closed form of a :class:`GridHead`: its sketch and canvas, the features as they are."""

    def __init__(self, head: GridHead) -> None:
        self._head = head
        self._start = head.sketch.weight.detach().clone(), head.canvas.detach().clone()
        self._fit = SketchFit(head.sketch.in_features, SKETCH_SCALE)

    @torch.no_grad()
    def add(self, fused: Fused, output: Tensor, target: Tensor) -> None:
        """Add examples of the head as it is."""
        self._fit.add(self._head.features(fused), target - output)

    @torch.no_grad()
    def write(self, strength: float) -> None:
        """Set sketch and canvas to the optimum; biases of the sketch stay, since the canvas does what they do."""
        weight, canvas = self._fit.solve(strength)
        self._head.sketch.weight.copy_(self._start[0] + weight.to(self._start[0]))
        self._head.canvas.copy_(self._start[1] + (canvas / CANVAS_SCALE).to(self._start[1]))


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
    is_distribution = False

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return the head that ``network.reconstruction.head`` names; without a square grid of tokens it is the pooled one."""
        side = grid_side(sizes.modality, sizes.vision_tokens - sizes.vision_lead)
        if sizes.network.reconstruction.head == "grid" and side is not None:
            return GridHead(sizes.network.dim, side, sizes.vision_lead)
        return PooledHead(sizes.network.dim)

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

    def closed_form(self, head: nn.Module) -> ClosedForm | None:
        """Return that of a grid head; the pooled head is not linear behind its features."""
        return GridFit(head) if isinstance(head, GridHead) else None

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Tensor:
        """Return pictures ``(n, 3, 64, 64)`` in [-1, 1]."""
        pictures: Tensor = head(fused) if output is None else output
        return pictures.clamp(-1, 1)

    def new_scores(self, settings: ScoreSettings) -> ReconstructionScores:
        """Return MSE, PSNR and SSIM."""
        return ReconstructionScores()

    def score(
        self,
        scores: ReconstructionScores,
        answers: Any,
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add examples by their pictures."""
        scores.update(output, target)
