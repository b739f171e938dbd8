"""The one set of templates that all pages are made from: Jinja2, autoescaped. Not here: what stands on a page.

Every text is made neutral (control characters, marks that turn a line's direction) and then escaped, unless it is markup that a
template has made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedtap.reporting.html.markup import Markup
from fedtap.runtime.text import neutral_lines


def render(name: str, **values: Any) -> Markup:
    """Return what a template makes of some values."""
    return Markup(_environment().get_template(name).render(**values))


def piece(name: str, *given: Any, **named: Any) -> Markup:
    """Return what a macro of ``pieces.html`` makes of what it is given.

    >>> piece("note", "a < b")
    Markup('<p class="note">a &lt; b</p>')
    """
    return Markup(getattr(_environment().get_template("pieces.html").module, name)(*given, **named))


def source(name: str) -> str:
    """Return a template as it stands: a style sheet, for whoever needs its colours."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fedtap.reporting.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_neutral,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _neutral(value: Any) -> Any:
    """Return what is to be escaped: neutral text, or markup as it is; nothing for None."""
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else neutral_lines(str(value))
