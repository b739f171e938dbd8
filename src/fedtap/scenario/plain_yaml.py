"""YAML as plain values, with every way in which it can be wrong told in one line. Not here: what the values mean (scenario)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import NotPlainError, read_bounded

MAX_TEXT = 1_000_000  # characters
MAX_VALUES = 1_000_000  # with each alias written out: a few lines of aliases to aliases could stand for billions


class NotYamlError(Exception):
    """The text is not YAML that we take. The message is one line; ``line`` is 1-based, or None where it is not known."""

    def __init__(self, why: str, line: int | None) -> None:
        super().__init__(why)
        self.line = line


def read_yaml(path: Path) -> str:
    """Return the text of a YAML file, of which no more is read than :func:`parse` takes.

    Raises
    ------
    OSError, UnicodeDecodeError
        If it cannot be read, or is not UTF-8.
    NotYamlError
        If it is too long.
    """
    try:
        return read_bounded(path, 4 * MAX_TEXT, plain=False).decode(
            "utf-8"
        )  # of a character UTF-8 makes four bytes at the most
    except NotPlainError as error:
        raise NotYamlError(str(error), None) from error


def parse(text: str) -> Any:
    """Return the value of a YAML text: mappings, lists, strings, numbers, booleans, dates, None.

    Raises
    ------
    NotYamlError
        If it is too long, or its aliases make it so, is not YAML, names a Python object, or gives a key of a mapping twice.

    Examples
    --------
    >>> parse("rounds: 3")
    {'rounds': 3}
    """
    if len(text) > MAX_TEXT:
        raise NotYamlError(f"{len(text)} characters; {MAX_TEXT} at the most", None)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_VALUES:
            raise NotYamlError(f"it stands for more than {MAX_VALUES} values; use fewer aliases", None)
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise NotYamlError(why, mark.line + 1 if mark else None) from error


def read_parsed(path: Path, place: str) -> tuple[str, Any]:
    """Return a YAML file of a user's as text and as plain values; ``place`` names it in errors.

    Raises
    ------
    FileNotFoundError
        If there is none: what to do then is the caller's to say.
    UserError
        If it cannot be read, or is no plain YAML.
    """
    try:
        text = read_yaml(path)
        return text, parse(text)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot be read ({error}); give a YAML file in UTF-8") from error
    except NotYamlError as error:
        line = f" line {error.line}" if error.line else ""
        raise UserError(f"{place}:{line} not valid YAML ({error}); mend that line") from error


def line_of(text: str, location: Sequence[int | str]) -> int | None:
    r"""Return the line, counted from 1, of the value at a location; keys and indices that are not there are left out.

    >>> line_of("a: 1\nb:\n  - c: no\n", ("b", 0, "c"))
    3
    """
    try:
        node = _Loader(text).get_single_node()
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if node is None:
        return None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), node)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
    return int(node.start_mark.line) + 1


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, each alias counted as often as it is used."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # of a node within itself, which has no end
        below = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else []
        below = list(node.value) if isinstance(node, yaml.SequenceNode) else below
        known[id(node)] = 1 + sum(_size(each, known) for each in below)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """The safe subset; a key given twice is refused, since one of its values would be lost without a word.

    It is not the loader in C, which is quicker by some 15 ms a scenario: deep nesting overflows its stack and ends the process,
    where this one raises a RecursionError.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"key '{key.value}' is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
