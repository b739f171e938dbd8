"""What the documentation site needs beside docs/: a hook of MkDocs, called by name (`make docs`).

It brings in files from outside of docs/ that pages link to, with their links mended; makes the front page of the README; writes
the reference of commands from the command itself, and that of public names from ``fedtap.__all__``; and turns formulas into
MathML, which browsers draw without a script. Not here: how the site looks and what its pages are called (mkdocs.yml).
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE",
    "CITATION.cff": "CITATION.cff",
}
"""Files at the top of the project, and what they are called in the site."""
FOLDERS = ("benchmarks", "examples", "scenarios", "deploy")
"""Folders beside docs/ to which pages link; their files keep their paths, `examples` of docs/ being another place."""
STYLE = """math {
  font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "STIX Math", "DejaVu Math TeX Gyre", math;
  font-size: 1.08em;
}
.md-typeset td:first-child code { white-space: nowrap; }
"""
"""Formulas take a font for mathematics where the reader has one; without it subscripts stand too high."""
_ROLE = re.compile(r":(?:py:)?(?:meth|func|class|mod|exc|data|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>")
"""A cross-reference as docstrings have it, for Sphinx; here its last name is enough."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")
_FENCE = re.compile(r"(^ {0,3}```.*?^ {0,3}```[^\n]*$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add what lies outside of docs/, and the pages that are made."""
    from mkdocs.structure.files import File

    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                place = _placed(path.relative_to(ROOT).as_posix())
                files.append(File.generated(config, place, abs_src_path=str(path)))
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "site.css", content=STYLE))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Mend the links of a page, which are right where its file lies, and fill in the reference of public names."""
    place = page.file.src_uri
    if place == "api.md":
        markdown = markdown.replace("<!-- api -->", api())
    origin = _origin(place)
    parts = _FENCE.split(_spaced(markdown))
    for at in range(0, len(parts), 2):  # code stays as it is
        parts[at] = _LINK.sub(lambda found: _mended(found[1], origin, place), parts[at])
    return "".join(parts)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Turn formulas into MathML, and what docstrings have for Sphinx into plain names and blocks."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        text = html.unescape(found[2]).strip()
        block = text.startswith("\\[")
        return convert(text[2:-2].strip(), display="block" if block else "inline")

    if page.file.src_uri == "api.md":
        content = _ROLE.sub(r"<code>\1</code>", content).replace("<p>.. code-block:: python</p>", "")
    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', drawn, content, flags=re.DOTALL)


def commands() -> str:
    """Return the reference of commands, from the command itself."""
    from typer.main import get_command

    from fedtap.cli import app

    lines = [
        "# Commands",
        "",
        "Every command with what it takes, as `--help` tells it. This page is made from the command when the site is built.",
        "",
    ]
    _describe(get_command(app), "fedtap", lines)
    return "\n".join(lines)


def api() -> str:
    """Return the directives that draw the public names."""
    import fedtap

    homes = fedtap._HOMES
    names = [name for name in fedtap.__all__ if name in homes]
    return "\n\n".join(f"::: {homes[name]}.{name}" for name in names)


def _describe(command: Any, path: str, lines: list[str]) -> None:
    from typer.models import DefaultPlaceholder

    about = command.help if not isinstance(command.help, DefaultPlaceholder) else ""
    lines += [f"## `{path}`", "", *(line.strip() for line in (about or "").splitlines()), ""]
    below = getattr(command, "commands", {})
    taken = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    rows = [_row(parameter) for parameter in taken if parameter.name not in ("help", *_COMPLETION)]
    if rows:
        lines += ["| takes | by default | what it is |", "|---|---|---|", *rows, ""]
    shown = [
        line.strip("- `")
        for line in (command.epilog or "").splitlines()
        if line.startswith("- `") and not isinstance(command.epilog, DefaultPlaceholder)
    ]
    if shown:
        lines += ["```console", *shown, "```", ""]
    for name in below:
        _describe(below[name], f"{path} {name}", lines)


_COMPLETION = ("install_completion", "show_completion")


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    metavar = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        word = f"`{metavar or parameter.name.upper()}`"
    else:
        word = ", ".join(f"`{name}`" for name in names) + (f" `{metavar}`" if metavar and metavar[0] != "[" else "")
    default = parameter.default
    plain = default is not None and not callable(default) and default is not False and default != ()
    plain = plain and "Ellipsis" not in repr(default)
    value = f"`{default}`" if plain and str(default) else ("required" if parameter.required else "")
    about = (getattr(parameter, "help", None) or "").replace("|", "\\|").replace("\n", " ")
    return f"| {word.replace('|', chr(92) + '|')} | {value} | {about} |"


def _spaced(markdown: str) -> str:
    """Return Markdown in which an empty line stands before each list: forges need none, Python-Markdown does."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        begins = re.match(r"(?:[-*] |\d+\. )", line) is not None
        before = lines[-1] if lines else ""
        if begins and not fenced and before.strip() and not re.match(r"\s*(?:[-*] |\d+\. )|\s{2,}", before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _placed(path: str) -> str:
    """Return what a file of the project is called in the site.

    A README is its folder's page there, and docs/examples keeps its name, so the folder `examples` has another.
    """
    if path.startswith("examples/"):
        path = "project-examples/" + path.removeprefix("examples/")
    return path


def _origin(place: str) -> str:
    """Return the path within the project of a page of the site."""
    for source, name in OUTSIDE.items():
        if name == place:
            return source
    if place.startswith("project-examples/"):
        return "examples/" + place.removeprefix("project-examples/")
    return place if place.split("/")[0] in FOLDERS else f"docs/{place}"


def _mended(link: str, origin: str, place: str) -> str:
    """Return a link of a file of the project as it is right in the site."""
    target = os.path.normpath(PurePosixPath(origin).parent / link)
    if target in OUTSIDE:
        there = OUTSIDE[target]
    elif target.startswith("docs/"):
        there = target.removeprefix("docs/")
    elif target == "docs":
        there = "index.md"
    elif target.split("/")[0] in FOLDERS:
        there = _placed(target)
        if (ROOT / target).is_dir():
            inside = "README.md" if (ROOT / target / "README.md").is_file() else ""
            there = f"{there}/{inside}" if inside else "results.md"
    else:
        return link
    return os.path.relpath(there, PurePosixPath(place).parent)
