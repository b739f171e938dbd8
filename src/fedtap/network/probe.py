"""The probe's architecture: logistic regression on the frozen towers' pooled features. Classification only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.batch import Batch, TaskBatch
from fedtap.network.architecture import Architecture, TaskOutput
from fedtap.pairs import ComponentKey, Pair
from fedtap.tasks.base import Fused, Words


def probe_features(part: TaskBatch) -> Tensor:
    """Return ``(n, features)``: the masked mean of each tower's tokens, normalised without parameters, side by side."""
    pooled: list[Tensor] = []
    if part.image is not None:
        pooled.append(part.image.mean(dim=1))
    if part.text is not None and part.text_mask is not None:
        pooled.append(Fused(part.text, part.text_mask).pooled())
    return torch.cat([F.layer_norm(x, x.shape[-1:]) for x in pooled], dim=1)


def probe_key(pair: Pair) -> ComponentKey:
    """Return the key of a pair's probe."""
    return ComponentKey("probe", (pair.modality, pair.head))


class ProbeHead(nn.Linear):
    """A linear map of pooled features to logits; it starts at zero."""

    @torch.no_grad()
    def start(self) -> None:
        """Start at zero: every class equally likely."""
        self.weight.zero_()
        self.bias.zero_()


class Probe(Architecture):
    """One linear classifier per head and modality; other task types have no path here."""

    name = "probe"
    frozen_towers = True

    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        """Return the task's probe, or nothing where the task is no classification."""
        return frozenset(probe_key(pair) for pair in pairs if pair.task == task and pair.type == "classification")

    def build(self, key: ComponentKey) -> nn.Module:
        """Return a linear map."""
        modality, head = key.names
        spec = self.blueprint.backbone
        width = {"image": spec.vision_dim, "text": spec.text_dim, "image+text": spec.vision_dim + spec.text_dim}
        return ProbeHead(width[modality], self.blueprint.heads[head].classes)

    def start(self, key: ComponentKey, module: nn.Module, seed: int) -> None:
        """Start at zero, whatever the seed."""
        assert isinstance(module, ProbeHead)
        module.start()

    def forward(
        self,
        batch: Batch,
        components: Mapping[ComponentKey, nn.Module],
        frozen: nn.ModuleDict,
        words: Words | None,
    ) -> Sequence[TaskOutput]:
        """Return logits of the pooled features."""
        outputs: list[TaskOutput] = []
        for part in batch:
            features = probe_features(part)
            head = components[probe_key(part.pair)]
            fused = Fused(features[:, None], torch.ones(len(part), 1, dtype=torch.bool, device=features.device))
            outputs.append(TaskOutput(head, fused, head(features)))
        return outputs
