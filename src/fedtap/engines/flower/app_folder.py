"""The folder that ``flwr run`` sends to the SuperLink: a Flower app of four small files around a scenario."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from fedtap import __version__
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import write_bytes

PACKAGE = "fedtap_app"
MOST_BYTES = 5_000_000  # of a scenario: Flower takes apps of ten megabytes at the most

PROJECT = """\
# A federation as a Flower app; see README.md beside this file.
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = {name}
version = "1.0.0"
description = "A federation of fedtap"
license = {{ file = "LICENSE" }}
dependencies = ["fedtap=={version}", "flwr>=1.41,<1.42"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fedtap"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"

# What a run may be told, by `flwr run . --run-config "seed=1"` too.
[tool.flwr.app.config]
method = ""       # instead of the scenario's own
seed = 0
set = ""          # settings of the scenario, with semicolons between them: "rounds=4; local_steps=5"
out = {out}  # the run's folder on the server
resume = true     # go on from the last complete round in that folder
keys = {keys}  # the folder of the nodes' public keys on the server, CLIENT.pub each
insecure = {insecure}  # true: nodes without keys; any of them may then say that it is any client
patience = 600.0  # seconds to wait for nodes before a round
at-once = 0       # the most clients that work at a time; 0: no limit
device = "cpu"    # of the server
fault = ""        # a file to leave one line in if the server cannot go on
"""
SERVER = '''\
"""The server of the federation."""

from pathlib import Path

from fedtap.deployment.apps import server_app

app = server_app(Path(__file__).with_name("scenario.yaml"))
'''
CLIENT = '''\
"""A node of the federation."""

from pathlib import Path

from fedtap.deployment.apps import client_app

app = client_app(Path(__file__).with_name("scenario.yaml"))
'''
README = """\
# {title}

A federation of fedtap as a Flower app. `{package}/scenario.yaml` says who takes part and how; every node and the server get this
folder through the SuperLink. With the SuperLink and the nodes running, and the SuperLink's address in Flower's configuration
under a name of yours:

    flwr run . NAME

The guide to everything else (certificates, keys, what lies where, what happens on a fault) is fedtap's docs/flower.md.
"""
LICENSE = "The scenario and these files are their owner's. fedtap and Flower come under Apache-2.0.\n"


def write_app(folder: Path, scenario: str, *, name: str, out: str = "", keys: str = "", insecure: bool = False) -> Path:
    """Write an app around the text of a scenario, and return its folder.

    Parameters
    ----------
    folder
        It must be empty, or not be there yet.
    scenario
        YAML. Paths of data start at each node's own folder.
    name
        Of the federation.
    out, keys, insecure
        What the app's settings of these names start as.

    Raises
    ------
    UserError
        If the folder is not empty, or the scenario is too long for an app.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; give another folder")
    if len(scenario.encode()) > MOST_BYTES:
        raise UserError(
            f"the scenario is longer than {MOST_BYTES} bytes; use `count` or `population` instead of a long list"
        )
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "federation"
    project = PROJECT.format(
        name=json.dumps(plain),
        version=__version__,
        package=PACKAGE,
        out=json.dumps(out),
        keys=json.dumps(keys),
        insecure=json.dumps(insecure),
    )
    files: Mapping[str, str] = {
        "pyproject.toml": project,
        "README.md": README.format(title=name, package=PACKAGE),
        "LICENSE": LICENSE,
        f"{PACKAGE}/__init__.py": '"""A federation of fedtap."""\n',
        f"{PACKAGE}/server_app.py": SERVER,
        f"{PACKAGE}/client_app.py": CLIENT,
        f"{PACKAGE}/scenario.yaml": scenario,
    }
    for path, text in files.items():
        write_bytes(folder / path, text.encode())
    return folder
