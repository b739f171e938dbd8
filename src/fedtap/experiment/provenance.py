"""Where results come from: versions, machine, and the commit of fedtap itself where it runs from a git checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fedtap import __version__
from fedtap.backbones.origins import revisions_of
from fedtap.data.sources import source
from fedtap.data.sources.hub.source import HubSource
from fedtap.hub import record
from fedtap.scenario.scenario import Scenario


def provenance() -> dict[str, Any]:
    """Return JSON-ready facts that do not change from run to run on one machine with one installation."""
    return {
        "fedtap": __version__,
        "commit": commit(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def versions() -> dict[str, str | None]:
    """Return the versions of what a run's numbers come from; None for what is not installed."""
    installed = {package: _installed(package) for package in ("numpy", "pillow", "transformers")}
    return {"python": platform.python_version(), "torch": torch.__version__, **installed}


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def hub_commits(scenario: Scenario) -> dict[str, str]:
    """Return the commit of each repository of the hub that a run uses, as far as it is known.

    It is known of a backbone, and of what ``fedtap fetch`` has brought; of a data set that the library ``datasets`` found in its
    own cache it is not.
    """
    found = revisions_of(scenario.backbone)
    tasks = {(task.source, task.path) for client in scenario.clients for task in client.tasks}
    hubs = {kind.hub for name, path in tasks if path is None and isinstance(kind := source(name), HubSource)}
    found.update({hub: here.revision for hub in hubs if (here := record.read("dataset", hub)) is not None})
    return dict(sorted(found.items()))


def commit(folder: Path) -> str | None:
    """Return the commit of the checkout that tracks a folder's files, with ``+changes`` if they differ from it.

    None where there is no git, or where the folder only happens to lie within somebody's checkout, as a virtual environment
    does.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files", "."):
        return None
    head = git("rev-parse", "--short=12", "HEAD")
    return f"{head}+changes" if head and git("status", "--porcelain", ".") else head
