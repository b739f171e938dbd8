r"""The mean of components over their holders, with low-rank factors averaged apart or as their product.

For low-rank adapters :math:`\Delta = A B`, the mean of A times the mean of B is not the mean of the products: it holds cross
terms between clients. ``product`` averages :math:`\bar\Delta = \sum_i n_i A_i B_i / \sum_i n_i` and returns its best
approximation of the same rank (truncated SVD, Eckart & Young 1936; see also FlexLoRA, Bai et al. 2024, arXiv 2402.11505).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from fedtap.components import ComponentKey, ComponentMean, ComponentState, mean_by, weighted

LoraMean = Literal["factors", "product"]
Holders = Sequence[tuple[ComponentState, Mapping[ComponentKey, int]]]


def mean_of(states: Holders, lora_mean: LoraMean = "factors", rule: ComponentMean = weighted) -> ComponentState:
    """Return the mean of components by a rule, weighted by default, with low-rank factors as ``lora_mean`` says.

    A pair of factors is two tensors of one component named ``*_A`` ``(..., in, rank)`` and ``*_B`` ``(..., rank, out)``. A pair
    of which only one factor travels is averaged as any tensor is.
    """
    mean = mean_by(states, rule)
    if lora_mean == "factors":
        return mean
    changed: dict[ComponentKey, dict[str, Tensor]] = {}
    for key, named in mean.items():
        stems = [name[:-2] for name in named if name.endswith("_A") and f"{name[:-2]}_B" in named]
        held = [(state[key], counts[key]) for state, counts in states if key in state and counts.get(key, 0) > 0]
        for stem in stems:
            factors = [(one[f"{stem}_A"], one[f"{stem}_B"], count) for one, count in held]
            a, b = mean_product(factors, rule)
            changed.setdefault(key, {}).update({f"{stem}_A": a, f"{stem}_B": b})
    return mean.overlay(ComponentState(changed))


def mean_product(
    factors: Sequence[tuple[Tensor, Tensor, int]], rule: ComponentMean = weighted
) -> tuple[Tensor, Tensor]:
    """Return factors of the mean of products, cut back to the rank of the factors given.

    Parameters
    ----------
    factors
        Per holder A ``(..., in, rank)``, B ``(..., rank, out)`` and its number of examples.
    rule
        How the products, and the lengths of the holders' A, are averaged.

    Returns
    -------
    tuple of Tensor
        A with orthogonal columns as long as the holders' are on average, and B with the rest. Thus a direction in which the mean
        is zero keeps a column of A, and can still be learned; with A zero as well it could not. The mean keeps dtype and shapes.
    """
    first_a, first_b, _ = factors[0]
    rank = first_a.shape[-1]
    mean = rule([({"product": a.double() @ b.double()}, count) for a, b, count in factors])["product"]
    u, s, v = torch.linalg.svd(mean, full_matrices=False)
    u, s, v = u[..., :rank], s[..., :rank], v[..., :rank, :]
    # The SVD leaves the signs open; the largest entry of each column of U is made positive, so that they depend on nothing.
    largest = u.abs().argmax(dim=-2, keepdim=True)
    sign = torch.where(u.gather(-2, largest) < 0, -1.0, 1.0).to(u.dtype)
    lengths = rule([({"length": a.double().norm(dim=-2).mean()}, 1) for a, _, _ in factors])
    length = float(lengths["length"]) or 1.0
    a = u * sign * length
    b = (s[..., None] * v) * sign.transpose(-1, -2) / length
    width = rank - a.shape[-1]
    if width > 0:  # the matrix has fewer rows or columns than the rank
        a = torch.nn.functional.pad(a, (0, width))
        b = torch.nn.functional.pad(b, (0, 0, 0, width))
    return a.to(first_a.dtype), b.to(first_b.dtype)
