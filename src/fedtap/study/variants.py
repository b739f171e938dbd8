"""Labels of methods in a comparison, ``tap:gate=paired+scope=exclusive``: a method and what is set differently for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.outside import source_of
from fedtap.algorithms.registry import algorithms, make
from fedtap.experiment.planning import trains
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import Scenario, apply_override, build_scenario

ALL = "all"
SHARED = ("data", "clients", "population", "tasks_per_client", "evaluation", "name", "about", "folder")
"""What all methods of a comparison have in common; a label that changed it would be compared on other data."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A method under a label, with the scenario that it runs on: the common one, with its own settings in it."""

    label: str
    scenario: Scenario
    algorithm: Algorithm

    def served(self) -> frozenset[tuple[str, str]]:
        """Return the (client, task) that the method's architecture can serve."""
        from fedtap.experiment.planning import architecture_of

        architecture = architecture_of(self.scenario, self.algorithm)
        return frozenset(
            (client.id, pair.task) for client in self.scenario.clients for pair in architecture.served(client.pairs)
        )


def split_list(text: str) -> list[str]:
    """Split at commas, but not at those within brackets or quotes.

    >>> split_list("0.1, [1,2],{a: 1, b: 2}")
    ['0.1', '[1,2]', '{a: 1, b: 2}']
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "[{(") - (character in "]})")
        if character == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def variants(scenario: Scenario, labels: Sequence[str], *, place: str = "--methods") -> list[Variant]:
    """Return the methods that labels name; a label given twice counts once.

    ``all`` stands for every registered method that can train the scenario's architecture.

    Raises
    ------
    UserError
        If a method or a setting is unknown or wrong, or two labels mean the same.
    """
    every = [name for name, method in algorithms().items() if trains(scenario, method)]
    expanded = [name for label in labels for name in (every if label == ALL else [label])]
    found: list[Variant] = []
    for label in dict.fromkeys(expanded):
        made = variant(scenario, label, place=place)
        if any(each.label == made.label for each in found):  # a file, and the name of its method
            continue
        same = next((each.label for each in found if each.scenario == made.scenario), None)
        if same is not None:
            raise UserError(f"{place}: '{label}' is the same as '{same}'; leave one of them out")
        found.append(made)
    return found


def unable(scenario: Scenario) -> list[str]:
    """Return the methods that ``all`` leaves out, since they cannot train the scenario's architecture."""
    return [name for name, method in algorithms().items() if not trains(scenario, method)]


def variant(scenario: Scenario, label: str, *, place: str = "--methods", overrides: Sequence[str] = ()) -> Variant:
    """Return the method that a label names, on a scenario.

    A setting without a dot that is no key of a scenario is one of the method's parameters, as with ``--set``.
    ``overrides`` are applied after the label's own, as they are. A file stands for its method: the variant's label has that
    one's name, and is the same wherever the file lies.

    Raises
    ------
    UserError
        If the method or a setting is unknown or wrong, or the method is one that other processes cannot find.
    """
    given, colon, rest = _parted(label)
    if not given or (colon and not rest):
        raise UserError(f"{place}: '{label}' is no method; write NAME or NAME:key=value+key=value")
    there = f"{place}: '{label}'" if rest else place
    base = make(scenario.method, given, there)
    name = base.name
    label = f"{name}:{rest}" if rest else name
    if source_of(type(base)) is None:
        raise UserError(
            f"{place}: method '{name}' is known to this Python process alone, and every run is a process of its own; put it "
            "into a file and give that, for example mine.py"
        )
    raw = scenario.resolved()
    raw["method"] = {"name": name, **base.params.model_dump(mode="json")}
    for setting in re.split(r"\+(?=[A-Za-z_][\w.]*=)", rest) if rest else ():
        key = setting.partition("=")[0].strip()
        top = key.split(".")[0]
        if key in ("method", "method.name"):
            raise UserError(f"{there}: the method's name stands before the colon; leave '{key}' out")
        if top in SHARED:
            raise UserError(f"{there}: '{key}' must be the same for all methods; give it as --set {setting}")
        if "." not in key and key not in Scenario.model_fields and key not in base.Params.model_fields:
            raise UserError(f"{there}: unknown key '{key}'; {nearest(key, base.Params.model_fields)}")
        try:
            apply_override(raw, setting)
        except UserError as error:
            raise UserError(str(error).replace("--set", there, 1)) from error
    for override in overrides:
        apply_override(raw, override)
    changed = build_scenario(raw, place=there, folder=scenario.folder)
    algorithm = make(changed.method, None, there)
    section = {"name": name, **algorithm.params.model_dump(mode="json")}
    return Variant(label, changed.model_copy(update={"method": section}), algorithm)


def _parted(label: str) -> tuple[str, str, str]:
    """Return a label's method, the colon, and its settings; a file's method may be ``FILE.py`` or ``FILE.py:CLASS``.

    >>> _parted("tap:gate=paired"), _parted("my/own.py:Own:lr=0.1"), _parted("own.py:lr=0.1")
    (('tap', ':', 'gate=paired'), ('my/own.py:Own', ':', 'lr=0.1'), ('own.py', ':', 'lr=0.1'))
    """
    found = re.fullmatch(r"(.*?\.py(?::[^\W\d]\w*(?=:|$))?)(?:(:)(.*))?", label)
    if found is None:
        name, colon, rest = label.partition(":")
        return name, colon, rest
    return found[1], found[2] or "", found[3] or ""


def file_name(label: str) -> str:
    """Return a label as part of a file's name; labels that differ have names that differ.

    >>> file_name("tap:gate=paired+scope=exclusive")
    'tap-gate=paired+scope=exclusive'
    """
    name = re.sub(r"[^A-Za-z0-9_.=+-]", "-", label.replace(":", "-", 1))
    if len(name) > 100 or not re.fullmatch(r"[\w.=+-]+|\w+:[\w.=+-]+", label, re.ASCII):
        name = f"{name[:100]}-{digest(label)[:8]}"
    return name
