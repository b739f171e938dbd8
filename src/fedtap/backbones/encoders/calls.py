"""Text encoders whose blocks take more than hidden states and a mask of padding: relative positions, rotations, causal masks."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from fedtap.backbones.encoders.split import LEAST, Around, SplitEncoder, bias_of, without


class Causal(SplitEncoder):
    """No token attends to a later one (CLIP's text half)."""

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        seen = torch.ones(hidden.shape[1], hidden.shape[1], dtype=torch.bool, device=hidden.device).tril()
        before = torch.zeros(seen.shape, dtype=hidden.dtype, device=hidden.device).masked_fill(~seen, LEAST)[None, None]
        if mask is None:
            return {"attention_mask": before}
        return {"attention_mask": torch.minimum(before, bias_of(mask, hidden.dtype))}


class Relative(SplitEncoder):
    """All blocks share biases by relative position (MPNet)."""

    def _keep(self, model: nn.Module) -> None:
        self.shell = without(model.get_submodule("encoder"), "layer")

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        positions: Tensor = cast(Any, self.shell).compute_position_bias(hidden)
        return {**super()._around(hidden, mask), "position_bias": positions}


class Disentangled(SplitEncoder):
    """Attention by content and by position apart (DeBERTa), and a convolution over the first block's in and output, if any."""

    def _keep(self, model: nn.Module) -> None:
        self.shell = without(model.get_submodule("encoder"), "layer")

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        shell = cast(Any, self.shell)
        real = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device) if mask is None else mask.long()
        return {
            "real": real,
            "blocks": {
                "attention_mask": shell.get_attention_mask(real),
                "relative_pos": shell.get_rel_pos(hidden),
                "rel_embeddings": shell.get_rel_embedding(),
            },
        }

    def _call(self, layer: int, hidden: Tensor, around: Around) -> Tensor:
        convolution = cast(Any, self.shell).conv
        if layer or convolution is None:
            return super()._call(layer, hidden, around["blocks"])
        hidden = hidden * around["real"][..., None]  # the convolution looks at the neighbours of the last real token
        out: Tensor = convolution(hidden, super()._call(layer, hidden, around["blocks"]), around["real"])
        return out


class T5(SplitEncoder):
    """All blocks share biases by relative position, which the first one holds."""

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        holder = cast(Any, self.layers[0].get_submodule("layer.0.SelfAttention"))
        positions: Tensor = holder.compute_bias(hidden.shape[1], hidden.shape[1], device=hidden.device)
        return {**super()._around(hidden, mask), "position_bias": positions}


class Rotary(SplitEncoder):
    """Rotations by position; some blocks attend to all tokens, others to those nearby (ModernBERT)."""

    def _keep(self, model: nn.Module) -> None:
        self.rotary = model.get_submodule("rotary_emb")

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        places = torch.arange(hidden.shape[1], device=hidden.device)
        real = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device) if mask is None else mask
        near = (places[:, None] - places).abs() <= int(self.config.sliding_window)
        everywhere = bias_of(real, hidden.dtype)
        nearby = torch.where(near, everywhere, torch.full_like(everywhere, LEAST))
        return {
            kind: {
                "attention_mask": nearby if kind == "sliding_attention" else everywhere,
                "position_embeddings": self.rotary(hidden, places[None], kind),
            }
            for kind in sorted(set(self.config.layer_types))
        }

    def _call(self, layer: int, hidden: Tensor, around: Around) -> Tensor:
        return super()._call(layer, hidden, around[str(self.layers[layer].attention_type)])
