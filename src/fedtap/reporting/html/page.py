"""The frame of every page: head, summary and sections, in one file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from fedtap.reporting.html.markup import Markup, el, join


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
    sections: Iterable[Markup],
    footer: Iterable[str],
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
        All others.
    footer
        What the page was made from.
    """
    template = Template(resources.files("fedtap.reporting.html").joinpath("template.html").read_text(encoding="utf-8"))
    summary_title, sentences = summary
    return template.substitute(
        kind=join([kind]),
        title=join([title]),
        heading=join([heading]),
        about=join([about]),
        facts=join([facts]),
        figures=join(el("div", el("dd", figure), el("dt", name)) for figure, name in figures),
        notice=notice,
        summary_title=join([summary_title]),
        summary=join(el("p", sentence) for sentence in sentences),
        sections=join(sections),
        footer=join(footer),
    )


def section(title: str, *content: str) -> Markup:
    """Return a section under a heading."""
    return el("section", el("h2", title), *content)
