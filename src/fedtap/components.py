"""The values of components: what is trained, sent, averaged, replaced and saved.

A :class:`ComponentState` maps component keys to named tensors. It holds trainable tensors only; frozen pretrained weights
belong to no component and never appear here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from torch import Tensor

from fedtap.pairs import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import Identity
from fedtap.runtime.sealed_tensors import read_sealed_tensors, write_sealed_tensors
from fedtap.runtime.tensor_bytes import tensor_bytes

__all__ = ["ComponentKey", "ComponentMean", "ComponentState", "Held", "mean_by", "towards", "weighted", "weighted_mean"]

_SEPARATOR = ":"
_NOBODY: Identity = {}

TensorFunction = Callable[[Tensor], Tensor]
TensorChoice = Callable[[ComponentKey, str], bool]


class ComponentState(Mapping[ComponentKey, Mapping[str, Tensor]]):
    """An immutable mapping key -> parameter name -> tensor, iterated in sorted order.

    The mapping is not copied deeply: whoever builds a state hands over its tensors and does not write to them again.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[ComponentKey, Mapping[str, Tensor]] | None = None) -> None:
        given = values or {}
        self._values: dict[ComponentKey, dict[str, Tensor]] = {
            key: dict(sorted(given[key].items())) for key in sorted(given)
        }

    def __getitem__(self, key: ComponentKey) -> Mapping[str, Tensor]:
        return self._values[key]

    def __iter__(self) -> Iterator[ComponentKey]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"ComponentState({len(self)} components, {self.nbytes} bytes)"

    @property
    def parameters(self) -> int:
        """The number of scalars."""
        return sum(tensor.numel() for _, _, tensor in self.tensors())

    @property
    def nbytes(self) -> int:
        """The bytes of the tensors themselves, without any framing."""
        return sum(tensor.numel() * tensor.element_size() for _, _, tensor in self.tensors())

    def tensors(self) -> Iterator[tuple[ComponentKey, str, Tensor]]:
        """Iterate over (key, parameter name, tensor) in sorted order."""
        for key, named in self._values.items():
            for name, tensor in named.items():
                yield key, name, tensor

    def slice(self, keys: Iterable[ComponentKey]) -> ComponentState:
        """Return the components with these keys.

        Raises
        ------
        KeyError
            If a key is not held: a plan that asks for it and a state that lacks it must never pass silently.
        """
        return ComponentState({key: self._values[key] for key in keys})

    def merge(self, other: ComponentState) -> ComponentState:
        """Return this state with the components of ``other`` added, or put in the place of its own."""
        return ComponentState({**self._values, **other._values})

    def overlay(self, other: ComponentState) -> ComponentState:
        """Return this state with the tensors of ``other`` added, or put in the place of its own, one by one.

        Unlike :meth:`merge` it completes components of which each side holds only some tensors.
        """
        keys = {**self._values, **other._values}
        return ComponentState({key: {**self._values.get(key, {}), **other._values.get(key, {})} for key in keys})

    def select(self, wanted: TensorChoice) -> ComponentState:
        """Return the tensors for which ``wanted(key, parameter name)`` holds; a component without any is left out."""
        chosen = {
            key: {name: tensor for name, tensor in named.items() if wanted(key, name)}
            for key, named in self._values.items()
        }
        return ComponentState({key: named for key, named in chosen.items() if named})

    def clone(self) -> ComponentState:
        """Return a deep copy, detached from any graph, each tensor contiguous and in memory of its own."""
        return self.map(lambda tensor: tensor.detach().clone(memory_format=torch.contiguous_format))

    def map(self, function: TensorFunction) -> ComponentState:
        """Return a state with ``function`` applied to every tensor."""
        return ComponentState(
            {key: {name: function(t) for name, t in named.items()} for key, named in self._values.items()}
        )

    def zip(self, function: Callable[[Tensor, Tensor], Tensor], other: ComponentState) -> ComponentState:
        """Return a state of ``function(mine, theirs)`` of each tensor.

        Raises
        ------
        KeyError
            If the two do not hold the same components and parameters.
        """
        if [entry[:2] for entry in self.tensors()] != [entry[:2] for entry in other.tensors()]:
            raise KeyError("two states of different components cannot be combined tensor by tensor")
        return ComponentState(
            {
                key: {name: function(t, other[key][name]) for name, t in named.items()}
                for key, named in self._values.items()
            }
        )

    def equal(self, other: ComponentState) -> bool:
        """Tell whether both hold the same keys, names and bit-identical tensors."""
        mine, theirs = list(self.tensors()), list(other.tensors())
        return [entry[:2] for entry in mine] == [entry[:2] for entry in theirs] and all(
            torch.equal(a[2], b[2]) for a, b in zip(mine, theirs, strict=True)
        )

    def flat(self) -> dict[str, Tensor]:
        """Return ``{"kind/name:parameter": tensor}``, the form in which states are saved and sent."""
        return {f"{key}{_SEPARATOR}{name}": tensor for key, name, tensor in self.tensors()}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Tensor]) -> ComponentState:
        """Return the state whose :meth:`flat` form is given."""
        values: dict[ComponentKey, dict[str, Tensor]] = {}
        for label, tensor in flat.items():
            key, _, name = label.rpartition(_SEPARATOR)
            values.setdefault(ComponentKey.parse(key), {})[name] = tensor
        return cls(values)

    def to_bytes(self) -> bytes:
        """Return the state in safetensors form."""
        return tensor_bytes(self.flat())

    @classmethod
    def from_bytes(cls, data: bytes, place: str = "received bytes") -> ComponentState:
        """Return the state saved by :meth:`to_bytes`.

        Raises
        ------
        UserError
            If the bytes are not a safetensors file; ``place`` names them.
        """
        try:
            return cls.from_flat(load_bytes(data))
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{place}: not a readable safetensors file ({error}); restore it from a copy") from error

    def save(self, path: Path, of: Identity = _NOBODY) -> None:
        """Write the state to ``path``, atomically, with a digest of all of it and with what it is and whose."""
        write_sealed_tensors(path, self.flat(), {}, of)

    @classmethod
    def load(cls, path: Path, of: Identity = _NOBODY) -> ComponentState:
        """Read a state written by :meth:`save`.

        Raises
        ------
        UserError
            If the file is missing, not just what was written, or of something else than ``of``.
        """
        mend = "restore it from a copy, or start the run anew"
        flat, _ = read_sealed_tensors(path, of, mend)
        try:
            return cls.from_flat(flat)
        except ValueError as error:
            raise UserError(f"{path}: damaged or truncated ({error}); {mend}") from error


def towards(
    state: ComponentState, goal: ComponentState, factor: float | Mapping[ComponentKey, float]
) -> ComponentState:
    r"""Return :math:`x_c + a_c (y_c - x_c)`, with one factor for all components, or one for each that is to move.

    Raises
    ------
    KeyError
        If either state lacks a component that is to move, or the two differ in its parameters.

    Examples
    --------
    >>> key = ComponentKey("shared")
    >>> x, y = (ComponentState({key: {"w": torch.tensor([value])}}) for value in (1.0, 3.0))
    >>> towards(x, y, 0.25)[key]["w"], towards(x, y, {})[key]["w"]
    (tensor([1.5000]), tensor([1.]))
    """
    factors = factor if isinstance(factor, Mapping) else dict.fromkeys(state, factor)
    moved: dict[ComponentKey, dict[str, Tensor]] = {}
    for key, share in factors.items():
        if state[key].keys() != goal[key].keys():
            raise KeyError(f"{key}: the parameters of the two states differ")
        moved[key] = {name: torch.lerp(tensor, goal[key][name], share) for name, tensor in state[key].items()}
    return state.merge(ComponentState(moved))


Held: TypeAlias = Sequence[tuple[Mapping[str, Tensor], int]]
"""One component's values at each of its holders, and the number of examples behind them (at least one)."""
ComponentMean: TypeAlias = Callable[[Held], dict[str, Tensor]]
"""Returns one component's mean over its holders."""


def weighted(held: Held) -> dict[str, Tensor]:
    """Return a component's mean over its holders, weighted by their examples; see :func:`weighted_mean`."""
    total = sum(count for _, count in held)
    result: dict[str, Tensor] = {}
    for name, first in held[0][0].items():
        mean = torch.zeros_like(first, dtype=torch.float64)
        for named, count in held:
            mean.add_(named[name].to(torch.float64), alpha=count / total)
        result[name] = mean.to(first.dtype)
    return result


def weighted_mean(states: Sequence[tuple[ComponentState, Mapping[ComponentKey, int]]]) -> ComponentState:
    r"""Average components over their holders: :math:`w_c = \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}`.

    Sums run in the order given (callers sort by client) in float64, so that the result depends on nothing else.

    Parameters
    ----------
    states
        For each holder its components and, per component, the number of its training examples whose path uses it.
        A component with no positive count in any of them is left out of the result.

    Examples
    --------
    >>> key = ComponentKey("shared")
    >>> a, b = (ComponentState({key: {"w": torch.tensor([x])}}) for x in (1.0, 4.0))
    >>> weighted_mean([(a, {key: 2}), (b, {key: 1})])[key]["w"]
    tensor([2.])
    """
    return mean_by(states, weighted)


def mean_by(states: Sequence[tuple[ComponentState, Mapping[ComponentKey, int]]], mean: ComponentMean) -> ComponentState:
    """Average components over their holders by any rule; who has no example behind a component is no holder of it."""
    holders: dict[ComponentKey, list[tuple[Mapping[str, Tensor], int]]] = {}
    for state, counts in states:
        for key, named in state.items():
            if counts.get(key, 0) > 0:
                holders.setdefault(key, []).append((named, counts[key]))
    return ComponentState({key: mean(held) for key, held in holders.items()})
