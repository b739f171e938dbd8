"""Cross-entropy and divergence over a whole vocabulary tied to FROZEN embeddings, without keeping the logits.

With logits ``h E^T`` and E frozen, each token's loss depends on its own hidden row only, so its gradient ``(p - y) E`` can be
formed in the forward pass, chunk by chunk: no ``tokens x vocabulary`` matrix outlives its chunk (the idea of fused linear
cross-entropy, Hsu et al. 2024, arXiv 2410.10989, made simpler by the frozen embeddings). Beside it an estimate over a shortlist.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 256  # tokens; 256 x 30,522 float32 logits are 31 MB


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, target: Tensor, shift: Tensor | None) -> Tensor:
        losses = hidden.new_empty(hidden.shape[0])
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, hidden.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            logits = hidden[rows] @ embedding.T
            if shift is not None:
                logits += shift
            wanted = logits.gather(1, target[rows, None])
            top = logits.amax(dim=-1, keepdim=True)
            # the matrix is read and written as few times as can be: what divides a row divides its gradient instead
            unscaled = logits.sub_(top).exp_()
            z = unscaled.sum(dim=-1, keepdim=True)
            losses[rows] = (z.log() + top - wanted).squeeze(1)
            if gradient is not None:
                torch.mm(unscaled, embedding, out=gradient[rows])
                gradient[rows].div_(z).sub_(embedding[target[rows]])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None], None, None, None


class _TokenDivergences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, embedding: Tensor, temperature: float) -> Tensor:
        losses = student.new_empty(student.shape[0])
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        for start in range(0, student.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            log_q = F.log_softmax(student[rows] / temperature @ embedding.T, dim=-1)
            log_p = F.log_softmax(teacher[rows] / temperature @ embedding.T, dim=-1)
            p = log_p.exp()
            losses[rows] = temperature**2 * log_p.sub_(log_q).mul_(p).sum(dim=-1)
            if gradient is not None:  # d/dh of tau^2 KL(p || q) = tau (q - p) E
                gradient[rows] = temperature * (log_q.exp_().sub_(p) @ embedding)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None], None, None, None


def token_losses(hidden: Tensor, embedding: Tensor, target: Tensor) -> Tensor:
    """Return ``-log softmax(h E^T)[target]`` in nats, per token.

    Parameters
    ----------
    hidden
        ``(tokens, width)``.
    embedding
        ``(vocabulary, width)``, frozen: no gradient reaches it.
    target
        ``(tokens,)`` long.
    """
    result: Tensor = _TokenLosses.apply(hidden, embedding, target, None)  # type: ignore[no-untyped-call]
    return result


def sampled_token_losses(hidden: Tensor, embedding: Tensor, target: Tensor, number: int) -> Tensor:
    r"""Return an estimate of :func:`token_losses` over a shortlist: the batch's own words and some others drawn at random.

    The sum over the vocabulary becomes :math:`\hat Z = \sum_{w \in T} e^{z_w} + \frac{V}{m} \sum_{s \notin T} e^{z_s}`, with T
    the words that the targets hold and s drawn uniformly, with replacement, from all V. Its expectation is the whole sum; by the
    logarithm's concavity that of the loss is the exact loss or less (importance sampling of the softmax, Jean et al. 2015, arXiv
    1412.2007). Draws from torch's generator, as dropout does.

    Parameters
    ----------
    hidden, embedding, target
        As for :func:`token_losses`.
    number
        How many words are drawn, m. With as many as the vocabulary holds or more, the exact losses are returned.
    """
    vocabulary = len(embedding)
    if number >= vocabulary or not len(target):
        return token_losses(hidden, embedding, target)
    own, place = target.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    drawn = torch.randint(vocabulary, (number,), device="cpu").to(target.device)
    words = torch.cat([own, drawn[torch.isin(drawn, own, invert=True)]])
    shift = hidden.new_full((len(words),), math.log(vocabulary / number))
    shift[: len(own)] = 0.0
    result: Tensor = _TokenLosses.apply(hidden, embedding[words], place, shift)  # type: ignore[no-untyped-call]
    return result


def likeliest(hidden: Tensor, embedding: Tensor, barred: int | None) -> Tensor:
    """Return each token's likeliest word but one that is barred, if any, ``(tokens,)`` long."""
    found = [hidden.new_empty(0, dtype=torch.long)]
    for rows in torch.split(hidden, CHUNK):
        logits = rows @ embedding.T
        if barred is not None:
            logits[:, barred] = -torch.inf
        found.append(logits.argmax(dim=-1))
    return torch.cat(found)


def token_divergences(student: Tensor, teacher: Tensor, embedding: Tensor, temperature: float) -> Tensor:
    """Return ``tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau))`` per token, with logits ``z = h E^T``.

    No gradient reaches the teacher.
    """
    result: Tensor = _TokenDivergences.apply(student, teacher.detach(), embedding, temperature)  # type: ignore[no-untyped-call]
    return result
