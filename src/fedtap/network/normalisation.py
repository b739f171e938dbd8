"""Which tensors are the scale or the shift of a normalisation, by their names; for methods that treat them apart.

The rule of names: a normalisation module is called ``norm`` or ``..._norm``; the normalisations of a fusion layer, whose tensors
are stacked over layers, are ``ln1_w ln1_b ln2_w ln2_b`` (:mod:`fedtap.network.blocks`). :func:`check_names` holds components to
it, so that a normalisation under another name is refused and not overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import nn

from fedtap.network.architecture import Architecture
from fedtap.pairs import ComponentKey

_NAME = re.compile(r"(?:.+[._])?norm\.(?:weight|bias)|ln[12]_[wb]")
_MODULES = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_normalisation(name: str) -> bool:
    """Tell whether a component's tensor of this name belongs to a normalisation.

    >>> [is_normalisation(name) for name in ("norm.weight", "layers.0.out_norm.bias", "ln2_w", "linear.bias", "q_w")]
    [True, True, True, False, False]
    """
    return _NAME.fullmatch(name) is not None


def check_names(architecture: Architecture, keys: Iterable[ComponentKey]) -> None:
    """Make sure that the names of all tensors of normalisations in these components say what they are.

    Raises
    ------
    ValueError
        If one does not.
    """
    for key in sorted(keys):
        with torch.device("meta"):
            component = architecture.build(key)
        for place, module in component.named_modules():
            if isinstance(module, _MODULES):
                for parameter, _ in module.named_parameters(prefix=place):
                    if not is_normalisation(parameter):
                        raise ValueError(
                            f"{key}:{parameter} belongs to a {type(module).__name__}, but its name does not say so; call the "
                            "module 'norm' or '..._norm', so that methods that treat normalisations apart find it"
                        )
