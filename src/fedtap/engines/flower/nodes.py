"""Which node speaks for which client: learned from greetings, bound to keys where there are some.

A node says in its answer to a greeting which client it is. Where the server has the clients' public keys, that is believed only
of the node that proved to hold the client's key when it connected; without keys the first to say so is believed, for as long as
it is connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from fedtap.federation.messages import ClientCard
from fedtap.federation.rounds import one_short_line
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError

Keys = Mapping[str, bytes]
"""Client id -> public key, in the form in which Flower gives a node's."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a client before it is heard of: its pairs, and the most training examples of each task."""

    pairs: tuple[Pair, ...]
    most: Mapping[str, int]


class Nodes:
    """The clients that have been heard of.

    Parameters
    ----------
    expected
        The clients of the scenario; others are refused.
    keys
        Their public keys; None where nodes connect without.
    observe
        Called with an event when a client joins and when a node is refused.
    """

    def __init__(
        self,
        expected: Mapping[str, Expected],
        *,
        keys: Keys | None,
        observe: Callable[[dict[str, object]], None],
    ) -> None:
        self._expected = expected
        self._keys = keys
        self._observe = observe
        self._node: dict[str, int] = {}
        self._cards: dict[str, ClientCard] = {}
        self._online: dict[int, bytes] = {}
        self._seen: set[int] = set()
        self._refused: set[int] = set()
        self._asked: dict[str, int] = {}
        self._complete = 0

    @property
    def cards(self) -> tuple[ClientCard, ...]:
        """The cards of all clients that have been heard of, in order."""
        return tuple(self._cards[client] for client in sorted(self._cards))

    def look(self, online: Mapping[int, bytes]) -> list[int]:
        """Take note of the nodes that are connected, with their public keys; return those that have not been greeted yet."""
        self._online = dict(online)
        self._seen &= online.keys()  # one that was away may come back as another client
        fresh = sorted(online.keys() - self._seen)
        self._seen |= online.keys()
        return fresh

    def begin_after(self, round_number: int) -> None:
        """Take note that this round is complete, and no client can be further than the next."""
        self._complete = round_number

    def asked(self, client: str, round_number: int) -> None:
        """Take note that a client was asked in a round, and may have a state of it."""
        self._asked[client] = round_number

    def retry(self) -> None:
        """Greet again, once, those that were refused: what was wrong with them may have been mended."""
        self._seen -= self._refused
        self._refused.clear()

    def forget(self, node: int) -> None:
        """Greet a node again the next time: nothing sound came back."""
        self._seen.discard(node)

    def node(self, client: str) -> int | None:
        """Return the node of a client, if it is connected."""
        node = self._node.get(client)
        return node if node in self._online else None

    def connected(self, clients: Iterable[str]) -> list[str]:
        """Return those of the clients whose nodes are connected."""
        return [client for client in clients if self.node(client) is not None]

    def welcome(
        self, node: int, client: str, examples: Mapping[str, int], *, newest: int = 0, round_number: int = 0
    ) -> None:
        """Believe, or refuse, what a node said of itself: its client, training examples, the round of its newest state."""
        why = self._doubt(node, client, examples) or self._age(client, newest)
        if why is not None:
            self.refuse(node, why, round_number)
            return
        self._node[client] = node
        self._cards[client] = ClientCard(client, self._expected[client].pairs, dict(examples))
        self._observe({"event": "joined", "round": round_number, "client": client, "examples": dict(examples)})

    def refuse(self, node: int, why: str, round_number: int) -> None:
        """Record that a node's word is not taken; it is greeted again after :meth:`retry`, or once it has been away."""
        self._refused.add(node)
        self._observe({"event": "refused", "round": round_number, "node": str(node), "why": one_short_line(why)})

    def _age(self, client: str, newest: int) -> str | None:
        last = self._asked.get(client, self._complete + 1)
        if newest <= last:
            return None
        return (
            f"'{client}' holds a private state of round {newest}, and the server asked it for {last} at the most: the server "
            "lost rounds; restore its folder from a newer copy, or start a new run"
        )

    def _doubt(self, node: int, client: str, examples: Mapping[str, int]) -> str | None:
        if client not in self._expected:
            return f"says that it is '{client[:64]}', and the scenario has no such client"
        if self._keys is not None:
            if client not in self._keys:
                return f"says that it is '{client}', whose public key the server does not have"
            if self._online.get(node) != self._keys[client]:
                return f"says that it is '{client}', and does not have that client's key"
        elif self._node.get(client) not in (None, node) and self._node[client] in self._online:
            return f"says that it is '{client}', which another node that is connected does too"
        most = self._expected[client].most
        if examples.keys() != most.keys():
            return f"'{client}' has other tasks than in the scenario: {', '.join(sorted(examples))[:200]}"
        for task, number in examples.items():
            if not 0 < number <= most[task]:
                return f"'{client}' claims {number} training examples of task '{task}'; by the scenario at most {most[task]}"
        return None


def read_keys(folder: Path, clients: Iterable[str]) -> dict[str, bytes]:
    """Return the public keys ``<client>.pub`` of a folder, as ``ssh-keygen -t ecdsa -b 384`` or ``fedtap node init`` write them.

    Raises
    ------
    UserError
        If the folder is missing, holds no key of any client, or a key cannot be read.
    """
    found: dict[str, bytes] = {}
    for client in clients:
        path = folder / f"{client}.pub"
        if not path.is_file():
            continue
        try:
            key = load_ssh_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise UserError(f"{path}: no public key ({error}); copy it again from the client's node") from error
        found[client] = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not found:
        raise UserError(
            f"{folder}: holds no <client>.pub of any client of the scenario; copy the nodes' public keys there"
        )
    return found
