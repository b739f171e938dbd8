"""A whole run over Flower's messages, without a network: its results are those of the run in one process."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

import fedtap as library
from e2e.conftest import events, rows
from fedtap.deployment import apps
from fedtap.runtime.errors import RunError
from loopback import LoopbackGrid, app_node
from tiers import thorough_but
from tiny_federation import CLIENTS

pytestmark = pytest.mark.usefixtures("no_report")


def nodes_of(scenario: Path, folder: Path, config: Mapping[str, Any]) -> dict[int, Any]:
    """Return a node for each client, with a folder of its own that points at the scenario's data."""
    listed = yaml.safe_load(scenario.read_text())["clients"]
    found = {}
    for number, client in enumerate(listed, start=11):
        place = folder / client["id"]
        place.mkdir(parents=True, exist_ok=True)
        data = {task["name"]: {"path": str(scenario.parent / task["path"])} for task in client["tasks"]}
        (place / "node.yaml").write_text(yaml.safe_dump({"client": client["id"], "data": data}))
        settings = {"client-id": client["id"], "node": str(place)}
        found[number] = app_node(apps.client_app(scenario), settings, config)
    return found


def without_cross(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if row["split"] != "cross"]


@pytest.fixture(scope="session")
def apart(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scenario with a path of its own for every client and task: what hospitals have."""
    folder = tmp_path_factory.mktemp("apart")
    raw = yaml.safe_load(scenario.read_text())
    for client in raw["clients"]:
        shutil.copytree(scenario.parent / "data", folder / client["id"] / "data")
        for task in client["tasks"]:
            task["path"] = f"{client['id']}/{task['path']}"
    path = folder / "apart.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


WAYS = {
    "tap": (),
    "another method": ("method.name=fedavg_ft",),
    "eight bits on the wire": ("wire.precision=int8",),
    "blurred counts": ("privacy.blur_counts=10",),
    "secure aggregation": ("privacy.secure.holders=2", "clients_per_round=3"),
}
OFTEN = ("tap", "eight bits on the wire", "secure aggregation")
"""What `make test` compares, unlike each other in what travels; `make test-thorough` the others."""


@pytest.mark.parametrize("way", thorough_but(OFTEN, WAYS))
def test_results_are_those_of_one_process(way: str, apart: Path, tmp_path: Path) -> None:
    library.run(apart, out=tmp_path / "here", overrides=WAYS[way])
    config = {"out": str(tmp_path / "there"), "insecure": True, "patience": 1.0, "set": ";".join(WAYS[way])}
    grid = LoopbackGrid(nodes_of(apart, tmp_path / "nodes", config))
    apps.serve(apart, grid, config, lambda event: None)
    here, there = without_cross(rows(tmp_path / "here")), rows(tmp_path / "there")
    assert [{**row, "value": 0} for row in here] == [{**row, "value": 0} for row in there]
    for mine, theirs in zip(here, there, strict=True):
        assert theirs["value"] == pytest.approx(mine["value"], abs=1e-6, rel=1e-6)
    assert not events(tmp_path / "there", "failed", "rejected", "refused")
    joined = events(tmp_path / "there", "joined")
    assert {event["client"] for event in joined} == set(CLIENTS)
    if way == "secure aggregation":
        summed = [[event["summed"] for event in events(tmp_path / name, "secure")] for name in ("here", "there")]
        assert summed[0] == summed[1]
        assert all(summed[0])
    if way == "blurred counts":
        assert {number for event in joined for number in event["examples"].values()} == {10}


class Cut(BaseException):
    """The server ends here; no Exception, so that nothing on the way takes it for a client's fault."""


def test_a_server_that_is_cut_off_and_started_again_ends_as_if_nothing_had_happened(
    apart: Path, tmp_path: Path
) -> None:
    """The nodes keep what they had; the SuperLink, and with it every node's number, is new."""
    ends = []
    for name, cuts in (("whole", ()), ("cut", (("round_finished", 1), ("update", 3), ("personalised", 4)))):
        config = {"out": str(tmp_path / name), "insecure": True, "patience": 1.0, "set": "evaluation.save=all"}

        def serve(tell: Any, name: str = name, config: Mapping[str, Any] = config) -> None:
            grid = LoopbackGrid(nodes_of(apart, tmp_path / f"nodes-{name}", config))
            apps.serve(apart, grid, config, tell)

        for kind, number in cuts:

            def stop(event: dict[str, Any], kind: str = kind, number: int = number) -> None:
                if event["event"] == kind and event["round"] == number:
                    raise Cut

            with pytest.raises(Cut):
                serve(stop)
        serve(lambda event: None)
        ends.append((tmp_path / name / "results.json").read_bytes())
        assert len({event["client"] for event in events(tmp_path / name, "personalised")}) == len(CLIENTS)
    assert ends[0] == ends[1]


def test_a_client_that_raises_keeps_its_state_and_costs_the_run_nothing_else(
    apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedtap.algorithms.tap import Tap

    real = Tap.local_round

    def raising(self: Tap, client: Any, *rest: Any) -> Any:
        if client.id == "asker" and client.round == 3:
            raise ValueError("the scanner\nis out of order")
        return real(self, client, *rest)

    monkeypatch.setattr(Tap, "local_round", raising)
    config = {"out": str(tmp_path / "run"), "insecure": True, "patience": 1.0}
    nodes = tmp_path / "nodes"
    apps.serve(apart, LoopbackGrid(nodes_of(apart, nodes, config)), config, lambda event: None)
    failures = events(tmp_path / "run", "failed")
    assert [(event["client"], event["round"]) for event in failures] == [("asker", 3)]
    assert failures[0]["why"] == "ValueError: the scanner is out of order"
    states = sorted(path.name for path in nodes.glob("asker/state/*/checkpoint/clients/asker/*"))
    assert states == ["round-0001.safetensors", "round-0004.safetensors"]
    assert {row["client"] for row in rows(tmp_path / "run") if row["model"] == "personal"} == set(CLIENTS)


def test_a_server_that_lost_rounds_is_told_so_and_no_state_is_lost(apart: Path, tmp_path: Path) -> None:
    config = {"out": str(tmp_path / "run"), "insecure": True, "patience": 1.0}
    nodes = tmp_path / "nodes"
    apps.serve(apart, LoopbackGrid(nodes_of(apart, nodes, config)), config, lambda event: None)
    before = {path: path.read_bytes() for path in nodes.glob("*/state/*/checkpoint/clients/*/*")}
    for name in ("results.json", "checkpoint/server.safetensors"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(RunError, match="no update of any client was taken in 3 rounds"):
        apps.serve(apart, LoopbackGrid(nodes_of(apart, nodes, config)), config, lambda event: None)
    assert {event["why"] for event in events(tmp_path / "run", "failed")} == {"its node is not connected"}
    refused = events(tmp_path / "run", "refused")
    assert all(
        "holds a private state of round 4, and the server asked it for 1 at the most" in event["why"]
        for event in refused
    )
    assert len({event["node"] for event in refused}) == len(CLIENTS)
    assert before == {path: path.read_bytes() for path in before}
    assert not (tmp_path / "run" / "results.json").exists()


def test_models_stay_at_the_nodes_and_answer_there(apart: Path, tmp_path: Path) -> None:
    config = {"out": str(tmp_path / "run"), "insecure": True, "patience": 1.0}
    nodes = tmp_path / "nodes"
    apps.serve(apart, LoopbackGrid(nodes_of(apart, nodes, config)), config, lambda event: None)
    assert not (tmp_path / "run" / "clients").exists()
    (kept,) = (path for path in (nodes / "reader" / "state").iterdir() if path.is_dir())
    told = library.predict(kept, client="reader", task="mood", text="a fine film")
    assert told["output"]["label"] in ("sad", "glad")
    sent = (tmp_path / "run" / "checkpoint").rglob("*.safetensors")
    assert [path.name for path in sent] == ["server.safetensors"]
