"""Settings that change a scenario, as Python takes them: ``section.key=value`` lines, or a mapping. Not here: what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import yaml

from fedtap.runtime.errors import UserError
from fedtap.runtime.text import one_line

Overrides: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""``["training.lr=1e-4"]``, ``{"training.lr": 1e-4}`` or ``{"training": {"lr": 1e-4}}``."""
_ACTIVE = re.compile(r"[,'\"\[\]{}()]")
"""What would part a text in a list of values."""


class _OneLine(yaml.SafeDumper):
    """Writes texts that hold marks of a list, or what is no part of a line, between double quotes."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _ACTIVE.search(value) or not value.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_OneLine.add_representer(str, _quoted)


def lines_of(overrides: Overrides) -> list[str]:
    """Return settings as ``key=value`` lines; mappings within mappings are keys with dots, and change nothing beside those.

    Raises
    ------
    UserError
        If a key is no text, or a value nothing that YAML can write.

    Examples
    --------
    >>> lines_of({"training": {"lr": 1e-4}, "method.distil": False, "rounds": 3})
    ['training.lr=0.0001', 'method.distil=false', 'rounds=3']
    """
    if isinstance(overrides, Mapping):
        return [f"{key}={_text(key, value)}" for key, value in _flat(overrides, "")]
    return [overrides] if isinstance(overrides, str) else list(overrides)


def axes_lines_of(settings: Overrides) -> list[str]:
    """Return the settings of a sweep as ``key=v1,v2,v3`` lines: in a mapping a list holds the values of one key.

    >>> axes_lines_of({"method": {"margin": [0.01, 0.1], "gate": "paired"}})
    ['method.margin=0.01,0.1', 'method.gate=paired']
    """
    if not isinstance(settings, Mapping):
        return lines_of(settings)
    lines = []
    for key, value in _flat(settings, ""):
        several = value if isinstance(value, list | tuple) else [value]
        if not several:
            raise UserError(f"'{key}': the list is empty; give the values that it is to have, one after another")
        lines.append(f"{key}={','.join(_text(key, each) for each in several)}")
    return lines


def _flat(settings: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if not isinstance(key, str) or not key.strip() or "=" in key:
            shown = one_line(repr(key), 60)
            raise UserError(f"{shown}: a setting's name is a text such as 'training.lr', without '='; mend that key")
        name = f"{above}{key.strip()}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _text(key: str, value: Any) -> str:
    """Return a value as YAML in one line, which reads back as the same."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        text = yaml.dump([value], Dumper=_OneLine, default_flow_style=True, width=float("inf"), allow_unicode=True)
    except yaml.YAMLError as error:
        kind = type(value).__name__
        raise UserError(
            f"'{key}': a value of type {kind} cannot be a setting; give numbers, texts, lists and mappings"
        ) from error
    return text.strip()[1:-1]
