"""What a federated method is: five hooks and its parameters. One method, one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from fedtap.components import ComponentKey, ComponentState, weighted_mean
from fedtap.training.client import LocalClient


class Params(BaseModel):
    """A method's parameters; those without any use this class itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice made at a client, for the event log. Losses are in nats, or MSE; None where there was none to compare."""

    task: str
    kind: Literal["replace", "distil"]
    outcome: str
    federated_loss: float | None
    personal_loss: float | None
    rule: str


@dataclass(frozen=True, slots=True)
class Update:
    """What a client sends up: trained components, examples behind each, mean training losses, decisions."""

    components: ComponentState
    counts: Mapping[ComponentKey, int]
    losses: Mapping[str, float] = field(default_factory=dict)
    personal_losses: Mapping[str, float] = field(default_factory=dict)
    decisions: Sequence[Decision] = ()


@dataclass(frozen=True, slots=True)
class ClientState:
    """What a client keeps between rounds and never sends: models by name, and JSON-ready facts."""

    models: Mapping[str, ComponentState] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Decision] = ()
    """Decisions of the last :meth:`Algorithm.personalise`; not kept in the store."""


AnyParams: TypeAlias = Params  # within Algorithm, Params is the method's own


class Algorithm(ABC):
    """A method. It holds its parameters and nothing else: all state is in what its hooks take and return.

    Hooks must not depend on the order in which clients are visited, nor on anything global.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    Params: ClassVar[type[AnyParams]] = Params
    architecture: ClassVar[str] = "experts"
    deployed: ClassVar[str]
    """The model, of those that :meth:`models` names, that the method would have a site use."""
    federated_kinds: ClassVar[frozenset[str] | None] = None
    """The kinds of component that travel; None: all. Others stay with the client."""

    def __init__(self, params: AnyParams) -> None:
        self.params = params

    def travels(self, keys: frozenset[ComponentKey]) -> frozenset[ComponentKey]:
        """Return those of a plan's components that are sent down and up."""
        kinds = self.federated_kinds
        return keys if kinds is None else frozenset(key for key in keys if key.kind in kinds)

    def start(self, client: LocalClient) -> ClientState:
        """Return a client's private state before its first round."""
        return ClientState()

    @abstractmethod
    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train for one round from the received slice of the server's model."""

    def aggregate(self, current: ComponentState, updates: Sequence[Update]) -> ComponentState:
        """Return the server's next components: per component the mean over its holders, weighted by their examples.

        Components that nobody trained stay as they are.
        """
        return current.merge(weighted_mean([(update.components, update.counts) for update in updates]))

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Return the final private state, after the last round, from the finished slice."""
        return state

    @abstractmethod
    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the models to evaluate, by name."""
