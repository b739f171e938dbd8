r"""Four-path fusion with task experts (MoTE), modality experts (MoME) and domain experts (MoDE).

One layer, with domain experts :math:`E_q, E_v` and a feed-forward expert (algorithm.md, section 5):

.. math::
    n = LN_1(x),\; q = n + E_q(n),\; k = n,\; v = n + E_v(n), \quad
    x \leftarrow x + Attn(W_q q, W_k k, W_v v), \quad x \leftarrow x + Expert(LN_2\, x)

The examples of a group share modality and task family, hence their four routes; their domains may differ. Components are
stacked and applied as one batched product. In the first MoTE layer the routes modality-task and modality-shared attend with the
same block to the same input: that attention is computed once. Where layers are frozen, their products with an input that several
routes share are computed once as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.backbones.dropout import dropped_product
from fedtap.network.blocks import DomainExpert, FrozenLayers, direction, gated
from fedtap.pairs import STACKS, ComponentKey, Route
from fedtap.scenario.scenario import NetworkSettings

DomainRows = Sequence[tuple[DomainExpert | None, Tensor]]
"""Which examples ``(k,)`` of the group belong to which domain expert; None where the model has no expert for the domain."""


class Fusion:
    """The fusion's arithmetic over components that somebody else holds; it has no parameters of its own.

    Parameters
    ----------
    settings
        Sizes and adapters.
    components, frozen
        What is trained, and the frozen layers of each stack.
    eps
        Of the normalisations.
    training
        Whether adapters drop out what goes into them, by ``lora_dropout``.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        components: Mapping[ComponentKey, nn.Module],
        frozen: Mapping[str, FrozenLayers],
        *,
        eps: float = 1e-5,
        training: bool = False,
    ) -> None:
        self._settings = settings
        self._components = components
        self._frozen = frozen
        self._eps = eps
        self._dropout = settings.lora_dropout if training else 0.0
        self._direction: Tensor | None = None

    def __call__(
        self, x: Tensor, mask: Tensor, routes: Sequence[Route], shared: nn.Module | None, domains: DomainRows
    ) -> Tensor:
        """Return the mean of the paths' outputs, ``(n, tokens, dim)``; parameters as in :meth:`paths`."""
        return self.paths(x, mask, routes, shared, domains).mean(dim=0)

    def paths(
        self, x: Tensor, mask: Tensor, routes: Sequence[Route], shared: nn.Module | None, domains: DomainRows
    ) -> Tensor:
        """Return each path's output.

        Parameters
        ----------
        x
            ``(n, tokens, dim)``, encoded tokens.
        mask
            ``(n, tokens)`` bool, True at real tokens; others are neither attended to nor returned as anything but noise.
        routes
            One a path; the four of the network of experts, or fewer.
        shared
            The shared projection; it may be missing where no route takes the shared input.
        domains
            The domain experts of the examples.

        Returns
        -------
        Tensor
            ``(routes, n, tokens, dim)``.
        """
        s = shared(x) if shared is not None else x
        if shared is None and any(route.takes_shared_input for route in routes):
            raise KeyError("a route takes the shared input, but the model has no shared projection")
        self._direction = direction(x, mask) if self._settings.dual else None
        # The routes start from two inputs at most: what is the same for all routes of an input is computed once for it.
        inputs = [s, x] if any(route.takes_shared_input for route in routes) else [x]
        start = [0 if route.takes_shared_input else len(inputs) - 1 for route in routes]
        streams = torch.stack(inputs)
        # Two routes that start with the same block from the same input: their first attention is one.
        twins = len(routes) > 1 and routes[-1][1:3] == routes[-2][1:3]
        blocks = {
            "mote": [route.mote_block for route in routes],
            "mome": [route.mome_block for route in routes],
        }
        experts = {
            "mote": [route.mote_expert for route in routes],
            "mome": [route.mome_expert for route in routes],
        }
        for stack_index, stack in enumerate(STACKS):
            for layer in range(self._settings.layers):
                first = stack_index == 0 and layer == 0
                if first and twins:  # the last two routes meet the same block with the same input: one of them will do
                    done = self._attend(streams, start[:-1], mask, stack, layer, blocks[stack][:-1], domains)
                    streams = torch.cat([done, done[-1:]])
                else:
                    which = start if first else list(range(len(routes)))
                    streams = self._attend(streams, which, mask, stack, layer, blocks[stack], domains)
                streams = self._feed_forward(streams, stack, layer, blocks[stack], experts[stack])
        return streams

    def _attend(
        self,
        x: Tensor,
        which: Sequence[int],
        mask: Tensor,
        stack: str,
        layer: int,
        blocks: Sequence[str],
        domains: DomainRows,
    ) -> Tensor:
        """Return the streams with the attention branch added, ``(streams, n, tokens, dim)``.

        ``x`` is ``(inputs, n, tokens, dim)``, and ``which`` says for each stream which of them it starts from.
        """
        weights = self._attention_weights(stack, layer, blocks)
        if weights["ln1_w"].dim() == 2:  # normalised by each stream for itself
            x, which = _chosen(x, which), range(len(which))
        _, n, tokens, dim = x.shape
        streams = len(which)
        normed = _norm(x, weights["ln1_w"], weights["ln1_b"], self._eps)
        query_in, value_in = self._domain_inputs(normed, STACKS.index(stack), layer, domains)
        q = self._project(query_in, weights, "q", which)
        k = self._project(normed, weights, "k", which)
        v = self._project(value_in, weights, "v", which)
        heads = self._settings.heads

        def split(t: Tensor) -> Tensor:
            return t.reshape(streams * n, tokens, heads, dim // heads).transpose(1, 2)

        attend = mask.repeat(streams, 1)[:, None, None, :]
        out = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=attend)
        out = out.transpose(1, 2).reshape(streams, n, tokens, dim)
        return _chosen(x, which) + self._project(out, weights, "o")

    def _domain_inputs(self, n: Tensor, stack: int, layer: int, domains: DomainRows) -> tuple[Tensor, Tensor]:
        """Return ``n + E_q(n)`` and ``n + E_v(n)``, each example with the experts of its own domain."""
        if len(domains) == 1:
            expert = domains[0][0]
            if expert is None:
                return n, n
            query, value = expert(n, stack, layer)
            return n + query, n + value
        query, value = torch.zeros_like(n), torch.zeros_like(n)
        for expert, rows in domains:
            if expert is not None:
                dq, dv = expert(n[:, rows], stack, layer)
                query = query.index_copy(1, rows, dq.to(query.dtype))
                value = value.index_copy(1, rows, dv.to(value.dtype))
        return n + query, n + value

    def _feed_forward(
        self, x: Tensor, stack: str, layer: int, blocks: Sequence[str], experts: Sequence[tuple[str, str]]
    ) -> Tensor:
        """Add the expert branch to every stream; ``x`` is ``(streams, n, tokens, dim)``."""
        weights = self._attention_weights(stack, layer, blocks, names=("ln2_w", "ln2_b"))
        held = [self._components[ComponentKey("expert", (stack, *names))] for names in experts]
        weights |= self._weights(stack, layer, held, ("up_w", "up_b", "down_w", "down_b"))
        normed = _norm(x, weights["ln2_w"], weights["ln2_b"], self._eps)
        wide = self._project(normed, weights, "up")
        return x + self._project(F.gelu(wide), weights, "down", pre=wide)

    def _attention_weights(
        self,
        stack: str,
        layer: int,
        blocks: Sequence[str],
        names: Sequence[str] = ("ln1_w", "ln1_b", "q_w", "q_b", "k_w", "k_b", "v_w", "v_b", "o_w", "o_b"),
    ) -> dict[str, Tensor]:
        held = [self._components[ComponentKey("attention", (stack, block))] for block in blocks]
        return self._weights(stack, layer, held, names)

    def _weights(self, stack: str, layer: int, held: Sequence[nn.Module], names: Sequence[str]) -> dict[str, Tensor]:
        """Return each named tensor stacked to ``(streams, ...)``, or ``(...)`` where it is frozen and so common to all.

        Low-rank factors come beside it as ``name_A`` and ``name_B``, and those within them as ``name_P`` and ``name_Q``. Of two
        adapters the factors stand side by side, and ``gate`` ``(streams, n)`` is the first one's share.
        """
        weights: dict[str, Tensor] = {}
        for name in names:
            if self._settings.adaptation == "full":
                weights[name] = self._stacked(held, name, layer)
                continue
            frozen = self._frozen[stack]
            weights[name] = frozen.get_buffer(name)[layer]
            for factor in (f"{name}_{letter}" for letter in "ABPQ"):
                if hasattr(held[0], factor):
                    weights[factor] = self._stacked(held, factor, layer)
                elif hasattr(frozen, factor):
                    weights[factor] = frozen.get_buffer(factor)[layer]
            if self._direction is not None and f"{name}_A" in weights:
                for factor, axis in ((f"{name}_A", -1), (f"{name}_B", -2)):
                    shared = self._stacked(held, f"{name}_shared_{factor[-1]}", layer)
                    weights[factor] = torch.cat([weights[factor], shared], dim=axis)
                if "gate" not in weights:
                    logits = self._stacked(held, "gate_w", layer) @ self._direction.T
                    bias = self._stacked(held, "gate_b", layer)
                    weights["gate"] = gated(logits + bias[:, None], self._settings.adaptation)
        return weights

    def _stacked(self, held: Sequence[nn.Module], name: str, layer: int) -> Tensor:
        """Return a layer's tensor of each module, ``(modules, ...)``.

        Each module holds its layers one behind the other, ``(layers, ...)``. Where there is one, nothing is to be picked out of
        it, nor a gradient to be put back in its place.
        """
        every = [getattr(module, name) for module in held]
        if self._settings.layers > 1:
            every = [tensor[layer : layer + 1] for tensor in every]
        return every[0] if len(every) == 1 else torch.cat(every)

    def _project(
        self,
        x: Tensor,
        weights: Mapping[str, Tensor],
        name: str,
        which: Sequence[int] | None = None,
        *,
        pre: Tensor | None = None,
    ) -> Tensor:
        """Multiply every stream by its matrix; a frozen one is one product for all streams, and one for those of equal input.

        ``x`` is ``(inputs, n, tokens, in)``, one for each stream unless ``which`` says otherwise. ``pre`` is what ``x`` is the
        GELU of, if it is.
        """
        matrix, bias = weights[f"{name}_w"], weights[f"{name}_b"]
        which = range(len(x)) if which is None else which
        flat = x.flatten(1, 2)
        if matrix.dim() == 3:
            flat = _chosen(flat, which)
            out = torch.baddbmm(bias[:, None, :], flat, matrix)
        else:
            out = _chosen(torch.addmm(bias, flat.flatten(0, 1), matrix).view(*flat.shape[:2], -1), which)
            rank, alpha = self._settings.low_rank(f"{name}_w")
            if f"{name}_w_A" in weights:
                before = None if pre is None else _chosen(pre.flatten(1, 2), which)
                inner = dropped_product(_chosen(flat, which), weights[f"{name}_w_A"], self._dropout, pre=before)
                if f"{name}_w_P" in weights:  # the outer factors are common to all streams, and frozen
                    inner = torch.baddbmm(weights[f"{name}_w_Q"][:, None, :], inner, weights[f"{name}_w_P"])
                if "gate" in weights:
                    inner = _shared_out(inner, weights["gate"], rank)
                up = weights[f"{name}_w_B"]
                up = up if up.dim() == 3 else up.expand(len(inner), *up.shape)
                out = torch.baddbmm(out, inner, up, alpha=alpha / rank)
        return out.reshape(len(which), *x.shape[1:3], out.shape[-1])


def _chosen(x: Tensor, which: Sequence[int]) -> Tensor:
    """Return ``x[which]``, without a copy where that is ``x``; the backward pass of indexing would be slower."""
    if list(which) == list(range(len(x))):
        return x
    parts = x.unbind()
    return torch.stack([parts[index] for index in which])


def _shared_out(inner: Tensor, gate: Tensor, rank: int) -> Tensor:
    """Return ``(streams, n tokens, 2 rank)``: the first adapter's part by the gate ``(streams, n)``, the second's by the rest."""
    share = gate.repeat_interleave(inner.shape[1] // gate.shape[1], dim=1)[..., None]
    return torch.cat([inner[..., :rank] * share, inner[..., rank:] * (1 - share)], dim=-1)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer-normalise ``(streams, n, tokens, dim)`` with one affine map per stream ``(streams, dim)``, or ``(dim,)`` for all."""
    if weight.dim() == 1:
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    return F.layer_norm(x, x.shape[-1:], eps=eps) * weight[:, None, None, :] + bias[:, None, None, :]
