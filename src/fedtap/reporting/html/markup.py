"""A few lines to write HTML in which nothing can be left unescaped: text is escaped unless this module made it."""

from __future__ import annotations

import html
from collections.abc import Iterable

from fedtap.runtime.text import neutral_lines

VOID = frozenset({"br", "hr", "meta", "col"})


class Markup(str):
    """HTML that is safe as it stands."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | int | None) -> Markup:
    """Return an element; children that are not :class:`Markup` are escaped, attributes that are None left out.

    A trailing underscore of an attribute's name is dropped (``class_``) and the others are hyphens (``aria_label``).

    >>> el("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(neutral_lines(str(value)))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Markup:
    """Return the children one after another; those that are not :class:`Markup` are escaped, and can turn no text around them."""
    return Markup(
        "".join(child if isinstance(child, Markup) else html.escape(neutral_lines(child)) for child in children)
    )
