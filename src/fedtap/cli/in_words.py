"""Settings in words: what each key may be, and what its class says of it. Not here: what is wrong with one (scenario.explain)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`on`, `off`"}


def allowed(kind: type[BaseModel]) -> dict[str, str]:
    """Return for each key of a class of settings what it may be, as Markdown.

    >>> from fedtap.scenario.training import TrainingSettings
    >>> allowed(TrainingSettings)["optimizer"], allowed(TrainingSettings)["final_ratio"]
    ('`adamw`, `sgd`', 'number, at least 0, at most 1')
    """
    schema = kind.model_json_schema()
    told, defs = schema["properties"], schema.get("$defs", {})
    return {
        key: _value(told[key], defs) + "".join(f", {bound}" for bound in _bounds(field))
        for key, field in kind.model_fields.items()
        if key in told
    }


def prose(kind: type[BaseModel]) -> str:
    """Return the docstring of a class of settings as Markdown, its lines as they are."""
    text = re.sub(r"^ {4}", "", kind.__doc__ or "", flags=re.MULTILINE).strip()
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def _value(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema allows."""
    if "$ref" in schema:
        return "keys, below" if schema["$ref"].rpartition("/")[2] in defs else "keys"
    if "allOf" in schema:
        return _value(schema["allOf"][0], defs)
    if "anyOf" in schema:
        each = [_value(one, defs) for one in schema["anyOf"] if one.get("type") != "null"]
        return ", or ".join(dict.fromkeys(each))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, defs)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"keys, each with {_value(inner, defs)}" if isinstance(inner, Mapping) and inner else "keys"
    return _KINDS.get(str(kind), "any value")


def _list(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        each = [_value(one, defs) for one in schema["prefixItems"]]
        return f"list of {len(each)}: {each[0]}" if len(set(each)) == 1 else f"list: {'; '.join(each)}"
    return f"list of: {_value(schema.get('items', {}), defs)}"


def _bounds(field: FieldInfo) -> Iterator[str]:
    """Iterate over the bounds between which a number lies."""
    for mark in _marks(field):
        for limit in getattr(mark, "metadata", [mark]):
            for name, word in _BOUNDS.items():
                if hasattr(limit, name):
                    yield f"{word} {getattr(limit, name):,}"


def _marks(field: FieldInfo) -> list[Any]:
    """Return what a key's type is annotated with, where it may be nothing too."""
    return [*field.metadata, *(mark for one in get_args(field.annotation) for mark in getattr(one, "__metadata__", ()))]
