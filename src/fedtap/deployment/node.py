"""A client's own machine: the folder with ``node.yaml``, what it says, and the check that the client's data are all there.

Nothing here sends anything. The folder holds the client's private states too, unless ``store`` says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator

from fedtap.data.feature_extractor import Tokenizer
from fedtap.data.partition import Partition, partition
from fedtap.data.reading import Tell
from fedtap.data.shortfalls import shortfalls
from fedtap.data.site_data import Place, SiteData
from fedtap.deployment.policy import Policy
from fedtap.deployment.reach import AllowedMethod, check_data_path, check_models
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded
from fedtap.runtime.private import new_private_file
from fedtap.scenario.explain import explain
from fedtap.scenario.plain_yaml import read_parsed
from fedtap.scenario.renamed import with_current_keys
from fedtap.scenario.scenario import Scenario
from fedtap.scenario.settings import NAME, Settings

FILE = "node.yaml"
RENAMED = {"conditions": "policy"}
_HEAD = """\
# A node of a fedtap federation: which client it is, and where its data lie on this machine. See docs/flower.md.
# client  the client's id in the scenario
# data    by task, what is not as the scenario says: path and pictures (relative to this folder), columns
# whole   true: these are the data of all clients, of which the scenario gives this one its share (a rehearsal)
# store   where the client's private models lie, relative to this folder
# device  auto, cpu, cuda
# key     the node's private key; its public context, with .pub, is what the server needs
# policy  what a run must be like for this node to take part: noise, epsilon, delta, secure, blur_counts,
#         results (docs/privacy.md)
# models  folders on this machine from which the scenario may take models; elsewhere it may not look
# allow_methods  methods that are not fedtap's own and may be run here: path of a file and its sha256, or name of an installed one
"""


class DataPlace(Settings):
    """Where a task's data lie on this machine."""

    path: str | None = None
    pictures: str | None = None
    columns: Mapping[str, str] = {}


class NodeSettings(Settings):
    """What ``node.yaml`` says."""

    client: str
    data: Mapping[str, DataPlace] = {}
    whole: bool = False
    store: str = "state"
    device: str = "auto"
    key: str | None = None
    policy: Policy = Policy()
    models: tuple[str, ...] = ()
    allow_methods: tuple[AllowedMethod, ...] = ()
    folder: Path = Field(default=Path(), exclude=True)

    @field_validator("client")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"'{value}' is no client id; give that of the scenario")
        return value

    @property
    def states(self) -> Path:
        """Where the client's private states lie."""
        return self.folder / expanded(self.store)

    @property
    def own_files(self) -> list[Path]:
        """What lies in the node's folder and is no data."""
        return [self.folder / FILE, self.states, *([self.folder / expanded(self.key)] if self.key else [])]

    def check_models(self, scenario: Scenario) -> None:
        """Refuse, with a :class:`UserError`, a scenario whose models lie where this node does not let it look."""
        check_models(scenario, self.folder, self.models, self.own_files)

    def site_data(self, scenario: Scenario) -> SiteData:
        """Return where the client's data lie.

        Raises
        ------
        UserError
            If the scenario has no such client, or the client no such task, or a path of the scenario leads out of the folder.
        """
        tasks = [task.name for task in scenario.client(self.client).tasks]
        for task in self.data:
            if task not in tasks:
                raise UserError(
                    f"{self.folder / FILE}: data.{task}: client '{self.client}' has no such task; {nearest(task, tasks)}"
                )
        for listed in scenario.client(self.client).tasks:
            mine = self.data.get(listed.name, DataPlace())
            if listed.path is not None and mine.path is None:
                parts = (listed.parts or {}).values()  # a link within the folder may lead out of it
                for path in (listed.path, *(os.path.join(listed.path, part) for part in parts)):
                    check_data_path(path, self.folder, self.own_files, f"task '{listed.name}'")
            if listed.pictures is not None and mine.pictures is None:
                check_data_path(listed.pictures, self.folder, self.own_files, f"task '{listed.name}', pictures")
        places = {task: Place(place.path, place.pictures, place.columns) for task, place in self.data.items()}
        return SiteData(self.client, self.folder, places, self.whole)


def read_node(folder: str | Path) -> NodeSettings:
    """Read a node's folder.

    Raises
    ------
    UserError
        If there is no ``node.yaml``, or it is wrong.
    """
    path = Path(folder) / FILE
    try:
        _, raw = read_parsed(path, str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; make the folder with `fedtap node init`") from error
    if not isinstance(raw, dict) or "folder" in raw:
        raise UserError(f"{path}: must be a mapping with the key 'client', and none called 'folder'; mend it")
    try:
        raw = with_current_keys(raw, str(path), RENAMED)
        return NodeSettings.model_validate({**raw, "folder": Path(folder).resolve()})
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, NodeSettings)}") from error


def write_node(folder: Path, settings: NodeSettings) -> Path:
    """Write ``node.yaml`` into a folder that has none, and return its path."""
    path = folder / FILE
    if path.exists():
        raise UserError(f"{path}: is there already; edit it, or give another folder")
    values = settings.model_dump(mode="json", exclude_none=True)
    if settings.policy == Policy():
        del values["policy"]
    for unused in ("models", "allow_methods"):
        if not values[unused]:
            del values[unused]
    values["data"] = {
        task: {key: value for key, value in place.items() if value} for task, place in values["data"].items()
    }
    return new_private_file(path, (_HEAD + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).encode())


def check_node(
    node: NodeSettings, scenario: Scenario, seed: int = 0, tell: Tell = lambda event: None
) -> dict[str, dict[str, int]]:
    """Read the node's data as a run would, and return the examples of each task by split; nothing is sent.

    ``tell`` is called with what is to be known of the data, as :func:`fedtap.data.partition.partition` calls it.

    Raises
    ------
    UserError
        If data are missing or wrong, or too few.
    """
    return look(node, scenario, seed, tell=tell)[0]


def look(
    node: NodeSettings,
    scenario: Scenario,
    seed: int = 0,
    words: Tokenizer | None = None,
    tell: Tell = lambda event: None,
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Do as :func:`check_node`, and return as well in which respects the data fall short, a line each.

    ``words`` is the vocabulary that answers are held against.
    """
    site_data = node.site_data(scenario)
    shares: Partition = partition(scenario, seed, site_data, tell=tell)
    found: dict[str, dict[str, int]] = {}
    for task, splits in shares[node.client].items():
        found[task] = {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}
    lines = shortfalls(scenario, shares, seed, words=words, site_data=site_data)
    return found, lines.get(node.client, [])
