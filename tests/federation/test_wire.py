"""What travels: packed forms by hand, hostile ones refused, and what error feedback adds up to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import CARDS, ToyArchitecture, ToyMethod, components, server, sound_reply
from fedtap.algorithms.base import ServerState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState
from fedtap.data.loader import ClientData
from fedtap.engines.inprocess import InProcessTransport
from fedtap.experiment.planning import plan_report
from fedtap.federation.client import ClientSite
from fedtap.federation.error_feedback import RESIDUAL, compress_update
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.federation.wire import SCALE, pack, packed_bytes, unpack
from fedtap.scenario.safety import Safety, WirePrecision, WireSettings
from tiny import DIGITS, MOOD, build_network, client_data, scenario_of

KEY = ComponentKey("shared")
LOSSY: tuple[WirePrecision, ...] = ("bf16", "int8")


def state(tensor: torch.Tensor) -> ComponentState:
    return ComponentState({KEY: {"w": tensor}})


def test_a_row_of_eight_bits_by_hand() -> None:
    packed = pack(state(torch.tensor([[-2.0] + [1.0] * 31, [0.0] * 32])), "int8")[KEY]
    assert packed["w"].tolist() == [[-127] + [64] * 31, [0] * 32]  # 63.5 goes to the even neighbour
    assert packed["w" + SCALE].tolist() == pytest.approx([2 / 127, 0])


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((), 1),
        ((5,), 1),
        ((500,), 1),
        ((7, 32), 7),
        ((7, 31), 1),
        ((64, 3, 4, 4), 64),
        ((2, 5, 4, 4), 2),
        ((9, 1), 1),
    ],
)
def test_rows_are_the_last_axes_that_hold_enough(shape: Sequence[int], rows: int) -> None:
    packed = pack(state(torch.ones(shape)), "int8")[KEY]
    assert len(packed["w" + SCALE]) == rows
    assert packed_bytes(torch.Size(shape), "int8") == sum(t.numel() * t.element_size() for t in packed.values())


@given(st.integers(0, 10_000), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_what_is_read_is_near_what_was_sent(seed: int, size: float) -> None:
    sent = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed)) * size
    eight = unpack(pack(state(sent), "int8"), "int8")[KEY]["w"]
    half_a_step = sent.abs().amax(dim=1, keepdim=True) / 254
    assert bool(((eight - sent).abs() <= half_a_step * 1.0001).all())
    sixteen = unpack(pack(state(sent), "bf16"), "bf16")[KEY]["w"]
    assert bool(((sixteen - sent).abs() <= sent.abs() / 256).all())
    assert unpack(pack(state(sent), "fp32"), "fp32")[KEY]["w"] is sent


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_all_that_travels_is_known_to_numpy_and_has_the_bytes_that_are_told(precision: WirePrecision) -> None:
    whole = components([KEY, ComponentKey("head", ("x",))])
    packed = pack(whole, precision)
    assert ComponentState.from_flat(packed.flat()).equal(packed)
    assert sum(tensor.numpy().nbytes for tensor in packed.flat().values()) == packed.nbytes
    told = sum(packed_bytes(tensor.shape, precision) for _, _, tensor in whole.tensors())
    assert told == packed.nbytes


@pytest.mark.parametrize("precision", LOSSY)
def test_with_feedback_the_sum_of_what_was_sent_is_that_of_all_changes(precision: WirePrecision) -> None:
    draw = torch.Generator().manual_seed(1)
    wire = WireSettings(precision=precision)
    start, owed = state(torch.zeros(3, 40)), ComponentState()
    restore_values, meant = torch.zeros(3, 40), torch.zeros(3, 40)
    for _ in range(20):
        change = torch.randn(3, 40, generator=draw)
        packed, owed = compress_update(state(change), start, owed, wire)
        restore_values += unpack(packed, precision)[KEY]["w"]
        meant += change
        torch.testing.assert_close(restore_values + owed[KEY]["w"], meant, rtol=0, atol=1e-5)
    none = compress_update(state(change), start, owed, WireSettings(precision=precision, feedback=False))[1]
    assert len(none) == 0


def wired(precision: WirePrecision) -> Server:
    return Server(
        algorithm=ToyMethod(),
        architecture=ToyArchitecture(),
        state=server().state,
        cards=CARDS,
        safety=Safety(wire=WireSettings(precision=precision)),
    )


def packed_reply(federation: Server, precision: WirePrecision, moved: float = 0.5) -> tuple[Request, Reply]:
    request = federation.request("a", 1)
    change = unpack(request.components, precision).map(lambda tensor: torch.full_like(tensor, moved))
    plain = Request("a", 1, "train", change)
    reply = sound_reply(plain, CARDS[0], components=pack(change, precision))
    return request, reply


@pytest.mark.parametrize("precision", LOSSY)
def test_the_server_adds_changes_to_its_own_exact_values(precision: WirePrecision) -> None:
    federation = wired(precision)
    before = federation.components
    request, reply = packed_reply(federation, precision)
    assert federation.complaint(reply, request) is None
    federation.aggregate([reply])
    for key, name, tensor in before.tensors():
        expected = tensor + 0.5 if key in reply.update.components else tensor
        torch.testing.assert_close(federation.components[key][name], expected, rtol=0, atol=1e-6)


def spoiled(reply: Reply, change: Any) -> Reply:
    key = next(iter(reply.update.components))
    named = dict(reply.update.components[key])
    change(named)
    return sound_reply(
        Request("a", 1, "train", reply.update.components),
        CARDS[0],
        components=reply.update.components.merge(ComponentState({key: named})),
        counts=reply.update.counts,
    )


EIGHT: dict[str, tuple[Any, str]] = {
    "no scale": (lambda named: named.pop("bias" + SCALE), "has parameters"),
    "a scale too many": (lambda named: named.update({"bias" + SCALE: torch.ones(3)}), "has shape"),
    "a negative scale": (lambda named: named.update({"bias" + SCALE: -torch.ones(1)}), "negative or not finite"),
    "an infinite scale": (lambda named: named.update({"bias" + SCALE: torch.ones(1) / 0}), "negative or not finite"),
    "no number": (lambda named: named.update({"bias" + SCALE: torch.ones(1) * float("nan")}), "negative or not finite"),
    "a scale in double": (lambda named: named.update({"bias" + SCALE: torch.ones(1).double()}), "has dtype"),
    "a scale beyond all bounds": (lambda named: named.update({"bias" + SCALE: torch.ones(1) * 1e30}), "beyond"),
    "floats for codes": (lambda named: named.update({"bias": torch.ones(2)}), "has dtype"),
    "codes of another shape": (lambda named: named.update({"bias": torch.ones(9, dtype=torch.int8)}), "has shape"),
    "a list": (lambda named: named.update({"bias": [1, 2]}), "not a dense tensor"),
}


@pytest.mark.parametrize("fault", EIGHT)
def test_a_hostile_packed_reply_is_refused_in_one_line(fault: str) -> None:
    federation = wired("int8")
    request, reply = packed_reply(federation, "int8")
    change, why = EIGHT[fault]
    complaint = federation.complaint(spoiled(reply, change), request)
    assert complaint is not None
    assert why in complaint
    assert "\n" not in complaint


@pytest.mark.parametrize("bits", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_sixteen_bits_that_are_no_sound_number_are_refused(bits: float) -> None:
    federation = wired("bf16")
    request, reply = packed_reply(federation, "bf16")
    hostile = torch.full((2,), bits).to(torch.bfloat16).view(torch.int16)
    assert federation.complaint(spoiled(reply, lambda named: named.update(bias=hostile)), request) is not None


def test_values_in_full_are_refused_where_packed_ones_were_agreed_on() -> None:
    federation = wired("int8")
    request, _ = packed_reply(federation, "int8")
    plain = Request("a", 1, "train", unpack(request.components, "int8"))
    assert "has parameters" in (federation.complaint(sound_reply(plain, CARDS[0]), request) or "")


CLIENTS = {"one": (DIGITS,), "two": (DIGITS, MOOD)}


class Room:
    def client_data(self, client: str) -> ClientData:
        return client_data(CLIENTS[client], 8)


def rounds(tmp_path: Path, method: str, number: int, **wire: Any) -> tuple[Server, ClientSite, list[dict[str, Any]]]:
    """Run some rounds of real training, in process."""
    scenario = scenario_of(CLIENTS, local_steps=2, wire=wire)
    algorithm = make({}, method)
    network = build_network((DIGITS, MOOD))
    store = ClientStore(tmp_path)
    site = ClientSite(algorithm=algorithm, network=network, scenario=scenario, seed=0, data=Room(), store=store)
    cards = [ClientCard(client, pairs, {pair.task: 8 for pair in pairs}) for client, pairs in CLIENTS.items()]
    start = ServerState(network.initial_state().select(algorithm.travels))
    federation = Server(
        algorithm=algorithm,
        architecture=network.architecture,
        state=start,
        cards=cards,
        safety=scenario.safety,
    )
    events: list[dict[str, Any]] = []
    for round_number in range(1, number + 1):
        run_round(federation, InProcessTransport(site, cards), list(CLIENTS), round_number, events.append)
    assert [event["event"] for event in events if event["event"] in ("failed", "rejected")] == []
    return federation, site, events


def distance(left: ComponentState, right: ComponentState) -> float:
    return sum(float((tensor - right[key][name]).square().sum()) for key, name, tensor in left.tensors()) ** 0.5


@pytest.mark.parametrize("method", ["fedavg", "fedper", "tap"])
def test_a_run_packs_both_ways_and_its_residual_stays_at_home(method: str, tmp_path: Path) -> None:
    exact, _, plain = rounds(tmp_path / "exact", method, 2)
    federation, site, events = rounds(tmp_path / "packed", method, 2, precision="int8")
    size = {client: federation.slice_for(client).nbytes for client in CLIENTS}
    for event in events:
        if event["event"] == "update":
            assert event["bytes_down"] == event["bytes_up"] == size[event["client"]]
    assert sum(e.get("bytes_up", 0) for e in events) < sum(e.get("bytes_up", 0) for e in plain) / 2
    start = site.network.initial_state()
    assert 0 < distance(federation.components, exact.components) < distance(exact.components, start) / 2
    store = ClientStore(tmp_path / "packed")
    held = store.load("two", before=9)
    assert held is not None
    assert set(held.models[RESIDUAL]) == set(federation.slice_for("two"))
    assert RESIDUAL not in site.models("two", federation.slice_for("two"))
    request = Request("two", 3, "personalise", federation.slice_for("two"))
    assert len(site.answer(request).update.components) == 0


def test_the_models_of_a_client_start_from_what_it_can_have_read(tmp_path: Path) -> None:
    federation, site, _ = rounds(tmp_path, "fedavg", 1, precision="bf16")
    mine = site.models("one", federation.slice_for("one"))["federated"]
    assert all(tensor.dtype == torch.float32 for _, _, tensor in mine.tensors())
    exact = federation.components.slice(mine)
    assert not mine.equal(exact)
    assert mine.equal(exact.map(lambda tensor: tensor.to(torch.bfloat16).to(torch.float32)))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_plan_tells_the_bytes_that_an_update_then_has(precision: WirePrecision) -> None:
    scenario = scenario_of(
        {"one": (DIGITS,), "two": (MOOD, DIGITS)}, wire={"precision": precision}, method={"name": "fedavg"}
    )
    told = {client["client"]: client for client in plan_report(scenario)["clients"]}
    each = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    for client in told.values():
        assert client["parameters"] * each <= client["bytes"] <= client["parameters"] * (each + (precision == "int8"))
        assert client["bytes"] == sum(kind["bytes"] for kind in client["kinds"].values())


@pytest.mark.parametrize("precision", LOSSY)
def test_what_is_owed_of_components_that_are_not_in_an_update_stays_owed(precision: WirePrecision) -> None:
    other, draw = ComponentKey("head", ("away",)), torch.Generator().manual_seed(3)
    owed = ComponentState(
        {
            other: {"w": torch.randn(4, generator=draw)},
            KEY: {"w": torch.zeros(3, 40), "bias": torch.randn(5, generator=draw)},
        }
    )
    start, change = state(torch.zeros(3, 40)), state(torch.randn(3, 40, generator=draw))
    _, then = compress_update(change, start, owed, WireSettings(precision=precision))
    assert then.slice([other]).equal(owed.slice([other]))
    assert then[KEY]["bias"].equal(owed[KEY]["bias"])
    assert then[KEY]["w"].any()
