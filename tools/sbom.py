"""Writes what an environment consists of as a CycloneDX bill of materials: `make sbom`, or `python tools/sbom.py > sbom.json`.

The components are the distributions that are installed beside fedtap, as their own metadata name them, and which needs which. The
same environment gives the same bytes: there is no time and no serial number in it. Not here: where files came from (the index).
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Any

NAME = re.compile(r"[A-Za-z0-9._-]+")


def bill() -> dict[str, Any]:
    """Return the bill of this environment."""
    found = {plain(each.metadata["Name"]): each for each in distributions()}
    root = found.pop("fedtap")
    parts = {name: component(found[name], "library") for name in sorted(found)}
    own = component(root, "application")
    references = {"fedtap": own["bom-ref"], **{name: part["bom-ref"] for name, part in parts.items()}}
    needed = {
        references[name]: sorted({references[need] for need in needs(each) if need in references})
        for name, each in {"fedtap": root, **found}.items()
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": list(parts.values()),
        "dependencies": [{"ref": name, "dependsOn": on} for name, on in sorted(needed.items())],
    }


def component(installed: Distribution, kind: str) -> dict[str, Any]:
    """Return a distribution as a component."""
    name, version, about = plain(installed.metadata["Name"]), installed.version, installed.metadata
    reference = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    made: dict[str, Any] = {"type": kind, "bom-ref": reference, "name": name, "version": version, "purl": reference}
    if about.get("License-Expression"):
        made["licenses"] = [{"expression": about["License-Expression"]}]
    elif about.get("License") and "\n" not in about["License"]:
        made["licenses"] = [{"license": {"name": about["License"]}}]
    return made


def needs(installed: Distribution) -> set[str]:
    """Return the names of what a distribution may need, with any of its extras."""
    return {plain(match[0]) for need in installed.requires or () if (match := NAME.match(need))}


def plain(name: str) -> str:
    """Return a name in the form in which the registry compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
    sys.stdout.write("\n")
