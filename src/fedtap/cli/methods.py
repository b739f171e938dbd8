"""``fedtap methods``: what a federation can be trained with."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtap.cli.screen import examples, say
from fedtap.runtime.errors import UserError, nearest

if TYPE_CHECKING:
    from fedtap.algorithms.base import Params

WIDTH = 100
"""Of what is said of parameters, in letters."""
EXAMPLES = examples("fedtap methods", "fedtap methods tap")


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this method's parameters.")] = None,
) -> None:
    """List the methods, name first, with what each does; with NAME, that one's source and parameters.

    Of each parameter the default, what it may be, and below what it means.

    A parameter is set in a scenario's section `method`, or with `--set method.PARAMETER=VALUE`.
    """
    from fedtap.algorithms.registry import algorithms
    from fedtap.cli.in_words import allowed

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
    say("parameters:")
    defaults = {name: f"{name} = {_default(field)}" for name, field in kind.Params.model_fields.items()}
    width = max(map(len, defaults.values()))
    for parameter, may_be in allowed(kind.Params).items():
        say(f"  {defaults[parameter]:<{width}}  {may_be.replace('`', '')}")
    for paragraph in _meanings(kind.Params):
        say("\n" + textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False))


def _meanings(kind: type[Params]) -> list[str]:
    """Return in paragraphs what is said of the parameters by the class that has them and by those below it, nearest first."""
    from fedtap.algorithms.base import Params
    from fedtap.cli.in_words import prose

    named = [each for each in kind.__mro__ if issubclass(each, Params) and each.__doc__]
    paragraphs = [paragraph for each in named for paragraph in prose(each).replace("`", "").split("\n\n")]
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


def _default(field: Any) -> str:
    """Return a parameter's default as it would be written in a scenario."""
    value = field.get_default(call_default_factory=True)
    return {True: "true", False: "false", None: "null"}.get(value, str(value)) if _is_word(value) else str(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
