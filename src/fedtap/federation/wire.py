r"""The form in which components travel: float32, bfloat16, or 8-bit integers with a scale for each row.

With ``int8`` a row x becomes :math:`q = \mathrm{round}(x / s)` with :math:`s = \max |x| / 127`, and is read as :math:`s q`; a
row is as few of a tensor's last axes as hold 32 scalars together, or the whole tensor. ``bf16`` is sent as its 16 bits, in a
tensor of int16, since NumPy knows no bfloat16. ``fp32`` is sent as it is.

Down go values; up go, unless the precision is fp32, changes from what was received, which are much smaller and lose less. What an
update loses on its way is the client's residual: it is added to the client's next change (error feedback: Seide et al. 2014;
Karimireddy et al. 2019, arXiv 1901.09847), kept in the client's own store and never sent.

A packed state is a :class:`ComponentState` too; its :meth:`~fedtap.components.ComponentState.flat` form is what an engine sends.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.safety import WirePrecision

ROW = 32
"""A row is short enough for its scale to be near its scalars, and long enough for the scale's four bytes to be few."""
SCALE = "|scale"
"""After the name of a tensor of int8: the name of its rows' scales."""


def pack(state: ComponentState, precision: WirePrecision) -> ComponentState:
    """Return a state in the form in which it travels; its ``flat()`` is the mapping of labels to tensors that an engine sends.

    Examples
    --------
    >>> key = ComponentKey("shared")
    >>> state = ComponentState({key: {"w": torch.tensor([1.0, -0.5, 0.0])}})
    >>> pack(state, "int8").flat()
    {'shared:w': tensor([127, -64,   0], dtype=torch.int8), 'shared:w|scale': tensor([0.0079])}
    """
    if precision == "fp32":
        return state
    return ComponentState({key: _packed(named, precision) for key, named in state.items()})


def unpack(packed: ComponentState, precision: WirePrecision) -> ComponentState:
    """Return what the receiver reads; what others sent must have passed :func:`form_complaint` before."""
    if precision == "fp32":
        return packed
    return ComponentState({key: _unpacked(named, precision) for key, named in packed.items()})


def packed_bytes(shape: torch.Size, precision: WirePrecision) -> int:
    """Return the bytes of a tensor on the wire.

    >>> [packed_bytes(torch.Size([4, 64]), precision) for precision in ("fp32", "bf16", "int8")]
    [1024, 512, 272]
    """
    each = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    return shape.numel() * each + (4 * _rows(shape) if precision == "int8" else 0)


def form_complaint(
    key: ComponentKey, given: Mapping[str, Tensor], shapes: Mapping[str, Tensor], precision: WirePrecision
) -> str | None:
    """Return why a component is not in the form that :func:`pack` gives to tensors of these shapes, or None if it is."""
    expected = _forms(shapes, precision)
    if given.keys() != expected.keys():
        return f"component '{key}' has parameters {sorted(map(str, given))}, expected {sorted(expected)}"
    for name, (shape, dtype, device) in expected.items():
        tensor = given[name]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device != device:
            return f"'{key}:{name}' is not a dense tensor"
        if tensor.shape != shape:
            return f"'{key}:{name}' has shape {tuple(tensor.shape)}, expected {tuple(shape)}"
        if tensor.dtype != dtype:
            return f"'{key}:{name}' has dtype {tensor.dtype}, expected {dtype}"
        if name.endswith(SCALE) and not bool(((tensor >= 0) & tensor.isfinite()).all()):
            return f"'{key}:{name}' holds a scale that is negative or not finite"
    return None


def _forms(
    shapes: Mapping[str, Tensor], precision: WirePrecision
) -> dict[str, tuple[torch.Size, torch.dtype, torch.device]]:
    forms: dict[str, tuple[torch.Size, torch.dtype, torch.device]] = {}
    for name, like in shapes.items():
        if precision == "int8":
            forms[name] = (like.shape, torch.int8, like.device)
            forms[name + SCALE] = (torch.Size([_rows(like.shape)]), torch.float32, like.device)
        else:
            forms[name] = (like.shape, like.dtype if precision == "fp32" else torch.int16, like.device)
    return forms


def _packed(named: Mapping[str, Tensor], precision: WirePrecision) -> dict[str, Tensor]:
    packed: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if precision == "bf16":
            packed[name] = tensor.detach().to(torch.bfloat16).contiguous().view(torch.int16)
            continue
        rows = tensor.detach().to(torch.float32).reshape(_rows(tensor.shape), -1)
        scale = rows.abs().amax(dim=1) / 127
        # A row of zeros has no scale; dividing by one leaves it zero.
        codes = (rows / torch.where(scale > 0, scale, 1.0)[:, None]).round().clamp(-127, 127)
        packed[name] = codes.to(torch.int8).reshape(tensor.shape)
        packed[name + SCALE] = scale
    return packed


def _unpacked(named: Mapping[str, Tensor], precision: WirePrecision) -> dict[str, Tensor]:
    if precision == "bf16":
        return {name: bits.view(torch.bfloat16).to(torch.float32) for name, bits in named.items()}
    values: dict[str, Tensor] = {}
    for name, codes in named.items():
        if not name.endswith(SCALE):
            scale = named[name + SCALE]
            values[name] = (codes.to(torch.float32).reshape(len(scale), -1) * scale[:, None]).reshape(codes.shape)
    return values


def _rows(shape: torch.Size) -> int:
    """Return how many rows a tensor of this shape has."""
    row = 1
    for place in range(len(shape) - 1, -1, -1):
        row *= shape[place]
        if row >= ROW:
            return shape[:place].numel()
    return 1
