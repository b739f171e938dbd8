"""``fedtap methods``: what a federation can be trained with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fedtap.cli.screen import examples, say
from fedtap.runtime.errors import UserError, nearest

EXAMPLES = examples("fedtap methods", "fedtap methods tap")


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this method's parameters.")] = None,
) -> None:
    """List the methods, name first, with what each does; with NAME, that one's source and parameters.

    A parameter is set in a scenario's section `method`, or with `--set method.PARAMETER=VALUE`.
    """
    from fedtap.algorithms.registry import algorithms

    known = algorithms()
    if name is None:
        width = max(len(each) for each in known)
        for each, kind in known.items():
            say(f"{each:<{width}}  {kind.summary}")
        return
    if name not in known:
        raise UserError(f"method '{name}': there is none; {nearest(name, known)}")
    kind = known[name]
    say(f"{name}  {kind.summary}")
    say(f"source: {kind.source}")
    fields = kind.Params.model_fields
    say("parameters:" if fields else "parameters: none")
    for parameter, field in fields.items():
        say(f"  {parameter} = {_default(field)}")


def _default(field: Any) -> str:
    """Return a parameter's default as it would be written in a scenario."""
    value = field.get_default(call_default_factory=True)
    return {True: "true", False: "false", None: "null"}.get(value, str(value)) if _is_word(value) else str(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
