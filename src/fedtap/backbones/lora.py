r"""The part of a frozen encoder that runs at every step, with low-rank adapters that a component holds.

LoRA (Hu et al. 2021, arXiv 2106.09685) through peft: :math:`x W + \frac{\alpha}{r}\, dropout(x) A B` on some linear maps, by
default the query and value projections, of every layer from the first adapted one on. What lies before that layer never changes:
it is computed once per example and cached, or, where it is the embeddings alone, at each step, which is cheaper than to store it.
A convolution is a linear map of what lies under its kernel, and is adapted as one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.backbones.dropout import dropped_product


@dataclass(frozen=True, slots=True)
class Adapters:
    """The low-rank adapters of an encoder, known without its weights.

    Parameters
    ----------
    first
        The first layer that runs at every step, from 0: what lies before is computed once per example.
    matrices
        Name of each adapted matrix -> its (inputs, outputs); none where an encoder merely runs at every step.
    rank, alpha, dropout
        Of every adapter.
    """

    first: int
    matrices: Mapping[str, tuple[int, int]]
    rank: int = 1
    alpha: float = 1.0
    dropout: float = 0.0

    @property
    def raw(self) -> bool:
        """Whether even the first layer runs at every step, so that nothing but the embeddings lies before."""
        return self.first == 0

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return each adapter matrix's shape by name: A ``(inputs, rank)``, B ``(rank, outputs)``, as in the fusion.

        >>> Adapters(0, {"patch": (12, 8)}, rank=2, alpha=4).shapes()
        {'patch_A': (12, 2), 'patch_B': (2, 8)}
        """
        shapes: dict[str, tuple[int, int]] = {}
        for name, (inputs, outputs) in self.matrices.items():
            shapes |= {f"{name}_A": (inputs, self.rank), f"{name}_B": (self.rank, outputs)}
        return shapes


class Encoder(Protocol):
    """A frozen encoder in parts, e.g. :class:`~fedtap.backbones.encoders.SplitEncoder`."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the hidden states before the first layer."""

    def run(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None, *, recompute: bool = False
    ) -> Tensor:
        """Return hidden states after some of the layers."""

    def close(self, hidden: Tensor) -> Tensor:
        """Return the last hidden states."""

    def place(self, name: str) -> str:
        """Return the path of the linear map that an adapter of this name adapts."""


class Factor(nn.Module):
    """A product with a matrix ``(inputs, outputs)`` that somebody else holds, in the place of peft's own.

    With a ``dropout`` it drops out what goes into it in training, in the place of peft's own dropout before it.
    """

    def __init__(self, weight: nn.Parameter, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = weight
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., outputs)``."""
        return dropped_product(x, self.weight, self.dropout if self.training else 0.0)


class ConvolvedFactor(Factor):
    """A factor beside a convolution: the first one has its kernel, stride and padding, the second is a map of channels.

    The first matrix is ``(channels * kernel, rank)``, the second ``(rank, outputs)``.
    """

    def __init__(self, weight: nn.Parameter, dropout: float = 0.0, *, under: nn.Conv2d | None = None) -> None:
        super().__init__(weight, dropout)
        self._kernel = (self.weight.shape[0], 1, 1) if under is None else under.weight.shape[1:]
        self._steps = {} if under is None else {key: getattr(under, key) for key in ("stride", "padding", "dilation")}

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, height, width)`` to ``(n, outputs, ...)``."""
        left = F.dropout(x, self.dropout, self.training)
        return F.conv2d(left, self.weight.T.reshape(-1, *self._kernel), **self._steps)


class AdaptedLayers(nn.Module):
    """An encoder from its first adapted layer on.

    The frozen tensors are those of ``encoder`` itself and are not copied: any number of networks may adapt one encoder. The
    adapters' matrices come from outside (:meth:`hold`), since they belong to a component.

    Parameters
    ----------
    encoder
        The frozen encoder, whole.
    adapters
        Where and how it is adapted.
    """

    def __init__(self, encoder: nn.Module, adapters: Adapters) -> None:
        super().__init__()
        self.adapters = adapters
        self.recompute = False
        """Whether a layer is computed again in the backward pass instead of being kept."""
        shared = {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
        twin = copy.deepcopy(encoder, shared)  # the structure is new, the tensors are the encoder's own
        paths = {name: cast(Encoder, twin).place(name) for name in adapters.matrices}
        if paths:
            from peft import LoraConfig, inject_adapter_in_model

            config = LoraConfig(
                r=adapters.rank,
                lora_alpha=adapters.alpha,  # type: ignore[arg-type]  # peft divides by the rank; a fraction will do
                lora_dropout=0.0,  # the first factor drops out what goes into it
                target_modules=list(paths.values()),
            )
            inject_adapter_in_model(config, twin, low_cpu_mem_usage=True)  # without memory: hold() gives the matrices
        self._encoder = twin
        self._paths = paths
        self._places = {name: twin.get_submodule(path) for name, path in paths.items()}
        self.train(self.training)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, in parts, with its adapters."""
        return self._encoder

    def adapted(self) -> dict[str, nn.Module]:
        """Return what stands in the place of each adapted linear map, peft's own layer, by its path in :attr:`encoder`."""
        return {path: self._places[name] for name, path in self._paths.items()}

    def hold(self, matrices: Mapping[str, nn.Parameter]) -> None:
        """Use these matrices, named and shaped as in :meth:`Adapters.shapes`, from now on; they stay who they are."""
        for name, layer in self._places.items():
            first, second = (matrices[f"{name}_{side}"] for side in "AB")
            base = layer.base_layer
            factors: tuple[Factor, Factor]
            if isinstance(base, nn.Conv2d):
                factors = (ConvolvedFactor(first, self.adapters.dropout, under=base), ConvolvedFactor(second))
            else:
                factors = (Factor(first, self.adapters.dropout), Factor(second))
            for side, factor in zip("AB", factors, strict=True):
                cast(nn.ModuleDict, layer.get_submodule(f"lora_{side}"))["default"] = factor
        self.train(self.training)

    def train(self, mode: bool = True) -> AdaptedLayers:
        """Set the mode of the adapters; the frozen encoder stays in evaluation mode (dropout, running means, shifted places)."""
        super().train(False)
        self.training = mode
        for part in self._encoder.modules():
            if isinstance(part, Factor):
                part.train(mode)
        return self

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Return the encoder's last hidden states ``(n, tokens, dim)``.

        ``inputs`` are what the prefix gave, ``(n, tokens, dim)``; pixels or token ids where every layer is adapted. ``mask`` is
        ``(n, tokens)`` bool, True at real tokens, or None where all are.
        """
        encoder = cast(Encoder, self._encoder)
        hidden = encoder.embed(inputs) if self.adapters.raw else inputs
        return encoder.close(encoder.run(hidden, mask, start=self.adapters.first, recompute=self.recompute))
