"""What pydantic finds wrong with a user's settings, told in one line. Not here: the settings themselves (scenario)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from fedtap.runtime.errors import nearest


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one fault of a validation error as one line: the key, what is wrong, and the mend.

    An unknown key comes first, since a slip in a key is often why another is missing.
    """
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    if first["type"] == "extra_forbidden":
        *above, key = first["loc"]
        known = _fields_at(model, above)
        return " ".join(f"unknown key '{'.'.join(map(str, first['loc']))}'; {nearest(str(key), known)}".split())
    place = _place(first["loc"])
    if first["type"] == "missing":
        return f"'{place}' is missing; add it"
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    others = {_place(each["loc"]) for each in errors} - {place}
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"'{place}': {message}{shown}{more}".split()) if place else " ".join(f"{message}{more}".split())


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
