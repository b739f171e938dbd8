"""A Grid without a network: messages are put into bytes and back, and answered by client apps in this process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.clientapp import ClientApp
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Answer = Callable[[Message], Message | Error | RecordDict | None]
"""What a node does with a message; None: it never answers."""


class Node:
    """A node of the grid: a client app with its settings, or a function that answers."""

    def __init__(self, answer: Answer, public_key: bytes = b"") -> None:
        self.answer = answer
        self.public_key = public_key
        self.online = True


def app_node(app: ClientApp, node_config: Mapping[str, Any], run_config: Mapping[str, Any], key: bytes = b"") -> Node:
    """Return a node that runs a client app, as a SuperNode does: a raise is an error reply."""

    def answer(message: Message) -> Message | Error:
        context = Context(1, message.metadata.dst_node_id, dict(node_config), RecordDict(), dict(run_config))
        try:
            return app(message, context)
        except Exception as error:
            return Error(code=2, reason=str(error))

    return Node(answer, key)


class LoopbackGrid(Grid):
    """Nodes by id; an answer waits until it is pulled. ``sent`` and ``bytes`` tell what went down and up."""

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # who writes the messages: the server
        self.nodes = dict(nodes)
        self.sent: list[Message] = []
        self.bytes = {"down": 0, "up": 0}
        self.waiting: dict[str, list[Message]] = {}
        self._numbers = itertools.count(1)

    def set_run(self, run: Run) -> None:
        """Do without."""

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return [node for node, its in self.nodes.items() if its.online]

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, public_key=self.nodes[node].public_key) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            name = f"message-{next(self._numbers)}"
            node = message.metadata.dst_node_id
            received = addressed(name, 1, node, message.metadata.message_type, self._through(message.content, "down"))
            self.sent.append(received)
            answer = self.nodes[node].answer(received)
            if isinstance(answer, Message):
                answer = answer.error if answer.has_error() else answer.content
            if isinstance(answer, RecordDict):
                answer = self._through(answer, "up")
            if answer is not None:
                self.say(name, answer, node=1 if isinstance(answer, Error) else node)
            names.append(name)
        return names

    def say(self, reply_to: str, what: RecordDict | Error, *, node: int) -> None:
        """Have an answer ready; one from a node, or from the SuperLink (1)."""
        message = addressed("", node, 1, "train", what, reply_to)
        self.waiting.setdefault(reply_to, []).append(message)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [message for name in message_ids for message in self.waiting.pop(name, [])]

    def _through(self, content: RecordDict, way: str) -> RecordDict:
        data = recorddict_to_proto(content).SerializeToString()
        self.bytes[way] += len(data)
        return recorddict_from_proto(ProtoRecordDict.FromString(data))


def addressed(name: str, source: int, to: int, kind: str, what: RecordDict | Error, reply_to: str = "") -> Message:
    """Return a message as Flower would hand it over."""
    metadata = Metadata(
        run_id=1,
        message_id=name,
        src_node_id=source,
        dst_node_id=to,
        reply_to_message_id=reply_to,
        group_id="",
        created_at=time.time(),
        ttl=3600.0,
        message_type=kind,
    )
    given = {"error": what} if isinstance(what, Error) else {"content": what}
    return Message(metadata=metadata, **given)
