"""Attention and feed-forward layers of the heads, after Vaswani et al. 2017 (arXiv 1706.03762), pre-norm."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of some tokens, each ``(n, heads, tokens, dim / heads)``."""


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a masked memory. The caller normalises the memory; queries are normalised here."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Return ``(n, queries, dim)`` from queries ``(n, queries, dim)`` and memory ``(n, tokens, dim)``.

        ``mask`` is boolean, True at tokens that may be seen, and broadcasts to ``(n, heads, queries, tokens)``.
        """
        return self.look(x, self.read(memory), mask)

    def read(self, memory: Tensor) -> KeysValues:
        """Return what there is to look at in a memory, for :meth:`look`."""
        k, v = (_split(part, self.heads) for part in self.kv(memory).chunk(2, dim=-1))
        return k, v

    def look(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """Return what :meth:`forward` returns, from a memory that was read before."""
        q = _split(self.q(self.norm(x)), self.heads)
        out: Tensor = self.out(_join(F.scaled_dot_product_attention(q, *memory, attn_mask=mask)))
        return out


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and those before it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, length, dim)`` to the same shape."""
        q, k, v = (_split(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        out: Tensor = self.out(_join(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return out

    def step(self, x: Tensor, before: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """Return the output ``(n, 1, dim)`` at one more position, and the keys and values of all positions up to it.

        ``x`` is ``(n, 1, dim)``, and ``before`` what the step before returned; None at the first position.
        """
        q, k, v = (_split(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        if before is not None:
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
        out: Tensor = self.out(_join(F.scaled_dot_product_attention(q, k, v)))
        return out, (k, v)


class FeedForward(nn.Sequential):
    """LayerNorm, Linear, GELU, Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.LayerNorm(dim), widen=nn.Linear(dim, hidden), gelu=nn.GELU(), narrow=nn.Linear(hidden, dim)
            )
        )


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
