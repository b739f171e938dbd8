"""What crosses the wire: as many bytes as the plan says, as many steps as configured, and nothing that is personal."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import fedtap as library
from e2e.conftest import Command, events
from fedtap.algorithms.base import ClientState, Update
from fedtap.components import ComponentState
from fedtap.engines.inprocess import InProcessTransport
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.messages import Failure, Reply
from fedtap.federation.store import ClientStore
from fedtap.pairs import plan
from fedtap.scenario.scenario import load_scenario
from tiers import thorough_but
from tiny_federation import CLIENTS, FINISH_STEPS, LOCAL_STEPS, METHODS, ROUNDS, write_scenario

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.parametrize("method", METHODS)
def test_the_bytes_on_the_wire_are_those_of_the_plan(
    method: str, scenario: Path, finished: Callable[[str], Path], fedtap: Command
) -> None:
    out = finished(method)
    shown = fedtap("scenario", "plan", scenario, "--json", *METHODS[method])
    sizes = {client["client"]: client for client in json.loads(shown.out)["clients"]}
    assert set(sizes) == set(CLIENTS)
    updates = events(out, "update")
    assert len(updates) == 2 * ROUNDS
    for update in updates:
        planned = sizes[update["client"]]
        for measured in ("bytes_down", "bytes_up"):
            assert update[measured] == planned["bytes"]
        assert update["components"] == planned["components"]
    for asked in events(out, "personalised"):
        assert asked["bytes_down"] == sizes[asked["client"]]["bytes"]
        assert asked["bytes_up"] == 0
    cost = json.loads((out / "cost.json").read_text())
    assert cost["bytes_up"] == sum(sizes[update["client"]]["bytes"] for update in updates)
    assert cost["bytes_down"] == cost["bytes_up"] + sum(client["bytes"] for client in sizes.values())


def test_only_local_sends_nothing(scenario: Path, fedtap: Command) -> None:
    """The bytes compared above are not all zero."""
    for method in ("local", "fedavg", "tap"):
        sizes = json.loads(fedtap("scenario", "plan", scenario, "--json", "--method", method).out)["clients"]
        assert all((client["bytes"] == 0) == (method == "local") for client in sizes)


@pytest.mark.parametrize(
    ("method", "round_steps", "last_steps"),
    [
        ("local", LOCAL_STEPS, FINISH_STEPS),
        ("fedavg", LOCAL_STEPS, 0),
        ("fedavg_ft", LOCAL_STEPS, FINISH_STEPS),
        ("tap", LOCAL_STEPS, FINISH_STEPS),
        ("tap, paired gate", LOCAL_STEPS, FINISH_STEPS),
        ("tap, the paper's compute", 2 * LOCAL_STEPS, 2 * FINISH_STEPS),
    ],
)
def test_the_steps_are_those_configured(
    method: str, round_steps: int, last_steps: int, finished: Callable[[str], Path]
) -> None:
    out = finished(method)
    assert [event["steps"] for event in events(out, "update")] == [round_steps] * (2 * ROUNDS)
    last = {event["client"]: event["steps"] for event in events(out, "personalised")}
    took_part = {event["client"] for event in events(out, "update")}
    # whoever never took part trains alone, under `local`, for as many steps as a participant did: 3 rounds x 2 of 4 clients
    alone = LOCAL_STEPS * round(ROUNDS * 2 / 4) if method == "local" else 0
    assert last == {client: last_steps + (0 if client in took_part else alone) for client in CLIENTS}
    total = json.loads((out / "cost.json").read_text())["steps_total"]
    assert total == 2 * ROUNDS * round_steps + sum(last.values())


class Wire:
    """Keeps what clients keep, and what reaches the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: list[tuple[str, int, ClientState]] = []
        self.sent: list[Update] = []
        self.asked_last: list[Update] = []
        self.checkpoints: list[ComponentState] = []
        save, exchange, commit = ClientStore.save, InProcessTransport.exchange, Checkpoint.save

        def keep(store: ClientStore, client: str, number: int, state: ClientState) -> None:
            self.kept.append((client, number, state))
            save(store, client, number, state)

        def watch(transport: InProcessTransport, requests: Any, **options: Any) -> Iterator[Reply | Failure]:
            kinds = {request.client: request.kind for request in requests}
            for answer in exchange(transport, requests, **options):
                assert isinstance(answer, Reply)
                (self.sent if kinds[answer.client] == "train" else self.asked_last).append(answer.update)
                yield answer

        def committed(checkpoint: Checkpoint, path: Path, run: str = "") -> None:
            commit(checkpoint, path, run)
            found = Checkpoint.load(path)  # from the disk, as a thief would find it
            assert found is not None
            self.checkpoints.append(found.state.components)

        monkeypatch.setattr(ClientStore, "save", keep)
        monkeypatch.setattr(InProcessTransport, "exchange", watch)
        monkeypatch.setattr(Checkpoint, "save", committed)


def prints(state: ComponentState) -> set[bytes]:
    """Return the bytes of a state's tensors, but of those that are all one number: many start at zero or one, everywhere."""
    return {_print(tensor) for _, _, tensor in state.tensors() if tensor.numel() > 1 and tensor.unique().numel() > 1}


def _print(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


@pytest.mark.parametrize(
    "method", thorough_but(("tap", "tap, the paper's compute"), [name for name in METHODS if name.startswith("tap")])
)
def test_personal_models_stay_where_they_are(
    method: str, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch)
    # Six rounds: everybody comes back with a personal model at home. Four steps, two for each model: after the first, branches
    # that start at zero have not passed any gradient yet, and what lies behind them is equal wherever it is trained.
    scenario = write_scenario(tmp_path, rounds=6, local_steps=4)
    out = tmp_path / "run"
    assert fedtap("run", scenario, *METHODS[method], "--out", out).code == 0
    personal = [prints(state.models["personal"]) for _, number, state in wire.kept if number <= 6]
    assert len(personal) == len(wire.sent) == 12
    secret = set().union(*personal)
    assert len(secret) > 300
    for state in [*(update.components for update in wire.sent), *wire.checkpoints]:
        public = prints(state)
        assert len(public) > 20
        assert not public & secret
    assert [len(update.components) for update in wire.asked_last] == [0] * len(CLIENTS)
    # The last personal models were made after the server's last file was written. No file of the server knows them.
    last = [state.models["personal"] for _, number, state in wire.kept if number == 7]
    assert len(last) == len(CLIENTS)
    on_disk = Checkpoint.load(out / "checkpoint" / "server.safetensors")
    assert on_disk is not None
    assert on_disk.state.components.equal(wire.checkpoints[-1])


def test_local_keeps_everything_at_home(tmp_path: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    library.run(scenario, method="local", out=tmp_path / "run")
    assert [len(update.components) for update in wire.sent] == [0] * (2 * ROUNDS)
    assert [len(state) for state in wire.checkpoints] == [0] * ROUNDS
    assert all(state.models["personal"] for _, _, state in wire.kept)


def test_a_client_gets_and_sends_its_plan_and_nothing_else(
    tmp_path: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch)
    library.run(scenario, method="tap", out=tmp_path / "run")
    loaded = load_scenario(scenario)
    senders = [event["client"] for event in events(tmp_path / "run", "update")]
    for client, update in zip(senders, wire.sent, strict=True):
        assert set(update.components) == plan(loaded.client(client).pairs)


def test_whoever_was_never_sampled_is_evaluated_all_the_same(tmp_path: Path, fedtap: Command) -> None:
    scenario = write_scenario(tmp_path, rounds=1)  # two of four
    out = tmp_path / "run"
    assert fedtap("run", scenario, "--out", out).code == 0
    sampled = {event["client"] for event in events(out, "update")}
    assert len(sampled) == 2
    assert {event["client"] for event in events(out, "personalised")} == set(CLIENTS)
    found = json.loads((out / "results.json").read_text())["rows"]
    for client, tasks in CLIENTS.items():
        for task in tasks:
            for model in ("federated", "finetuned", "personal"):
                own = [
                    row["value"]
                    for row in found
                    if (row["client"], row["task"], row["model"]) == (client, task, model) and row["split"] != "cross"
                ]
                assert own, (client, task, model)
        assert (out / "clients" / client / "personal" / "model.safetensors").is_file()
