"""Faults on purpose: a transport around another that loses, delays, repeats and spoils replies, at random and repeatably.

For tests and benchmarks of what a federation bears. Not here: clients that lie well (benchmarks/attack.py); what is spoiled here
is spoiled as wires and broken clients spoil it, and most of it is refused by the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.transport import Transport
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator


@dataclass(frozen=True, slots=True)
class Faults:
    """The probabilities of each fault of a reply; at most one befalls it.

    ``drop``: the reply never comes. ``delay``: it comes with the replies of the next round. ``duplicate``: it comes twice.
    ``corrupt``: one of its tensors is spoiled, one way of :data:`SPOILS`.
    """

    drop: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what are no probabilities."""
        values = [getattr(self, field.name) for field in fields(self)]
        if min(values) < 0 or sum(values) > 1:
            raise UserError(f"faults {values}: give probabilities of 0 or more whose sum is at most 1")


class FaultyTransport:
    """The replies of another transport, with faults.

    Parameters
    ----------
    inner
        What carries the messages.
    faults
        How often which fault befalls a reply.
    seed
        What befalls a reply follows from seed, round and client alone.
    """

    def __init__(self, inner: Transport, faults: Faults, *, seed: int) -> None:
        self._inner = inner
        self._faults = faults
        self._seed = seed
        self._late: list[Reply] = []

    def clients(self) -> Sequence[ClientCard]:
        """Return the cards of all clients."""
        return self._inner.clients()

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        """Iterate over late replies of earlier rounds, then over this round's, some of them with a fault."""
        late, self._late = self._late, []
        yield from late
        for answer in self._inner.exchange(requests, timeout=timeout):
            if isinstance(answer, Failure):
                yield answer
                continue
            draw = numpy_generator(self._seed, "faults", answer.round, answer.client)
            fault = self._drawn(draw)
            if fault == "drop":
                yield Failure(answer.client, answer.round, "the reply was lost")
            elif fault == "delay":
                self._late.append(answer)
                yield Failure(answer.client, answer.round, "no reply in time")
            else:
                yield spoiled(answer, draw) if fault == "corrupt" else answer
                if fault == "duplicate":
                    yield answer

    def _drawn(self, draw: np.random.Generator) -> str | None:
        """Return which fault befalls a reply, if any."""
        point = draw.random()
        for field in fields(self._faults):
            point -= getattr(self._faults, field.name)
            if point < 0:
                return field.name
        return None


def spoiled(reply: Reply, draw: np.random.Generator) -> Reply:
    """Return a reply with one of its tensors spoiled; one without any comes back as it is."""
    tensors = list(reply.update.components.tensors())
    if not tensors:
        return reply
    key, name, tensor = tensors[int(draw.integers(len(tensors)))]
    way = list(SPOILS)[int(draw.integers(len(SPOILS)))]
    changed = {**reply.update.components[key], **SPOILS[way](name, tensor, draw)}
    components = reply.update.components.merge(ComponentState({key: changed}))
    if way == "a component of nobody's plan":
        components = components.merge(ComponentState({ComponentKey("head", ("nobodys",)): {"weight": tensor}}))
    return replace(reply, update=replace(reply.update, components=components))


def _flipped(name: str, tensor: Tensor, draw: np.random.Generator) -> Mapping[str, Tensor]:
    """Flip one bit: whatever comes of it may be a sound number, and then nobody can tell."""
    data = bytearray(tensor.contiguous().numpy().tobytes())
    place = int(draw.integers(len(data)))
    data[place] ^= 1 << int(draw.integers(8))
    return {name: torch.frombuffer(data, dtype=tensor.dtype).reshape(tensor.shape)}


SPOILS: Mapping[str, Callable[[str, Tensor, np.random.Generator], Mapping[str, Tensor]]] = {
    "no number": lambda name, tensor, draw: {name: torch.full(tensor.shape, torch.nan)},
    "numbers without bounds": lambda name, tensor, draw: {name: torch.full(tensor.shape, 1e30)},
    "another shape": lambda name, tensor, draw: {name: tensor.flatten()[:-1]},
    "another dtype": lambda name, tensor, draw: {name: tensor.to(torch.float64)},
    "a tensor too many": lambda name, tensor, draw: {f"{name}_again": tensor},
    "a component of nobody's plan": lambda name, tensor, draw: {},
    "a flipped bit": _flipped,
}
"""Ways to spoil a tensor: name, tensor and a generator in, the tensors that take its place out."""
