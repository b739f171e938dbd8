"""The frame of every page: head, contents, summary and sections, in one file that needs no network and no other file.

A little script of its own sorts tables and opens what a link leads to; without it all is there to be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtap.reporting.html.markup import Markup, join
from fedtap.reporting.html.templating import render


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under a heading, to which the contents lead."""

    title: str
    body: Markup


@dataclass(frozen=True, slots=True)
class Live:
    """What a page has beside its own that renews itself: how things stand, and what comes before all other sections."""

    notice: Markup
    sections: Sequence[Section | None] = ()


def made_with(result: Mapping[str, Any]) -> str:
    """Return in one line the seeds, versions and machine of a comparison or a sweep."""
    commit = f" · commit {result['commit']}" if result.get("commit") else ""
    seeds = ", ".join(map(str, result["seeds"]))
    return f"seeds {seeds} · fedtap {result['fedtap']}{commit} · torch {result['torch']} · {result['machine']}"


def page(
    *,
    kind: str,
    title: str,
    heading: str,
    about: str,
    facts: str,
    figures: Iterable[tuple[str, str]],
    notice: Markup,
    summary: tuple[str, Sequence[str]],
    sections: Iterable[Section | None],
    footer: Iterable[str],
    headline: Sequence[str] = (),
    live: bool = False,
) -> str:
    """Return a page as HTML.

    Parameters
    ----------
    kind
        What the page is about, above its heading.
    title, heading, about, facts
        The window's title, the heading, and two lines below it.
    figures
        (figure, what it is), large, at the head.
    notice
        What must not be overlooked, or nothing.
    summary
        The first section's title, and its sentences.
    sections
        All others; None is passed over.
    footer
        What the page was made from.
    headline
        The result in a sentence, and others in smaller letters.
    live
        Whether the page asks where it came from for what is new.
    """
    summary_title, sentences = summary
    told = [each for each in sections if each is not None]
    return render(
        "page.html",
        kind=kind,
        title=title,
        heading=heading,
        about=about,
        facts=facts,
        headline=list(headline),
        figures=list(figures),
        notice=notice,
        summary_title=summary_title,
        summary=sentences,
        sections=[
            (key, each) for key, each in zip(_keys([summary_title, *(s.title for s in told)])[1:], told, strict=True)
        ],
        summary_key=_keys([summary_title])[0],
        footer=join(footer),
        live=live,
    )


def scripts(*, live: bool) -> list[str]:
    """Return the scripts of a page, as they stand between their tags: who serves a page may allow these and no other."""
    return re.findall("<script>(.*?)</script>", render("scripts.html", live=live), re.DOTALL)


def section(title: str, *content: str) -> Section | None:
    """Return a section under a heading; None where there is nothing to stand in it."""
    body = join(content)
    return Section(title, body) if body else None


def _keys(titles: Sequence[str]) -> list[str]:
    """Return what links call each section: the words of its title, numbered where two are the same."""
    found: list[str] = []
    for title in titles:
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        number = sum(key == words or key.startswith(f"{words}-n") for key in found)
        found.append(f"{words}-n{number + 1}" if number else words)
    return found
