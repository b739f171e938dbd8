"""An encoder of the library ``transformers``, taken apart: embeddings, blocks one by one, closing norm.

Taken apart, whatever lies before the first block that is trained can be computed once per example, and only the rest at each
step. The parts are the model's own modules, in the order in which its own forward pass runs through them; the tests hold the
two equal. Not here: blocks that take more than hidden states and a mask (``calls.py``, ``grids.py``), adapters (``lora.py``),
weights (``checkpoints.py``), pixels and tokens (the towers).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fedtap.backbones.encoders.facts import Facts, facts_of
from fedtap.runtime.errors import UserError

Around = Mapping[str, Any]
"""What blocks take beside hidden states, by the name of the argument."""


class SplitEncoder(nn.Module):
    """An encoder in parts; :func:`split` makes the one that fits a model.

    Parameters
    ----------
    model
        A model of one of :data:`~fedtap.backbones.encoders.facts.FACTS`. Attention that has only a written-out form is given the
        fused one.

    Raises
    ------
    UserError
        If the model's type is not one of them, or this version of transformers has named its parts otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config: Any = cast(Any, model).config
        self.facts = facts = facts_of(self.config)
        _fuse_attention(model)
        try:
            self.before = nn.ModuleList(model.get_submodule(name) for name in facts.before if _has(model, name))
            self.layers = nn.ModuleList(self._blocks(model))
            self.after = nn.Identity() if facts.after is None else model.get_submodule(facts.after)
            self.roles = _roles(self.layers[0], facts)
            self._keep(model)
            if not len(self.before):
                raise LookupError(f"no {facts.before[0]}")
        except (AttributeError, LookupError) as error:
            raise UserError(
                f"backbone: this version of transformers builds '{self.config.model_type}' in a way that fedtap does not know "
                f"({error}); install the version in constraints.txt"
            ) from error

    @property
    def lead(self) -> int:
        """How many tokens come before those of the grid."""
        return 0 if self.facts.grid is None else self.facts.grid.lead(self.config)

    def place(self, name: str) -> str:
        """Return the path of the linear map that an adapter is for, e.g. ``layer03_query``."""
        layer, _, role = name.removeprefix("layer").partition("_")
        return f"layers.{int(layer)}.{self.roles[role]}"

    def width(self, layer: int) -> int:
        """Return the width of the hidden states that a block takes."""
        return self.facts.dim(self.config)

    def train(self, mode: bool = True) -> SplitEncoder:
        """Stay in evaluation mode: a frozen model drops nothing out, moves no running mean, and shifts no positions."""
        return super().train(False)

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the hidden states ``(n, tokens, dim)`` that the first block takes.

        Parameters
        ----------
        inputs
            Pixels ``(n, 3, height, width)``, whose position embeddings are interpolated where the size is not the pretrained
            one, or token ids ``(n, tokens)``.
        """
        first, *rest = self.before
        hidden = first(inputs, interpolate_pos_encoding=True) if _asks_to_interpolate(first) else first(inputs)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        for part in rest:
            hidden = part(hidden)
        return self._tokens(hidden)

    def run(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None, *, recompute: bool = False
    ) -> Tensor:
        """Return hidden states after the blocks from ``start`` up to ``stop`` (default: the last), without the closing norm.

        ``mask`` is ``(n, tokens)`` bool, True at real tokens, or None where all are. With ``recompute`` a backward pass computes
        the blocks again, with the same dropout, and what they hold in between is not kept.
        """
        hidden = self._taken(hidden)
        around = self._around(hidden, mask)
        for layer in range(len(self.layers))[start:stop]:
            if recompute and torch.is_grad_enabled():
                hidden = checkpoint(self._call, layer, hidden, around, use_reentrant=False)
            else:
                hidden = self._call(layer, hidden, around)
        return self._tokens(hidden)

    def close(self, hidden: Tensor) -> Tensor:
        """Return the last hidden states as the model itself gives them."""
        return cast(Tensor, self.after(hidden))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the model's last hidden states ``(n, tokens, dim)``."""
        return self.close(self.run(self.embed(inputs), mask))

    def _blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        """Return the blocks in the order in which they run; one that runs several times stands there as often."""
        listed = model.get_submodule(self.facts.layers)
        groups = [getattr(group, "albert_layers", (group,)) for group in cast(nn.ModuleList, listed)]
        if groups[0][0] is listed[0]:  # type: ignore[index]
            return list(cast(nn.ModuleList, listed))
        runs = int(self.config.num_hidden_layers)  # ALBERT: few groups of weights, each used by many layers
        return [block for layer in range(runs) for block in groups[int(layer / (runs / len(groups)))]]

    def _keep(self, model: nn.Module) -> None:
        """Keep what of the model makes the rest that blocks take."""

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        """Return what all blocks take beside hidden states."""
        return {"attention_mask": None if mask is None else bias_of(mask, hidden.dtype)}

    def _call(self, layer: int, hidden: Tensor, around: Around) -> Tensor:
        """Return what a block makes of hidden states."""
        out = self.layers[layer](hidden, **around)
        return cast(Tensor, out[0] if isinstance(out, tuple) else out)

    def _taken(self, hidden: Tensor) -> Tensor:
        """Return hidden states in the form in which blocks take them."""
        return hidden

    def _tokens(self, hidden: Tensor) -> Tensor:
        """Return hidden states as tokens ``(n, tokens, dim)``."""
        return hidden


class FusedAttention(nn.Module):
    """Self-attention in one fused call, with the projections of one that writes it out (FLAVA's); it returns no weights."""

    def __init__(self, written_out: nn.Module) -> None:
        super().__init__()
        self.heads = int(cast(Any, written_out).num_attention_heads)
        self.query = written_out.get_submodule("query")
        self.key = written_out.get_submodule("key")
        self.value = written_out.get_submodule("value")

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor]:
        """Map ``(n, tokens, dim)`` to the same shape; ``attention_mask`` is added to the scores."""

        def split(t: Tensor) -> Tensor:
            return t.reshape(*t.shape[:2], self.heads, -1).transpose(1, 2)

        q, k, v = split(self.query(hidden_states)), split(self.key(hidden_states)), split(self.value(hidden_states))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        return (out.transpose(1, 2).flatten(2),)


def linear_size(part: nn.Module) -> tuple[int, int] | None:
    """Return the (inputs, outputs) of what a low-rank adapter can adapt: a linear map, or a convolution of all channels.

    >>> linear_size(nn.Linear(3, 4)), linear_size(nn.Conv2d(2, 5, 3)), linear_size(nn.Conv2d(4, 4, 3, groups=4))
    ((3, 4), (18, 5), None)
    """
    if isinstance(part, nn.Linear):
        return part.in_features, part.out_features
    if isinstance(part, nn.Conv2d) and part.groups == 1 and part.padding_mode == "zeros":
        return part.weight[0].numel(), part.out_channels
    return None


def bias_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores, ``(n, 1, 1, tokens)``: 0 at real tokens, the least number elsewhere.

    The least number and not minus infinity, so that a row of padding alone gives no NaN; the least of bfloat16, since float32's
    would be minus infinity there.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, LEAST)[:, None, None]


LEAST = torch.finfo(torch.bfloat16).min
"""What is added to a score that is to count for nothing."""


def without(module: nn.Module, child: str) -> nn.Module:
    """Return a module that shares all with another but has not one of its children."""
    shell = copy.copy(module)
    shell._modules = {name: part for name, part in module._modules.items() if name != child}
    return shell


def _fuse_attention(model: nn.Module) -> None:
    """Put the fused attention in the place of FLAVA's, the only one here that transformers has written out alone."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child).__name__ == "FlavaSelfAttention":
                setattr(part, name, FusedAttention(child))


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _asks_to_interpolate(embeddings: nn.Module) -> bool:
    """Tell whether embeddings interpolate positions only if they are told to; others do so by themselves, or have none."""
    return "interpolate_pos_encoding" in inspect.signature(embeddings.forward).parameters


def _roles(block: nn.Module, facts: Facts) -> dict[str, str]:
    """Return the path of each linear map of a block that LoRA can adapt, by its role."""
    found: dict[str, str] = {}
    for role, paths in facts.targets.items():
        there = [path for path in ((paths,) if isinstance(paths, str) else paths) if _has(block, path)]
        if there and linear_size(block.get_submodule(there[0])) is not None:
            found[role] = there[0]
    if missing := [role for role in facts.adapted if role not in found and not role.startswith("conv")]:
        raise LookupError(f"no {missing[0]} in a block")
    return found
