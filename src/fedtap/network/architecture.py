"""What an architecture is: which components a client's pairs call for, how each is built, and how a batch runs through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedtap.backbones.base import Backbone, BackboneSpec
from fedtap.batch import Batch
from fedtap.pairs import ComponentKey, Modality, Pair
from fedtap.scenario.scenario import NetworkSettings
from fedtap.scenario.unit import Scale
from fedtap.tasks.base import Fused, Words


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """What a head is for: its task type's name, what goes in, the number of classes where it has some, the scale of a number."""

    type: str
    modality: Modality
    classes: int
    scale: Scale | None = None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that the shapes of components depend on; known without data and without weights."""

    backbone: BackboneSpec
    network: NetworkSettings
    heads: Mapping[str, HeadInfo]


@dataclass(frozen=True, slots=True)
class Stream:
    """What the fusion made of one modality of a pair's examples, path by path, before the paths are averaged.

    ``routes`` names the paths, ``tokens`` is ``(paths, n, tokens, dim)``, ``mask`` ``(n, tokens)`` bool, True at tokens.
    ``direction`` ``(n, dim)`` is what gates saw of the examples (:func:`fedtap.network.blocks.direction`), where there are any.
    """

    modality: Modality
    routes: tuple[str, ...]
    tokens: Tensor
    mask: Tensor
    direction: Tensor | None = None

    def path(self, route: str) -> Fused:
        """Return what the path with this name made of the examples.

        Raises
        ------
        ValueError
            If there is no such path.
        """
        return Fused(self.tokens[self.routes.index(route)], self.mask)

    def float(self) -> Stream:
        """Return it in float32."""
        return replace(self, tokens=self.tokens.float())


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a model made of the examples of one pair: the head that spoke, its fused input, and its raw output.

    ``streams`` are the modalities that ran through the fusion one by one; there are none in an architecture without a fusion.
    """

    head: nn.Module
    fused: Fused
    output: Tensor
    streams: Sequence[Stream] = ()

    def float(self) -> TaskOutput:
        """Return it in float32, in which losses are computed."""
        fused = replace(self.fused, tokens=self.fused.tokens.float())
        return TaskOutput(self.head, fused, self.output.float(), [stream.float() for stream in self.streams])


class Architecture(ABC):
    """An architecture over a backbone's features; implementations hold no trainable state.

    Parameters
    ----------
    blueprint
        All that shapes depend on.
    backbone
        Where frozen layers come from; a plan does without.
    """

    name: str
    frozen_towers: ClassVar[bool] = False
    """Whether it looks at the towers' features alone, once made, and so cannot train anything within the towers."""

    def __init__(self, blueprint: Blueprint, backbone: Backbone | None = None) -> None:
        self.blueprint = blueprint

    @abstractmethod
    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        """Return the components that one task's forward pass runs through; empty where the architecture cannot serve it."""

    def plan(self, pairs: Iterable[Pair]) -> frozenset[ComponentKey]:
        """Return the union of the paths of a client's tasks."""
        pairs = tuple(pairs)
        return frozenset().union(*(self.path(pairs, pair.task) for pair in pairs))

    def served(self, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        """Return the pairs that this architecture can serve."""
        pairs = tuple(pairs)
        return tuple(pair for pair in pairs if self.path(pairs, pair.task))

    @abstractmethod
    def build(self, key: ComponentKey) -> nn.Module:
        """Return a component's module, its values not yet set."""

    @abstractmethod
    def start(self, key: ComponentKey, module: nn.Module, seed: int) -> None:
        """Set a component's values to its start, which depends on the key and the seed alone."""

    @abstractmethod
    def forward(
        self,
        batch: Batch,
        components: Mapping[ComponentKey, nn.Module],
        frozen: nn.ModuleDict,
        words: Words | None,
    ) -> Sequence[TaskOutput]:
        """Run each task batch through the components that its route names."""

    def frozen_modules(self, seed: int, components: Mapping[ComponentKey, nn.Module]) -> nn.ModuleDict:
        """Return the frozen layers that components adapt, if any."""
        return nn.ModuleDict()

    def shapes(self, key: ComponentKey) -> dict[str, torch.Size]:
        """Return the shape of each of a component's tensors by name, without allocating it."""
        with torch.device("meta"):
            return {name: parameter.shape for name, parameter in self.build(key).named_parameters()}
