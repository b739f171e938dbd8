"""What pydantic finds wrong with a user's settings, told in one line. Not here: the settings themselves (scenario)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from fedtap.runtime.errors import nearest
from fedtap.runtime.text import one_line
from fedtap.scenario.settings import read_as

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NAMED = 3
"""How many further faults are named."""


def first_of(error: ValidationError) -> ErrorDetails:
    """Return the fault that is told: an unknown key, since a slip in a key is often why another is missing, or the first."""
    errors = error.errors()
    return next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])


def location_of(error: ValidationError) -> tuple[int | str, ...]:
    """Return where the fault that is told lies: keys and indices, from the top."""
    first = first_of(error)
    index = first.get("ctx", {}).get("index")
    return first["loc"] if index is None else (*first["loc"], int(index))


def whose(location: Sequence[int | str], raw: Mapping[str, Any]) -> str:
    """Return whose the value at a location of a scenario is, as the head of a message: its client and its task, or nothing.

    >>> whose(("clients", 0, "tasks", 0, "type"), {"clients": [{"id": "ward", "tasks": [{"name": "scans"}]}]})
    "client 'ward', task 'scans', "
    """
    found, here = "", raw
    for list_name, word, key in (("clients", "client", "id"), ("tasks", "task", "name")):
        at = next(
            (n for n, part in enumerate(location[:-1]) if part == list_name and isinstance(location[n + 1], int)), None
        )
        below = here.get(list_name) if isinstance(here, Mapping) else None
        if at is None or not isinstance(below, list):
            break
        here = below[int(location[at + 1])]
        if isinstance(here, Mapping) and isinstance(here.get(key), str):
            found += f"{word} '{one_line(here[key], 64)}', "
    return found


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one fault of a validation error as one line: the key, what is wrong, and the mend; others are named by place."""
    first = first_of(error)
    more = _others(error, first)
    if first["type"] == "extra_forbidden":
        *above, key = first["loc"]
        known = _fields_at(model, above)
        return " ".join(f"unknown key '{'.'.join(map(str, first['loc']))}'; {nearest(str(key), known)}{more}".split())
    place = _place(first["loc"])
    if first["type"] == "missing":
        return f"'{place}' is missing; add it{more}"
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first.get("input")
    if first["type"] == "string_type" and isinstance(given, bool | int | float | date):
        message = f"is {read_as(given)}, not as text; put quotes around it"
        given = None
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return " ".join(f"'{place}': {message}{shown}{more}".split()) if place else " ".join(f"{message}{more}".split())


def _others(error: ValidationError, first: ErrorDetails) -> str:
    """Return where else something is wrong, in brackets, or nothing.

    A key that is missing beside an unknown one is most likely the same slip, and not told.
    """
    slip = first["type"] == "extra_forbidden"
    faults = [each for each in error.errors() if not (slip and each["type"] == "missing")]
    places = list(dict.fromkeys(place for each in faults if (place := _place(each["loc"])) != _place(first["loc"])))
    named = ", ".join(f"'{one_line(place, 64)}'" for place in places[:NAMED])
    return f" (and {len(places)} more: {named}{', …' if len(places) > NAMED else ''})" if places else ""


def _place(location: Sequence[int | str]) -> str:
    """Return a location as the user writes it, without the names that pydantic gives to the choices of a union."""
    parts = (str(part) for part in location)
    return ".".join(part for part in parts if not part.startswith(("function-", "constrained-", "tuple[")))


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the field names of the model that a location inside another model leads to."""
    here: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = here.model_fields.get(part) if isinstance(here, type) and issubclass(here, BaseModel) else None
        if field is None:
            return []
        here = field.annotation
        inner = [a for a in getattr(here, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        here = inner[0] if inner else here
    fields = here.model_fields if isinstance(here, type) and issubclass(here, BaseModel) else {}
    return [name for name, field in fields.items() if not field.exclude]
