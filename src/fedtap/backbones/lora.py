r"""The part of a frozen encoder that runs at every step, with low-rank adapters that a component holds.

LoRA (Hu et al. 2021, arXiv 2106.09685) through peft: :math:`W x + \frac{\alpha}{r} B A\, dropout(x)` on the query and value
projections of every layer from the first adapted one on. What lies before that layer never changes: it is computed once per
example and cached, or, where it is the embeddings alone, at each step, which is cheaper than to store it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fedtap.backbones.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Adapters:
    """The low-rank adapters of an encoder, known without its weights.

    Parameters
    ----------
    layers
        Of the encoder.
    first
        The first layer that is adapted, from 0.
    dim
        Width of the encoder; its projections are ``(dim, dim)``.
    rank, alpha, dropout
        Of every adapter.
    """

    layers: int
    first: int
    dim: int
    rank: int
    alpha: float
    dropout: float = 0.0

    @property
    def raw(self) -> bool:
        """Whether even the first layer is adapted, so that nothing but the embeddings lies before."""
        return self.first == 0

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return each adapter matrix's shape by name: A ``(rank, dim)``, B ``(dim, rank)``.

        >>> Adapters(layers=2, first=1, dim=8, rank=2, alpha=4).shapes()
        {'layer01_query_A': (2, 8), 'layer01_query_B': (8, 2), 'layer01_value_A': (2, 8), 'layer01_value_B': (8, 2)}
        """
        return {
            f"{name}_{side}": (self.rank, self.dim) if side == "A" else (self.dim, self.rank)
            for name, _, _ in self.places()
            for side in "AB"
        }

    def places(self) -> Iterator[tuple[str, int, str]]:
        """Iterate over (name of an adapter, its layer, ``query`` or ``value``)."""
        for layer in range(self.first, self.layers):
            for projection in ("query", "value"):
                yield f"layer{layer:02d}_{projection}", layer, projection


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

    def __init__(self, encoder: Transformer, adapters: Adapters) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__()
        self._adapters = adapters
        shared = {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
        twin = copy.deepcopy(encoder, shared)  # the structure is new, the tensors are the encoder's own
        names = {
            name: f"layers.{layer}.{twin.query if projection == 'query' else twin.value}"
            for name, layer, projection in adapters.places()
        }
        config = LoraConfig(
            r=adapters.rank,
            lora_alpha=adapters.alpha,  # type: ignore[arg-type]  # peft divides by the rank; a whole number is not needed
            lora_dropout=adapters.dropout,
            target_modules=list(names.values()),
        )
        inject_adapter_in_model(config, twin, low_cpu_mem_usage=True)  # without memory: hold() gives the matrices
        self._encoder = twin
        self._places = {name: twin.get_submodule(path) for name, path in names.items()}

    def hold(self, matrices: Mapping[str, nn.Parameter]) -> None:
        """Use these matrices, named and shaped as in :meth:`Adapters.shapes`, from now on; they stay who they are."""
        for name, layer in self._places.items():
            layer.get_submodule("lora_A.default").weight = matrices[f"{name}_A"]
            layer.get_submodule("lora_B.default").weight = matrices[f"{name}_B"]

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Return the encoder's last hidden states ``(n, tokens, dim)``.

        ``inputs`` are what the prefix gave, ``(n, tokens, dim)``; pixels or token ids where every layer is adapted. ``mask`` is
        ``(n, tokens)`` bool, True at real tokens, or None where all are.
        """
        hidden = self._encoder.embed(inputs) if self._adapters.raw else inputs
        return self._encoder.close(self._encoder.run(hidden, mask, start=self._adapters.first))
