"""What a server can make a node read and run: nothing but what lies in its folder, and what node.yaml allows."""

import hashlib
import json
import os
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedtap.algorithms import outside
from fedtap.algorithms.registry import make
from fedtap.deployment.node import FILE, read_node
from fedtap.deployment.reach import allowed_now
from fedtap.deployment.remote import RemoteSite
from fedtap.deployment.run_config import RunConfig
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario
from tiny_federation import write_scenario

METHOD = """
from pathlib import Path
from fedtap.algorithms.tap import Tap

Path({flag!r}).touch()

class Mine(Tap):
    name = "mine_of_{name}"
    summary = "for tests"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "federation"
    folder.mkdir()
    return write_scenario(folder)


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_held", {})


def write(folder: Path, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(yaml.safe_dump({"client": "painter", **more}))
    return folder


def site(folder: Path, scenario: Path, **config: Any) -> RemoteSite:
    return RemoteSite(read_node(folder), scenario, RunConfig.read(config), "0" * 32)


def method_file(path: Path, flag: Path) -> str:
    """Write a method whose import leaves a flag, and return its digest."""
    path.write_text(METHOD.format(flag=str(flag), name=path.parent.name))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("tail", ["", ":Mine"])
def test_a_file_that_the_server_names_is_not_run(tail: str, scenario: Path, tmp_path: Path) -> None:
    evil, flag = tmp_path / "evil.py", tmp_path / "flag"
    method_file(evil, flag)
    with pytest.raises(UserError, match=r"node.yaml: allows no method file 'evil.py'.*allow_methods") as told:
        site(write(tmp_path / "node"), scenario, method=f"{evil}{tail}")
    assert len(str(told.value).splitlines()) == 1
    assert not flag.exists()


def test_the_nodes_own_copy_is_run_where_it_is_allowed_and_not_the_servers(scenario: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir()
    digest = method_file(node / "mine.py", tmp_path / "flag")
    write(node, allow_methods=[{"path": "mine.py", "sha256": digest}])
    (tmp_path / "server").mkdir()
    method_file(tmp_path / "server" / "mine.py", tmp_path / "server-flag")
    found = site(node, scenario, method=str(tmp_path / "server" / "mine.py"))
    assert found._folder.algorithm.name == "mine_of_node"
    assert (tmp_path / "flag").exists()
    assert not (tmp_path / "server-flag").exists()


def test_a_file_that_was_changed_since_it_was_allowed_is_not_run(scenario: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir()
    digest = method_file(node / "mine.py", tmp_path / "flag")
    write(node, allow_methods=[{"path": "mine.py", "sha256": digest}])
    with (node / "mine.py").open("a") as file:
        file.write("# changed")
    with pytest.raises(UserError, match=f"has the sha256 [0-9a-f]{{64}}, not {digest}"):
        site(node, scenario, method="mine.py")
    assert not (tmp_path / "flag").exists()


@pytest.mark.parametrize("by", ["method", "set"])
def test_a_method_of_an_installed_package_is_run_only_by_leave(
    by: str, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_method.py").write_text(METHOD.format(flag=str(tmp_path / "flag"), name="package"))
    monkeypatch.syspath_prepend(tmp_path)
    entries = [EntryPoint("mine_of_package", "installed_method:Mine", outside.GROUP)]
    monkeypatch.setattr(outside, "entry_points", lambda group: entries)
    outside._installed.cache_clear()
    config = {by: "mine_of_package" if by == "method" else "method.name=mine_of_package"}
    try:
        with pytest.raises(UserError, match="does not allow the method 'mine_of_package'"):
            site(write(tmp_path / "node"), scenario, **config)
        assert not (tmp_path / "flag").exists()
        allowed = site(write(tmp_path / "node", allow_methods=[{"name": "mine_of_package"}]), scenario, **config)
        assert allowed._folder.algorithm.name == "mine_of_package"
    finally:
        outside._installed.cache_clear()


def test_what_the_nodes_own_environment_names_is_at_hand(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method_file(tmp_path / "mine.py", tmp_path / "flag")
    monkeypatch.setenv("FEDTAP_METHODS", str(tmp_path / "mine.py"))
    found = site(write(tmp_path / "node"), scenario, method=f"mine_of_{tmp_path.name}")
    assert found._folder.algorithm.name == f"mine_of_{tmp_path.name}"
    assert site(write(tmp_path / "node"), scenario, method="fedavg")._folder.algorithm.name == "fedavg"


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"path": "a.py"},
        {"sha256": "0" * 64},
        {"path": "a.py", "sha256": "0"},
        {"name": "a.py"},
        {"name": "../a"},
        {"name": "a", "path": "a.py", "sha256": "0" * 64},
    ],
)
def test_what_is_allowed_is_said_whole(entry: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allow_methods"):
        read_node(write(tmp_path / "node", allow_methods=[entry]))


def with_paths(scenario: Path, path: str) -> Path:
    raw = yaml.safe_load(scenario.read_text())
    for client in raw["clients"]:
        for task in client["tasks"]:
            task["path"] = path
    scenario.write_text(yaml.safe_dump(raw))
    return scenario


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../federation/data/pictures", "leads out of the node's folder"),
        ("data/../../federation/data/pictures", "leads out of the node's folder"),
        ("linked", "leads out of the node's folder"),
        ("~/pictures", "is absolute"),
        ("{outside}", "is absolute"),
        ("state/run", "is the node's own"),
        ("node.yaml", "is the node's own"),
        ("node.key", "is the node's own"),
    ],
)
def test_a_path_of_the_scenario_stays_in_the_nodes_folder(path: str, why: str, scenario: Path, tmp_path: Path) -> None:
    pictures = scenario.parent / "data" / "pictures"
    node = write(tmp_path / "node", key="node.key")
    (node / "linked").symlink_to(pictures)
    (node / "data").mkdir()
    named = with_paths(scenario, path.format(outside=pictures))
    with pytest.raises(UserError, match=why) as told:
        site(node, named).examples()
    assert str(node / FILE) in str(told.value)
    # What the node itself names may lie anywhere.
    own = {task: {"path": str(pictures)} for task in ("shade", "redraw")}
    assert site(write(node, data=own), named).examples() == {"shade": 12, "redraw": 12}


def test_a_path_within_the_nodes_folder_is_read(scenario: Path, tmp_path: Path) -> None:
    node = write(tmp_path / "node")
    (scenario.parent / "data" / "pictures").rename(node / "pictures")
    (node / "linked").symlink_to(node / "pictures")
    assert site(node, with_paths(scenario, "linked")).examples() == {"shade": 12, "redraw": 12}


def with_table(scenario: Path, **more: Any) -> Path:
    """Make the tasks of pictures read a table of the node's that names pictures elsewhere."""
    raw = yaml.safe_load(scenario.read_text())
    for client in raw["clients"]:
        for task in client["tasks"]:
            if task["name"] == "redraw":
                task |= {"source": "csv", "path": "table.csv", **more}
                task.pop("classes", None)
    scenario.write_text(yaml.safe_dump(raw))
    return scenario


def test_a_table_on_a_node_names_no_picture_elsewhere_and_the_scenario_does_not_allow_it(
    scenario: Path, tmp_path: Path
) -> None:
    store = scenario.parent / "data" / "pictures"
    files = sorted(store.rglob("*.png"))
    shade = {"path": str(store)}
    node = write(tmp_path / "node", data={"shade": shade})
    (node / "table.csv").write_text("image\n" + "".join(f"{file}\n" for file in files))
    with pytest.raises(UserError, match="lies outside of the table's folder"):
        site(node, with_table(scenario)).examples()
    for pictures in (str(store), "../federation/data/pictures", "linked"):
        if not (node / "linked").exists():
            (node / "linked").symlink_to(store)
        with pytest.raises(UserError, match=r"task 'redraw', pictures: .*(is absolute|leads out of the node's folder)"):
            site(node, with_table(scenario, pictures=pictures)).examples()
    # What the node itself names is its own affair.
    own = {"shade": shade, "redraw": {"pictures": str(store)}}
    assert site(write(node, data=own), with_table(scenario, pictures=str(store))).examples()["redraw"] > 0


def test_only_the_package_that_is_named_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"package_{name}.py").write_text(METHOD.format(flag=str(tmp_path / f"flag-{name}"), name=name))
    (tmp_path / "package_broken.py").write_text("raise RuntimeError('never')")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("mine_of_one", "package_one:Mine", outside.GROUP),
        EntryPoint("mine_of_two", "package_two:Mine", outside.GROUP),
        EntryPoint("broken", "package_broken:Mine", outside.GROUP),
        EntryPoint("alias", "package_two:Mine", outside.GROUP),
    ]
    monkeypatch.setattr(outside, "entry_points", lambda group: entries)
    outside._installed.cache_clear()
    assert make({}, "tap").name == "tap"
    assert make({"name": "fedprox", "mu": 0.1}, "tap").name == "tap"
    assert not (tmp_path / "flag-one").exists()
    assert make({}, "mine_of_one").name == "mine_of_one"
    assert (tmp_path / "flag-one").exists()
    assert not (tmp_path / "flag-two").exists()
    with pytest.raises(UserError, match=r"no method 'mine_of_tow'; did you mean 'mine_of_two'\?"):
        make({}, "mine_of_tow")
    assert not (tmp_path / "flag-two").exists()
    with pytest.raises(UserError, match=r"entry point 'alias' .*gives the method 'mine_of_two'"):
        make({}, "alias")
    with pytest.raises(UserError, match=r"entry point 'broken' .*cannot be loaded"):
        make({}, "broken")


def test_an_allowed_method_is_written_with_the_digest_that_it_has(tmp_path: Path) -> None:
    digest = method_file(tmp_path / "mine.py", tmp_path / "flag")
    found = allowed_now(str(tmp_path / "mine.py"))
    assert (found.path, found.sha256) == (str(tmp_path / "mine.py"), digest)
    assert allowed_now("theirs").name == "theirs"
    assert not (tmp_path / "flag").exists()
    for wrong in ("../theirs", str(tmp_path / "none.py"), "", str(tmp_path)):
        with pytest.raises(UserError, match="--allow-method"):
            allowed_now(wrong)


@pytest.mark.parametrize("key", ["backbone.path", "backbone.vision", "backbone.text", "evaluation.bertscore_encoder"])
@pytest.mark.parametrize("way", ["whole", "relative", "linked"])
def test_a_model_is_taken_only_from_where_the_node_lets_it_be(
    key: str, way: str, scenario: Path, tmp_path: Path
) -> None:
    models, node = tmp_path / "models", tmp_path / "node"
    models.mkdir()
    write(node)
    (node / "link").symlink_to(models)
    value = {"whole": str(models), "relative": "../models", "linked": "link"}[way]
    with pytest.raises(UserError, match=f"{key}: '.*' leads out of the node's folder.*under models"):
        site(node, scenario, set=f"{key}={value}")
    read_node(write(node, models=[str(models)])).check_models(
        load_scenario(scenario, [f"{key}={value}"], node.resolve())
    )


def test_private_things_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="Flower needs Python 3.11")
    import torch

    from fedtap.algorithms.base import ClientState
    from fedtap.components import ComponentKey, ComponentState
    from fedtap.deployment.node import NodeSettings, write_node
    from fedtap.engines.flower.certificates import make_certificates, make_node_key
    from fedtap.federation.store import ClientStore

    old = os.umask(0o022)
    try:
        write_node(tmp_path / "node", NodeSettings(client="a"))
        make_node_key(tmp_path / "keys" / "a")
        made = make_certificates(tmp_path / "tls")
        store = ClientStore(tmp_path / "state")
        model = ComponentState({ComponentKey("head", ("a",)): {"w": torch.zeros(2)}})
        store.save("a", 1, ClientState({"personal": model}, {}))
        store.keep_secret("b", 1, "text")
    finally:
        os.umask(old)
    folders = [tmp_path / name for name in ("node", "keys", "tls", "state", "state/a", "state/b")]
    files = [tmp_path / "node" / FILE, tmp_path / "keys" / "a", made.key, *(tmp_path / "state").glob("*/*")]
    assert len(files) == 5
    assert {folder: folder.stat().st_mode & 0o777 for folder in folders} == dict.fromkeys(folders, 0o700)
    assert {file: file.stat().st_mode & 0o777 for file in files} == dict.fromkeys(files, 0o600)


def test_a_part_of_a_path_stays_in_the_nodes_folder(scenario: Path, tmp_path: Path) -> None:
    """Each part of a path is looked at by itself: the folder that holds it may be the node's, and a link in it lead away."""
    node = write(tmp_path / "node")
    (node / "data").mkdir()
    (node / "data" / "test").symlink_to(scenario.parent / "data" / "pictures")
    (scenario.parent / "data" / "pictures").rename(node / "data" / "train")
    named = with_paths(scenario, {"train": "data/train", "test": "data/test"})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="'data/test' leads out of the node's folder"):
        site(node, named).examples()


def test_what_a_site_skips_is_told_at_the_site(scenario: Path, tmp_path: Path) -> None:
    node = write(tmp_path / "node")
    (scenario.parent / "data" / "pictures").rename(node / "pictures")
    (node / "pictures" / "dot.png").write_bytes(b"no picture")
    raw = yaml.safe_load(scenario.read_text())
    raw["data"]["on_unreadable"] = "skip"
    scenario.write_text(yaml.safe_dump(raw))
    here = site(node, with_paths(scenario, "pictures"))
    assert here.examples() == {"shade": 12, "redraw": 12}
    here._shares()
    (told,) = node.rglob("data.json")
    (event,) = json.loads(told.read_text())
    assert (event["event"], event["examples"]) == ("skipped", 1)
    assert "dot.png: not a readable image" in event["why"][0]
