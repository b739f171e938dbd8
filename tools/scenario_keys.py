"""Writes docs/reference/scenario-keys.md: every key of a scenario, from the typed settings themselves.

    python tools/scenario_keys.py

A test checks that what is written is current.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedtap.algorithms.base import Params
from fedtap.algorithms.registry import algorithms
from fedtap.cli.in_words import allowed, prose
from fedtap.scenario.scenario import Scenario
from fedtap.scenario.settings import Settings

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "scenario-keys.md"
MADE = frozenset({"parts"})
"""Keys that are made of others, and that nobody writes."""
HEAD = """# Keys of a scenario

Made from the program's own settings by `python tools/scenario_keys.py`; do not edit it by hand. `fedtap scenario show FILE`
prints what a scenario comes to with every default, and `fedtap scenario validate FILE` names the nearest known key for a
mistyped one. On the command line `--set SECTION.KEY=VALUE` sets any of these, but for those of `clients`. What each federation
in `scenarios/` is for is told in [scenarios.md](../scenarios.md), one's own data in [own-data.md](../own-data.md).
"""


def reference() -> str:
    """Return the page."""
    parts = [HEAD, *(_section(place, kind) for place, kind in sections(Scenario)), _methods()]
    return "\n".join(parts)


def sections(kind: type[BaseModel], place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Iterate over a model and, below it, those of its keys, with the place of each: ``backbone.lora``."""
    yield place, kind
    for key, field in _fields(kind):
        for below in _models(field.annotation):
            many = "[]" if _is_list(field.annotation) else ""
            yield from sections(below, f"{place}.{key}{many}".lstrip("."))


def _fields(kind: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return [(key, field) for key, field in kind.model_fields.items() if not field.exclude and key not in MADE]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def _section(place: str, kind: type[BaseModel]) -> str:
    title = f"## `{place}`" if place else "## At the top"
    return "\n".join([title, "", prose(kind), "", _table(kind), ""])


def _table(kind: type[BaseModel], fields: list[tuple[str, FieldInfo]] | None = None) -> str:
    told = allowed(kind)
    rows = [
        f"| `{key}` | {told[key]} | {_default(field)} |" for key, field in (_fields(kind) if fields is None else fields)
    ]
    return "\n".join(["| key | what it may be | default |", "|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return "as below"
    if value in ({}, (), ""):
        return "nothing"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value, default=list)}`"


def _methods() -> str:
    """Return the parameters of all methods, which are keys of ``method`` too; those that all have first."""
    lines = [
        "## Parameters of methods",
        "",
        "Keys of `method` beside `name`; on the command line `--set method.KEY=VALUE`, or `KEY=VALUE` alone. All methods have:",
        "",
        _table(Params),
        "",
    ]
    for name, method in algorithms().items():
        own = [(key, field) for key, field in _fields(method.Params) if key not in Params.model_fields]
        if own and method.__module__.startswith("fedtap."):
            lines += [f"### `{name}`", "", prose(method.Params), "", _table(method.Params, own), ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
