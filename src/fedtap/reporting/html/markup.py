"""Text that is HTML already, and pieces of it put together. Whatever else a template meets, it escapes."""

from __future__ import annotations

from collections.abc import Iterable

import markupsafe

from fedtap.runtime.text import neutral_lines


class Markup(markupsafe.Markup):
    """HTML that is safe as it stands."""

    __slots__ = ()


def join(children: Iterable[str]) -> Markup:
    """Return the children one after another; those that are not :class:`Markup` are escaped, and can turn no text around them."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else markupsafe.escape(neutral_lines(str(child))) for child in children
        )
    )
