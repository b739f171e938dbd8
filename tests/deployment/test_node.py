"""A node's folder: what it says, what is wrong with it, and that a check finds what a run would."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from fedtap.data.requests import most_examples
from fedtap.deployment.node import FILE, check_node, read_node
from fedtap.deployment.remote import RemoteSite
from fedtap.deployment.run_config import RunConfig
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario
from tiny_federation import called, write_scenario


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "federation"
    folder.mkdir()
    return write_scenario(folder)


def init(folder: Path, scenario: Path, *more: str, client: str = "painter") -> int:
    data = [part for task in ("shade", "redraw") for part in ("--data", f"{task}={scenario.parent / 'data/pictures'}")]
    return called("node", "init", folder, "--client", client, "--scenario", scenario, *data, *more)


def test_a_node_is_made_and_checked(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = tmp_path / "node"
    assert init(node, scenario, "--no-key", "--store", "private") == 0
    read = read_node(node)
    assert (read.client, read.states) == ("painter", node.resolve() / "private")
    found = check_node(read, load_scenario(scenario, folder=node))
    assert found == {
        "shade": {"train": 12, "validation": 6, "test": 6},
        "redraw": {"train": 12, "validation": 6, "test": 6},
    }
    capsys.readouterr()
    assert called("node", "check", node, "--scenario", scenario) == 0
    assert "shade" in capsys.readouterr().out
    assert sorted(path.name for path in node.iterdir()) == [FILE]  # nothing but the file: no data, no state


def test_methods_that_a_node_allows_are_written_with_it(scenario: Path, tmp_path: Path) -> None:
    node, method = tmp_path / "node", tmp_path / "mine.py"
    method.write_text("raise RuntimeError('never run here')")
    assert init(node, scenario, "--no-key", "--allow-method", str(method), "--allow-method", "theirs") == 0
    file, name = read_node(node).allow_methods
    assert (file.path, file.sha256) == (str(method), hashlib.sha256(method.read_bytes()).hexdigest())
    assert name.name == "theirs"
    assert init(tmp_path / "other", scenario, "--no-key", "--allow-method", str(tmp_path / "none.py")) == 2


def test_a_node_registers_with_blurred_numbers_that_the_server_expects(scenario: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert init(node, scenario, "--no-key") == 0
    config = RunConfig.read({"set": "privacy.blur_counts=8"})
    site = RemoteSite(read_node(node), scenario, config, "0" * 32)
    assert site.examples() == {"shade": 16, "redraw": 16}  # it has 12 of each
    assert most_examples(load_scenario(scenario, config.overrides), 0)["painter"] == {"shade": 16, "redraw": 16}


def test_a_key_is_for_the_node_alone(scenario: Path, tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="Flower needs Python 3.11")
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

    node = tmp_path / "node"
    assert init(node, scenario) == 0
    secret, public = node / "node.key", node / "node.key.pub"
    assert os.stat(secret).st_mode & 0o777 == 0o600
    key = load_ssh_private_key(secret.read_bytes(), None)
    assert key.public_key() == load_ssh_public_key(public.read_bytes())  # type: ignore[union-attr]
    before = secret.read_bytes()
    assert init(tmp_path / "node", scenario) == 2
    assert secret.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"client": "nobody"}, "the scenario has none"),
        ({"more": ("--data", "mood=here")}, "data.mood: client 'painter' has no such task"),
        ({"more": ("--data", "shade")}, "give TASK=PATH"),
        ({"more": ("--data", "shade=nowhere")}, "no such folder (task 'shade')"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    arguments: dict[str, Any], why: str, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = arguments.pop("more", ())
    assert init(tmp_path / "node", scenario, "--no-key", *more, **arguments) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert why in told[0]
    assert not (tmp_path / "node" / FILE).exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file; make the folder with `fedtap node init`"),
        ("client: [", "line 1 not valid YAML"),
        ("[]", "must be a mapping"),
        ("store: x", "'client' is missing"),
        ("client: a/b", "is no client id"),
        ("client: a\nstor: x", "unknown key 'stor'; did you mean 'store'"),
        ("client: a\ndata: {t: {pth: x}}", "unknown key 'data.t.pth'"),
        ("client: a\nfolder: /", "none called 'folder'"),
    ],
)
def test_a_wrong_file_is_named_with_the_mend(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError) as told:
        read_node(tmp_path)
    assert str(tmp_path / FILE) in str(told.value)
    assert why in str(told.value)


def test_the_settings_of_a_run_are_read_and_checked() -> None:
    read = RunConfig.read({"seed": 3, "set": "rounds=4; method.gate=paired;", "patience": 5, "insecure": True})
    assert (read.seed, read.overrides, read.patience) == (3, ("rounds=4", "method.gate=paired"), 5.0)
    assert read.public_keys() is None
    assert RunConfig.read({"keys": "/k"}).public_keys() == Path("/k")


@pytest.mark.parametrize(
    "config",
    [{"seed": "3"}, {"seed": True}, {"set": 3}, {"resume": "yes"}, {"patience": -1.0}, {"at-once": -1}, {"keys": 0}],
)
def test_a_setting_of_another_kind_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"run-config '{next(iter(config))}'"):
        RunConfig.read(config)


@pytest.mark.parametrize("config", [{}, {"keys": "/k", "insecure": True}])
def test_a_plain_connection_must_be_asked_for_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="insecure"):
        RunConfig.read(config).public_keys()
