"""A transformer encoder of the library ``transformers``, taken apart: embeddings, layers one by one, closing norm.

Taken apart, whatever lies before the first layer that is trained can be computed once per example, and only the rest at each
step. The parts are the model's own modules, in the order in which its own forward pass runs through them; the tests hold the
two equal. Not here: adapters (``lora.py``), weights (``checkpoints.py``), pixels and tokens (the towers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fedtap.runtime.errors import UserError

QUERY, VALUE = ("query", "q_proj"), ("value", "v_proj")
"""What the projections are called: FLAVA, ViLT and BERT say ``query``, the others ``q_proj``."""


@dataclass(frozen=True, slots=True)
class Family:
    """The parts of a model type besides its layers: what runs before the first and after the last of them, by module name."""

    before: tuple[str, ...] = ("embeddings",)
    after: str | None = None
    pixels: bool = False


FAMILIES: dict[str, Family] = {
    "bert": Family(),
    "flava_text_model": Family(after="layernorm"),
    "flava_image_model": Family(after="layernorm", pixels=True),
    "vit": Family(after="layernorm", pixels=True),
    "dinov2": Family(after="layernorm", pixels=True),
    "siglip_vision_model": Family(after="post_layernorm", pixels=True),
    "clip_vision_model": Family(before=("embeddings", "pre_layrnorm"), pixels=True),  # CLIP's own spelling
}
"""Model types that can be taken apart. A new one is a line here, and one in the test that compares it with its own forward."""


class Transformer(nn.Module):
    """An encoder in parts.

    Parameters
    ----------
    model
        A model of one of :data:`FAMILIES`. Attention that has only a written-out form is given the fused one.

    Raises
    ------
    UserError
        If the model's type is not one of them, or this version of transformers has named its parts otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        kind = str(cast(Any, model).config.model_type)
        if kind not in FAMILIES:
            raise UserError(
                f"backbone: models of type '{kind}' cannot be adapted; use one of {', '.join(sorted(FAMILIES))}, or leave out "
                "backbone.lora"
            )
        family = FAMILIES[kind]
        _fuse_attention(model)
        self.pixels = family.pixels
        try:
            self.before = nn.ModuleList(model.get_submodule(name) for name in family.before)
            self.after = nn.Identity() if family.after is None else model.get_submodule(family.after)
            self.layers = _layers(model)
            self.query, self.value = (_only(self.layers[0], names) for names in (QUERY, VALUE))
        except (AttributeError, LookupError) as error:
            raise UserError(
                f"backbone: this version of transformers builds '{kind}' in a way that fedtap does not know ({error}); install "
                "the version in constraints.txt"
            ) from error
        _silence(self)

    def place(self, name: str) -> str:
        """Return the path of the projection that an adapter is for, e.g. ``layer03_query``."""
        layer, _, projection = name.removeprefix("layer").partition("_")
        return f"layers.{int(layer)}.{self.query if projection == 'query' else self.value}"

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the hidden states ``(n, tokens, dim)`` that the first layer takes.

        Parameters
        ----------
        inputs
            Pixels ``(n, 3, height, width)``, whose position embeddings are interpolated where the size is not the pretrained
            one, or token ids ``(n, tokens)``.
        """
        first, *rest = self.before
        hidden: Tensor = first(inputs, interpolate_pos_encoding=True) if self._interpolates else first(inputs)
        for part in rest:
            hidden = part(hidden)
        return hidden

    def run(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None, *, recompute: bool = False
    ) -> Tensor:
        """Return hidden states after the layers from ``start`` up to ``stop`` (default: the last), without the closing norm.

        ``mask`` is ``(n, tokens)`` bool, True at real tokens, or None where all are. With ``recompute`` a backward pass computes
        the layers again, with the same dropout, and what they hold in between is not kept.
        """
        bias = None if mask is None else _bias(mask, hidden.dtype)

        def one(layer: nn.Module, hidden: Tensor) -> Tensor:
            out = layer(hidden, attention_mask=bias)
            return cast(Tensor, out[0] if isinstance(out, tuple) else out)

        for layer in self.layers[start:stop]:
            if recompute and torch.is_grad_enabled():
                hidden = checkpoint(one, layer, hidden, use_reentrant=False)
            else:
                hidden = one(layer, hidden)
        return hidden

    def close(self, hidden: Tensor) -> Tensor:
        """Return the last hidden states as the model itself gives them."""
        return cast(Tensor, self.after(hidden))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the model's last hidden states ``(n, tokens, dim)``."""
        return self.close(self.run(self.embed(inputs), mask))

    @property
    def _interpolates(self) -> bool:
        """Whether the embeddings have to be told to interpolate; DINOv2's do so by themselves."""
        return self.pixels and type(self.before[0]).__name__ != "Dinov2Embeddings"


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


def _fuse_attention(model: nn.Module) -> None:
    """Put the fused attention in the place of FLAVA's, the only one here that transformers has written out alone."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child).__name__ == "FlavaSelfAttention":
                setattr(part, name, FusedAttention(child))


def _silence(module: nn.Module) -> None:
    """Switch off the frozen model's own dropout, which training mode would otherwise wake."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def _layers(model: nn.Module) -> nn.ModuleList:
    count = cast(Any, model).config.num_hidden_layers
    found = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if len(found) != 1:
        raise LookupError(f"{len(found)} lists of {count} layers")
    return found[0]


def _only(layer: nn.Module, names: tuple[str, ...]) -> str:
    """Return the path within a layer of its only linear map with one of these names."""
    found = [
        path for path, part in layer.named_modules() if isinstance(part, nn.Linear) and path.split(".")[-1] in names
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} projections named {' or '.join(names)} in a layer")
    return str(found[0])


def _bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores, ``(n, 1, 1, tokens)``: 0 at real tokens, the least number elsewhere.

    The least number and not minus infinity, so that a row of padding alone gives no NaN; the least of bfloat16, since float32's
    would be minus infinity there.
    """
    least = torch.finfo(torch.bfloat16).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, least)[:, None, None]
