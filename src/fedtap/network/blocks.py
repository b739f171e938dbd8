"""The three kinds of fusion component: attention of a block, feed-forward expert, domain expert.

Each module holds the parameters of one component, stacked over the L layers of its stack; the products are in ``fusion.py``,
where the components that a batch needs are stacked, so that several are one product. With ``adaptation: full`` the components
hold the layers themselves, with ``lora`` low-rank adapters of frozen layers (:class:`FrozenLayers`), with ``dual`` and
``dual_near`` two of them and a gate, and with ``colora`` only the small inner factors of such adapters, whose outer factors are
frozen with the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedtap.network.initialisation import orthogonal, xavier
from fedtap.scenario.scenario import NetworkSettings

LayerWeights = Mapping[str, Tensor]
"""A pre-norm transformer layer in canonical names: ``ln1_w ln1_b q_w q_b k_w k_b v_w v_b o_w o_b ln2_w ln2_b up_w up_b down_w
down_b``; matrices are (in, out)."""

ATTENTION_NAMES = ("ln1_w", "ln1_b", "q_w", "q_b", "k_w", "k_b", "v_w", "v_b", "o_w", "o_b", "ln2_w", "ln2_b")
EXPERT_NAMES = ("up_w", "up_b", "down_w", "down_b")
ADAPTED_ATTENTION, ADAPTED_EXPERT = ("q_w", "v_w"), ("up_w", "down_w")
"""The matrices that low-rank adapters adapt."""


def layer_shapes(dim: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each canonical tensor of a layer."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (dim, dim) if name.endswith("_w") else (dim,) for name in ATTENTION_NAMES
    }
    shapes |= {"ln1_w": (dim,), "ln2_w": (dim,)}
    return shapes | {"up_w": (dim, hidden), "up_b": (hidden,), "down_w": (hidden, dim), "down_b": (dim,)}


def seeded_layer(settings: NetworkSettings, generator: torch.Generator, *, silent: bool) -> dict[str, Tensor]:
    """Return a fresh layer; ``silent`` starts both residual branches at zero, so that the layer passes its input through."""
    layer: dict[str, Tensor] = {}
    for name, shape in layer_shapes(settings.dim, settings.expert_dim).items():
        if name in ("ln1_w", "ln2_w"):
            layer[name] = torch.ones(shape)
        elif name.endswith("_b") or (silent and name in ("o_w", "down_w")):
            layer[name] = torch.zeros(shape)
        else:
            layer[name] = xavier(shape, generator)
    return layer


@dataclass(frozen=True, slots=True)
class StackStart:
    """The L layers that a stack (MoTE or MoME) starts from, each tensor stacked to ``(L, ...)``."""

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, layers: Sequence[LayerWeights]) -> StackStart:
        """Stack a sequence of layers."""
        return cls({name: torch.stack([layer[name] for layer in layers]) for name in (*ATTENTION_NAMES, *EXPERT_NAMES)})


class FrozenLayers(nn.Module):
    """A stack's frozen layers, as buffers that belong to no component: never trained, sent, averaged or saved.

    ``beside`` are further frozen tensors of the stack, e.g. :func:`outer_factors`.
    """

    def __init__(self, start: StackStart, beside: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        for name, tensor in {**start.tensors, **(beside or {})}.items():
            self.register_buffer(name, tensor.clone(), persistent=False)


def outer_factors(settings: NetworkSettings, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the frozen factors ``*_A`` ``(L, in, rank)`` and ``*_B`` ``(L, rank, out)`` that all adapters of a stack share.

    The columns of A and the rows of B are orthonormal where the rank is not larger than the matrix.
    """
    shapes = layer_shapes(settings.dim, settings.expert_dim)
    layers = range(settings.layers)
    factors: dict[str, Tensor] = {}
    for name in (*ADAPTED_ATTENTION, *ADAPTED_EXPERT):
        (rows, columns), (rank, _) = shapes[name], settings.low_rank(name)
        factors[f"{name}_A"] = torch.stack([orthogonal(rows, rank, generator) for _ in layers])
        factors[f"{name}_B"] = torch.stack([orthogonal(rank, columns, generator) for _ in layers])
    return factors


class FullWeights(nn.Module):
    """Trainable tensors of a stack's layers under their canonical names: those of attention, or those of an expert."""

    def __init__(self, names: Sequence[str], settings: NetworkSettings) -> None:
        super().__init__()
        shapes = layer_shapes(settings.dim, settings.expert_dim)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.empty(settings.layers, *shapes[name])))

    @torch.no_grad()
    def copy_start(self, start: StackStart) -> None:
        """Start from given layers."""
        for name, parameter in self.named_parameters():
            parameter.copy_(start.tensors[name])


class LowRank(nn.Module):
    """Low-rank adapters of named frozen matrices (LoRA, Hu et al. 2021, arXiv 2106.09685): ``x W + (alpha/r) x A B``.

    ``A`` starts random and ``B`` at zero, so that the adapted layer starts as the frozen one. The adapter is applied once, on
    the very input of the frozen matrix.
    """

    def __init__(self, names: Sequence[str], settings: NetworkSettings) -> None:
        super().__init__()
        shapes = layer_shapes(settings.dim, settings.expert_dim)
        for name in names:
            (rows, columns), (rank, _) = shapes[name], settings.low_rank(name)
            self.register_parameter(f"{name}_A", nn.Parameter(torch.empty(settings.layers, rows, rank)))
            self.register_parameter(f"{name}_B", nn.Parameter(torch.empty(settings.layers, rank, columns)))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw A, zero B."""
        for name, parameter in self.named_parameters():
            parameter.copy_(
                torch.zeros(parameter.shape) if name.endswith("_B") else xavier(tuple(parameter.shape), generator)
            )


class DualLowRank(LowRank):
    r"""Two low-rank adapters a matrix, mixed by an input's gate: ``x W + (alpha/r) (g x A B + (1 - g) x A' B')``.

    A and B are the first adapter, ``*_shared_A`` and ``*_shared_B`` (A', B') the second: what each is for is the method's to say.
    g in [0, 1] is one number for each example, component and layer, of the example's direction (:func:`direction`):
    :math:`g = a(\langle w, d(x) \rangle + b)` with ``gate_w`` ``(L, dim)`` and ``gate_b`` ``(L,)``, and a of :func:`gated`. No
    gradient flows through the direction. Both second factors, w and b start at zero.
    """

    def __init__(self, names: Sequence[str], settings: NetworkSettings) -> None:
        super().__init__(names, settings)
        for name, parameter in list(self.named_parameters()):
            matrix, side = name[:-2], name[-1]
            self.register_parameter(f"{matrix}_shared_{side}", nn.Parameter(torch.empty_like(parameter)))
        self.gate_w = nn.Parameter(torch.empty(settings.layers, settings.dim))
        self.gate_b = nn.Parameter(torch.empty(settings.layers))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw both A, zero the rest."""
        for name, parameter in self.named_parameters():
            parameter.copy_(
                xavier(tuple(parameter.shape), generator) if name.endswith("_A") else torch.zeros(parameter.shape)
            )


def direction(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return what a gate sees of examples: the mean of their real tokens, of length one, ``(n, dim)``, without a gradient."""
    real = mask[..., None].to(tokens.dtype)
    return nn.functional.normalize((tokens.detach() * real).sum(dim=1), dim=-1)


def gated(logits: Tensor, adaptation: str) -> Tensor:
    """Return the first adapter's share: the sigmoid (``dual``), or the number itself within [0, 1] (``dual_near``)."""
    return logits.clamp(0.0, 1.0) if adaptation == "dual_near" else logits.sigmoid()


class InnerFactors(nn.Module):
    """The small factors of adapters whose outer ones are frozen (Co-LoRA, arXiv 2506.11024): ``x W + (alpha/r) (x A P + Q) B``.

    ``P`` ``(rank, rank)`` and ``Q`` ``(rank,)`` per matrix and layer start at zero, hence so does the adapter. Since A and B are
    the same for everybody, the adapter is linear in what is trained: the mean of factors is the factor of the mean.
    """

    def __init__(self, names: Sequence[str], settings: NetworkSettings) -> None:
        super().__init__()
        for name in names:
            rank, _ = settings.low_rank(name)
            self.register_parameter(f"{name}_P", nn.Parameter(torch.empty(settings.layers, rank, rank)))
            self.register_parameter(f"{name}_Q", nn.Parameter(torch.empty(settings.layers, rank)))

    @torch.no_grad()
    def start(self, _generator: torch.Generator) -> None:
        """Zero both."""
        for parameter in self.parameters():
            parameter.zero_()


class DomainExpert(nn.Module):
    """A domain's adapters of queries and values (MoDE), for both stacks: ``E(n) = up(gelu(down(n)))``, zero at the start.

    Difference from the paper: there E is a whole feed-forward layer with LoRA, whose frozen part would move queries and values
    away from the pretrained layer before any training; here an untrained domain changes nothing.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        lead = (2, settings.layers, 2)  # stack; layer; query or value
        self.down = nn.Parameter(torch.empty(*lead, settings.dim, settings.domain_dim))
        self.up = nn.Parameter(torch.empty(*lead, settings.domain_dim, settings.dim))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw ``down``, zero ``up``."""
        self.down.copy_(xavier(tuple(self.down.shape), generator))
        self.up.zero_()

    def forward(self, n: Tensor, stack: int, layer: int) -> tuple[Tensor, Tensor]:
        """Return what is added to the inputs of queries and values, each like ``n`` ``(..., dim)``."""
        down, up = self.down[stack, layer], self.up[stack, layer]
        query, value = (torch.nn.functional.gelu(n @ down[i]) @ up[i] for i in (0, 1))
        return query, value
