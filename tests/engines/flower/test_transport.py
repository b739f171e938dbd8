"""The transport against nodes that behave well and badly: who is asked, what counts, and what is said of the rest."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from safetensors.torch import load, save

from builders import CARDS, server, sound_reply
from fedtap import __version__
from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.flower import codec
from fedtap.engines.flower.arrays import ONLY, STYPE, record_of
from fedtap.engines.flower.nodes import Expected, Nodes
from fedtap.engines.flower.transport import HELLO, FlowerTransport
from fedtap.federation.messages import Failure, Reply
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from loopback import LoopbackGrid, Node, addressed

FEDERATION = "f" * 32
ENVELOPE = codec.Envelope(__version__, FEDERATION)
CARD = {card.id: card for card in CARDS}
NODE = {"a": 11, "b": 12, "c": 13, "d": 14}
FederatedRun = Callable[[Message, str], Any]


def train(message: Message, client: str) -> RecordDict:
    """Answer a request soundly."""
    request, _ = codec.decode_request(message.content)
    reply = sound_reply(request, CARD[request.client], seed=ord(client))
    return codec.encode_reply(reply, request.kind, ENVELOPE)


def node(client: str, work: FederatedRun = train, *, key: bytes = b"", says: str | None = None) -> Node:
    """Return a node that greets as a client, and works as told."""

    def answer(message: Message) -> Any:
        if message.metadata.message_type == HELLO:
            card = CARD[says or client]
            return codec.encode_hello(ENVELOPE, card.id, card.examples)
        return work(message, client)

    return Node(answer, key)


class Simulation:
    """A server, a transport over a grid without a network, and a clock that moves when somebody sleeps."""

    def __init__(
        self, nodes: dict[int, Node], keys: dict[str, bytes] | None = None, at_once: int | None = None
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = 0.0
        self.asleep: list[Callable[[], None]] = []
        expected = {card.id: Expected(card.pairs, card.examples) for card in CARDS}
        self.grid = LoopbackGrid(nodes)
        self.nodes = Nodes(expected, keys=keys, observe=self.events.append)
        self.transport = FlowerTransport(
            self.grid,
            self.nodes,
            federation=FEDERATION,
            at_once=at_once,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        self.server: Server = server()

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.asleep:
            self.asleep.pop(0)()

    def round(self, clients: str, number: int = 1, **limits: Any) -> list[dict[str, Any]]:
        """Run a round and return its events."""
        self.transport.clients()
        began = len(self.events)
        run_round(self.server, self.transport, list(clients), number, self.events.append, **limits)
        return self.events[began:]

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def all_nodes(**works: FederatedRun) -> dict[int, Node]:
    return {number: node(client, works.get(client, train)) for client, number in NODE.items()}


def finished(events: list[dict[str, Any]]) -> list[str]:
    return events[-1]["clients"]


def after(clients: str) -> ComponentState:
    """Return the server's components after a round with these clients alone."""
    bench = Simulation(all_nodes())
    bench.round(clients)
    return bench.server.components


def test_clients_are_those_whose_nodes_said_who_they_are() -> None:
    bench = Simulation({11: node("a"), 12: node("b")})
    assert [card.id for card in bench.transport.clients()] == ["a", "b"]
    assert bench.transport.clients()[0] == CARD["a"]
    assert [message.metadata.message_type for message in bench.grid.sent] == [HELLO, HELLO]  # each once
    assert [event["client"] for event in bench.told("joined")] == ["a", "b"]


def test_a_round_over_flower_is_a_round() -> None:
    bench = Simulation(all_nodes())
    assert finished(bench.round("abc")) == ["a", "b", "c"]
    assert bench.told("failed") == bench.told("rejected") == []
    assert {m.metadata.dst_node_id for m in bench.grid.sent if m.metadata.message_type != HELLO} == {11, 12, 13}


def test_a_client_whose_node_is_away_has_failed_at_once() -> None:
    bench = Simulation({11: node("a")})
    assert finished(bench.round("ab")) == ["a"]
    assert bench.told("failed") == [{"event": "failed", "round": 1, "client": "b", "why": "its node is not connected"}]
    assert bench.now == 0


def test_who_joins_late_takes_part_from_then_on_and_who_leaves_does_not() -> None:
    bench = Simulation({11: node("a")})
    bench.round("ab", 1)
    bench.grid.nodes[12] = node("b")
    assert finished(bench.round("ab", 2)) == ["a", "b"]
    bench.grid.nodes[11].online = False
    assert finished(bench.round("ab", 3)) == ["b"]
    bench.grid.nodes[21] = node("a")  # restarted without a key: another node
    assert finished(bench.round("ab", 4)) == ["a", "b"]


def test_a_silent_client_fails_when_its_time_is_up_and_the_others_count() -> None:
    bench = Simulation(all_nodes(b=lambda message, client: None))
    events = bench.round("ab", timeout=30)
    assert finished(events) == ["a"]
    assert bench.told("failed") == [{"event": "failed", "round": 1, "client": "b", "why": "no answer within 30 s"}]
    assert 30 <= bench.now < 35


def test_an_answer_that_comes_late_is_refused_in_the_next_round() -> None:
    kept: list[Message] = []
    bench = Simulation(all_nodes(b=lambda message, client: kept.append(message)))
    bench.round("ab", 1, timeout=5)
    bench.grid.nodes[12] = node("b")
    bench.grid.say(kept[0].metadata.message_id, train(kept[0], "b"), node=12)
    assert finished(bench.round("ab", 2, timeout=5)) == ["a", "b"]
    whys = {event["why"] for event in bench.told("rejected")}
    assert whys == {"answers for client 'b' in round 1, asked was 'b' in 2"}


def test_of_an_answer_that_comes_twice_the_first_counts() -> None:
    def twice(message: Message, client: str) -> RecordDict:
        bench.grid.say(message.metadata.message_id, train(message, client), node=11)
        return train(message, client)

    bench = Simulation(all_nodes(a=twice))
    assert finished(bench.round("ab")) == ["a", "b"]
    assert [event["why"] for event in bench.told("rejected")] == ["a second reply to one request"]
    assert bench.server.components.equal(after("ab"))


def test_an_error_of_the_superlink_is_that_of_the_client_it_was_to_reach() -> None:
    bench = Simulation(all_nodes(b=lambda message, client: Error(code=3, reason="Message\nUnavailable")))
    assert finished(bench.round("abc")) == ["a", "c"]
    assert [(event["client"], event["why"]) for event in bench.told("failed")] == [
        ("b", "error 3: Message Unavailable")
    ]


def test_another_nodes_answer_does_not_count() -> None:
    def elsewhere(message: Message, client: str) -> None:
        bench.grid.say(message.metadata.message_id, train(message, client), node=14)

    bench = Simulation(all_nodes(a=elsewhere))
    assert finished(bench.round("ab")) == ["b"]
    assert [event["why"] for event in bench.told("failed")] == ["another node than the one that was asked has answered"]


def test_an_answer_to_nothing_is_its_senders_and_costs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Simulation(all_nodes())
    pull = bench.grid.pull_messages

    def more(names: list[str]) -> list[Message]:
        request = bench.server.request("b", 1)
        stray = train(addressed("", 1, 12, "train", codec.encode_request(request, ENVELOPE)), "b")
        return [*pull(names), addressed("", 14, 1, "train", stray, "never-sent")]

    bench.transport.clients()
    monkeypatch.setattr(bench.grid, "pull_messages", more)
    assert finished(bench.round("ab")) == ["a", "b"]
    assert bench.told("failed") == bench.told("rejected") == []
    assert {(event["node"], event["why"]) for event in bench.told("refused")} == {
        ("14", "an answer to a message that was never sent")
    }


def changed(change: Callable[[Reply], Reply], envelope: codec.Envelope = ENVELOPE) -> FederatedRun:
    def work(message: Message, client: str) -> RecordDict:
        request, _ = codec.decode_request(message.content)
        return codec.encode_reply(change(sound_reply(request, CARD[request.client])), request.kind, envelope)

    return work


@pytest.mark.parametrize(
    ("work", "event", "why"),
    [
        (changed(lambda reply: replace(reply, round=7)), "rejected", "in round 7, asked was"),
        (
            changed(lambda reply: replace(reply, client="b")),
            "failed",
            "^an answer for client 'b'$",
        ),
        (changed(lambda reply: reply, replace(ENVELOPE, federation="0" * 32)), "failed", "another federation's run"),
        (lambda message, client: codec.encode_failure("disk full", ENVELOPE), "failed", "^disk full$"),
        (lambda message, client: RecordDict(), "failed", "there is no record 'fedtap'"),
    ],
    ids=["another round", "another client", "another federation", "a failure", "nothing"],
)
def test_what_a_node_says_of_itself_must_fit(work: FederatedRun, event: str, why: str) -> None:

    bench = Simulation(all_nodes(a=work))
    events = bench.round("ac")
    assert finished(events) == ["c"]
    assert [bool(re.search(why, each["why"])) for each in bench.told(event)] == [True]


def test_no_more_clients_work_at_a_time_than_may() -> None:
    working: set[str] = set()
    most = 0

    def slow(message: Message, client: str) -> None:
        nonlocal most
        working.add(client)
        most = max(most, len(working))

        def end() -> None:
            working.discard(client)
            bench.grid.say(message.metadata.message_id, train(message, client), node=NODE[client])

        bench.asleep.append(end)

    bench = Simulation(all_nodes(a=slow, b=slow, c=slow, d=slow), at_once=2)
    assert finished(bench.round("abcd")) == ["a", "b", "c", "d"]
    assert most == 2


@pytest.mark.parametrize(("failing", "changes"), [("", True), ("b", True), ("bc", False), ("abc", False)])
def test_too_few_replies_change_nothing_and_it_is_said(failing: str, changes: bool) -> None:
    bench = Simulation(all_nodes(**dict.fromkeys(failing, lambda message, client: Error(code=2, reason="no"))))
    before = bench.server.components
    bench.round("abc", min_replies=2)
    assert bench.server.components.equal(before) != changes
    unchanged = {"event": "unchanged", "round": 1, "replies": 3 - len(failing), "min_replies": 2}
    assert bench.told("unchanged") == ([] if changes else [unchanged])


def test_with_keys_only_the_node_with_the_clients_key_is_believed() -> None:
    keys = {"a": b"key of a", "b": b"key of b"}
    bench = Simulation({11: node("a", key=b"key of a"), 12: node("b", key=b"key of a"), 13: node("c", key=b"?")}, keys)
    assert [card.id for card in bench.transport.clients()] == ["a"]
    assert [(event["node"], event["why"]) for event in bench.told("refused")] == [
        ("12", "says that it is 'b', and does not have that client's key"),
        ("13", "says that it is 'c', whose public key the server does not have"),
    ]


def test_without_keys_the_first_is_believed_as_long_as_it_is_there() -> None:
    bench = Simulation({11: node("a"), 12: node("b", says="a")})
    bench.transport.clients()
    assert [(e["node"], e["why"]) for e in bench.told("refused")] == [
        ("12", "says that it is 'a', which another node that is connected does too")
    ]
    assert bench.nodes.node("a") == 11


def greeting(content: RecordDict) -> Node:
    return Node(lambda message: content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (codec.encode_hello(ENVELOPE, "nobody", {"digits": 3}), "the scenario has no such client"),
        (codec.encode_hello(ENVELOPE, "b", {"digits": 8}), "claims 8 training examples of task 'digits'"),
        (codec.encode_hello(ENVELOPE, "b", {"digits": 0}), "claims 0 training examples"),
        (codec.encode_hello(ENVELOPE, "b", {"mood": 3}), "has other tasks than in the scenario"),
        (codec.encode_hello(replace(ENVELOPE, version="0.0.1"), "b", {"digits": 3}), "runs fedtap 0.0.1, the server"),
        (codec.encode_failure("no such folder", ENVELOPE), "no such folder"),
        (RecordDict({"fedtap": MetricRecord({"a": 1})}), "there is no record"),
    ],
)
def test_a_greeting_that_makes_no_sense_is_refused(content: RecordDict, why: str) -> None:
    bench = Simulation({12: greeting(content)})
    assert bench.transport.clients() == ()
    assert [why in event["why"] for event in bench.told("refused")] == [True]


def test_a_node_that_was_refused_is_greeted_again_in_the_next_round() -> None:
    bench = Simulation({11: node("a"), 12: greeting(codec.encode_failure("data not mounted", ENVELOPE))})
    bench.round("ab", 1)
    bench.grid.nodes[12].answer = node("b").answer
    refused = len(bench.told("refused"))
    assert finished(bench.round("ab", 2)) == ["a", "b"]
    assert len(bench.told("refused")) == refused > 0


def test_waiting_ends_when_enough_are_there_or_patience_does() -> None:
    bench = Simulation({11: node("a")})
    assert bench.transport.wait_for("a", at_least=1, patience=100) == ["a"]
    assert bench.now == 0
    assert bench.transport.wait_for("ab", at_least=2, patience=100) == ["a"]
    assert 100 <= bench.now < 105
    bench.asleep = [lambda: None, lambda: bench.grid.nodes.update({12: node("b")})]
    assert bench.transport.wait_for("ab", at_least=2, patience=100) == ["a", "b"]
    assert bench.now < 110


def mangled(draw: random.Random, message: Message) -> RecordDict:
    """Return a sound reply with one thing wrong in it, chosen at random."""
    content = train(message, "a")
    names = [name for name in content if name.startswith(codec.COMPONENT)]
    name = draw.choice(names)
    record = content[name]
    assert isinstance(record, ArrayRecord)
    data = record[ONLY].data
    tensors = {key: tensor.clone() for key, tensor in load(data).items()}
    parameter = draw.choice(sorted(tensors))
    bad = draw.choice([float("nan"), float("inf"), -float("inf"), 1e30, 2e6])

    def packed(data: bytes, dtype: str = "uint8", shape: tuple[int, ...] | None = None, stype: str = STYPE) -> None:
        record[ONLY] = Array(dtype, (len(data),) if shape is None else shape, stype, data)

    def changed(name: str, tensor: torch.Tensor | None) -> None:
        rest = {key: other for key, other in tensors.items() if key != name}
        packed(save(rest if tensor is None else {**rest, name: tensor}))

    def flipped() -> bytes:
        place = draw.randrange(8 + int.from_bytes(data[:8], "little"))  # in the description, not in the values
        return data[:place] + bytes([data[place] ^ draw.randrange(1, 256)]) + data[place + 1 :]

    poisoned = tensors[parameter].clone()
    poisoned.view(-1)[draw.randrange(poisoned.numel())] = bad
    extra = str(ComponentKey("head", (f"h{draw.randrange(99)}",)))
    about = dict(content[codec.ABOUT])
    key = draw.choice(sorted(about.keys() - {"version"}))
    wrong: list[Callable[[], None]] = [
        lambda: changed(parameter, poisoned),
        lambda: changed(parameter, tensors[parameter].double()),
        lambda: changed(parameter, tensors[parameter].to(torch.int8)),
        lambda: changed(parameter, tensors[parameter].unsqueeze(0)),
        lambda: changed(parameter, None),
        lambda: changed(f"{parameter}.{draw.randrange(9)}", torch.zeros(3)),
        lambda: packed(draw.randbytes(draw.randrange(40))),
        lambda: packed(data[: draw.randrange(len(data))]),
        lambda: packed(data + draw.randbytes(draw.randrange(1, 9))),
        lambda: packed((2**63).to_bytes(8, "little") + data[8:]),
        lambda: packed(flipped()),
        lambda: packed(data, dtype=draw.choice(["int8", "bool", "f"])),
        lambda: packed(data, shape=draw.choice([(10**9, 10**9), (-1,), (1, len(data)), ()])),
        lambda: packed(data, stype="numpy.ndarray"),
        lambda: record.update({f"{ONLY}.{draw.randrange(9)}": record[ONLY]}),
        lambda: record.clear(),
        lambda: content.update({f"{codec.COMPONENT}{extra}": ArrayRecord({ONLY: record[ONLY]})}),
        lambda: content.update({codec.COUNTS: MetricRecord({name.removeprefix(codec.COMPONENT): 10**12})}),
        lambda: content.update({codec.COUNTS: MetricRecord({"shared": -draw.randrange(1, 9)})}),
        lambda: content.update({codec.LOSSES: MetricRecord({"digits": bad if bad != bad else float("inf")})}),
        lambda: content.update({codec.LOSSES: MetricRecord({f"t{draw.randrange(9)}": 0.5})}),
        lambda: content.update(
            {codec.DECISIONS: ConfigRecord({"json": draw.choice(["[[]]", "nan", "[{}]", "\u0000"])})}
        ),
        lambda: content.update(
            {codec.VECTORS: record_of({"v" * draw.randrange(1, 999): torch.zeros(1, dtype=torch.int8)})}
        ),
        lambda: content.update({codec.ABOUT: ConfigRecord({**about, key: draw.choice([b"\xff", [1.0], -1, "?"])})}),
        lambda: content.pop(draw.choice(sorted(content.keys() - {codec.VECTORS}))),
    ]
    draw.choice(wrong)()
    return content


def test_a_hundred_mangled_updates_leave_no_trace() -> None:
    draw = random.Random(7)
    bench = Simulation(all_nodes(a=lambda message, client: mangled(draw, message)))
    honest = Simulation(all_nodes(a=lambda message, client: Error(code=2, reason="silent")))
    for number in range(1, 101):
        assert finished(bench.round("ab", number)) == ["b"]
        honest.round("ab", number)
    lost = [event for event in bench.events if event["event"] in ("failed", "rejected")]
    assert len(lost) == 100
    assert all(event["client"] == "a" and "\n" not in event["why"] for event in lost)
    assert bench.server.components.equal(honest.server.components)


def test_a_failure_is_told_as_the_clients_own() -> None:
    bench = Simulation(all_nodes())
    bench.transport.clients()
    bench.grid.nodes[11].answer = lambda message: codec.encode_failure("ValueError: no", ENVELOPE)
    answers = list(bench.transport.exchange([bench.server.request("a", 1)]))
    assert answers == [Failure("a", 1, "ValueError: no")]
