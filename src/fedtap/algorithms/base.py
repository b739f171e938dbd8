"""What a federated method is: five hooks and its parameters. One method, one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fedtap.aggregation.averaging import Holders, LoraMean, mean_of
from fedtap.components import ComponentKey, ComponentMean, ComponentState, weighted
from fedtap.personalization.decision import Decision
from fedtap.runtime.storage import digest
from fedtap.training.client import LocalClient
from fedtap.training.judge import Judge


class Params(BaseModel):
    """Parameters that every method has; a class of its own adds to them.

    ``lora_mean`` says what is averaged where components hold low-rank factors A and B: each apart (``factors``), or their
    product, brought back to the rank (``product``; the mean of A times the mean of B is not the mean of AB).
    ``judge`` says by what models are judged on validation, whatever is decided there: ``cross_entropy`` (the trained loss),
    ``calibrated`` (that loss at the model's best temperature) or ``metric`` (what is reported); see :mod:`fedtap.training.judge`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora_mean: LoraMean = "factors"
    judge: Judge = "cross_entropy"


@dataclass(frozen=True, slots=True)
class Update:
    """What a client sends up: trained components, examples behind each, mean training losses, decisions.

    ``vectors`` are small named tensors beside the model that the method's aggregation needs, e.g. a sketch of a gradient.
    """

    components: ComponentState
    counts: Mapping[ComponentKey, int]
    losses: Mapping[str, float] = field(default_factory=dict)
    personal_losses: Mapping[str, float] = field(default_factory=dict)
    decisions: Sequence[Decision] = ()
    vectors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientState:
    """What a client keeps between rounds and never sends: models by name, and JSON-ready facts."""

    models: Mapping[str, ComponentState] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Decision] = ()
    """Decisions of the last :meth:`Algorithm.personalise`; not kept in the store."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server keeps between rounds.

    ``components`` is the federated model. A method that aggregates for each client apart keeps in ``tailored`` the components
    that a client, or all with the same components (:func:`holders_of`), get instead of the federated ones, and in ``kept``, by a
    client's name or another, what it remembers and sends to nobody as it is; ``facts`` are JSON-ready.
    """

    components: ComponentState
    tailored: Mapping[str, ComponentState] = field(default_factory=dict)
    kept: Mapping[str, ComponentState] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def slice_for(self, client: str, keys: frozenset[ComponentKey]) -> ComponentState:
        """Return what a client with these components is sent."""
        common = self.components.slice(keys)
        mine = self.tailored.get(client, self.tailored.get(holders_of(keys)) if self.tailored else None)
        return common if mine is None else common.overlay(mine.select(lambda key, _: key in keys))


def holders_of(keys: Iterable[ComponentKey]) -> str:
    """Return what the clients with exactly these components are called together; no client's id has a space."""
    return "holders " + digest(*sorted(map(str, keys)))


@dataclass(frozen=True, slots=True)
class ByTask:
    """No model of its own: for each task of a client the name of the one that it uses, of those beside it."""

    models: Mapping[str, str]


Models: TypeAlias = Mapping[str, ComponentState | ByTask]
"""A client's models by name."""
AnyParams: TypeAlias = Params  # within Algorithm, Params is the method's own


class Algorithm(ABC):
    """A method. It holds its parameters and nothing else: all state is in what its hooks take and return.

    Hooks must not depend on the order in which clients are visited, nor on anything global.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    Params: ClassVar[type[AnyParams]] = Params
    architecture: ClassVar[str | None] = None
    """The architecture that the method brings; None: the scenario's (``network.name``)."""
    architectures: ClassVar[tuple[str, ...] | None] = None
    """The architectures that the method can train, by name; None: any."""
    adaptations: ClassVar[Mapping[str, str]] = {}
    """The ways of adaptation (``network.adaptation``) that the method replaces by its own, and by which; others stay."""
    deployed: str
    """The model, of those that :meth:`models` names, that the method would have a site use."""
    beside: tuple[str, ...] = ("federated",)
    """The other models that :meth:`models` may name; the server takes no results of any that is neither here nor ``deployed``."""

    def __init_subclass__(cls) -> None:
        """Refuse parameters that lack those of the method that is built upon: its hooks will ask for them."""
        for base in cls.__mro__:
            theirs = getattr(base, "Params", Params)
            if not issubclass(cls.Params, theirs):
                raise TypeError(f"{cls.__name__}: its Params must extend {theirs.__name__}, those of {base.__name__}")

    def __init__(self, params: AnyParams) -> None:
        self.params = params
        self._rule: ComponentMean = weighted

    @property
    def model_names(self) -> frozenset[str]:
        """All names of models that :meth:`models` may give."""
        return frozenset({self.deployed, *self.beside})

    @property
    def compares_examples(self) -> str:
        """The parameter by which the method's loss compares a batch's examples with each other (0 switches it off); or nothing.

        Such a batch must go through the network as a whole.
        """
        return ""

    @property
    def personalises(self) -> bool:
        """Whether the method makes anything of a client after the last round; without, nothing is kept of that step."""
        return type(self).personalise is not Algorithm.personalise

    def travels(self, key: ComponentKey, name: str) -> bool:
        """Tell whether a component's tensor is sent down and up; others stay with the client. By default all travel."""
        return True

    def start(self, client: LocalClient) -> ClientState:
        """Return a client's private state before its first round."""
        return ClientState()

    @abstractmethod
    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train for one round from what the server sent: the travelling tensors of the client's plan."""

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Return the server's next state from the round's updates, by client in sorted order.

        By default the mean of each component over its holders, weighted by their examples. Components that nobody trained stay
        as they are.
        """
        return replace(server, components=server.components.merge(self.mean(updates)))

    def mean(self, updates: Mapping[str, Update]) -> ComponentState:
        """Return the mean of each component over its holders, weighted by their examples, as ``lora_mean`` says."""
        return self.mean_of([(update.components, update.counts) for update in updates.values()])

    def mean_of(self, states: Holders) -> ComponentState:
        """Return the mean of states: weighted by the counts beside them, or by the robust rule of :meth:`averaging_by`."""
        return mean_of(states, self.params.lora_mean, self._rule)

    def averaging_by(self, rule: ComponentMean) -> Algorithm:
        """Return this method with another rule for its means; the server asks for the one that ``defence.mean`` names."""
        changed = copy(self)
        changed._rule = rule
        return changed

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Return the final private state, after the last round, from the finished slice."""
        return state

    @abstractmethod
    def models(self, received: ComponentState, state: ClientState) -> Models:
        """Return the models to evaluate, by name; one may be a choice among the others, task by task."""
