"""The client's side of a round: its state from the store, the method's hook, its state back, the reply."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from fedtap.algorithms.base import Algorithm, ByTask, ClientState, Models, Update
from fedtap.components import ComponentState
from fedtap.data.loader import ClientData
from fedtap.federation.error_feedback import compress_update, split_residual, with_residual
from fedtap.federation.filters import SPENT
from fedtap.federation.messages import SECRETS, Reply, Request
from fedtap.federation.secure.client import SecureClient
from fedtap.federation.store import ClientStore
from fedtap.federation.wire import unpack
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.scenario.safety import PrivacySettings
from fedtap.scenario.scenario import Scenario
from fedtap.training.client import LocalClient


def redacted(update: Update, client: LocalClient, privacy: PrivacySettings) -> Update:
    """Return an update without what says something of the data beside the model, where there is noise on the model.

    Losses, decisions and a method's vectors are exact; in their place it tells how many steps were private, at which sampling.
    """
    if not privacy.noised:
        return update
    spent = {SPENT: torch.tensor([client.private_steps, client.sampling_rate])} if privacy.local else {}
    return replace(update, losses={}, personal_losses={}, decisions=(), vectors=spent)


def require_finite(state: ClientState) -> None:
    """Refuse a private state that has diverged: kept, it would spoil all that the client does from here on.

    Raises
    ------
    FloatingPointError
        Naming the model; the client has then failed in this round, and goes on from its state before it.
    """
    for name, model in state.models.items():
        for key, parameter, tensor in model.tensors():
            if not bool(torch.isfinite(tensor).all()):
                raise FloatingPointError(
                    f"the client's model '{name}' has diverged ({key}:{parameter} is not finite); lower training.lr"
                )


class ClientDatasets(Protocol):
    """Where clients' encoded data come from."""

    def client_data(self, client: str) -> ClientData:
        """Return a client's encoded splits."""


class Validate(Protocol):
    """What scores a client's models on its validation data."""

    def __call__(self, client: LocalClient, models: Models) -> list[dict[str, Any]]:
        """Return the scores as rows."""


class ClientSite:
    """Answers requests for the clients of this process, one after another, with one network and one store.

    ``validate`` scores models in the rounds in which the scenario asks for it (``evaluation.validation_every``).
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        network: Network,
        scenario: Scenario,
        seed: int,
        data: ClientDatasets,
        store: ClientStore,
        validate: Validate | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.network = network
        self.scenario = scenario
        self.seed = seed
        self._data = data
        self._store = store
        self._validate = validate

    @property
    def secure(self) -> SecureClient:
        """The clients' part of secure aggregation."""
        settings = self.scenario.privacy.secure
        if settings is None:
            raise ValueError("asked for secure aggregation, and the scenario has none")
        return SecureClient(self._store, settings)

    def local(self, client: str, round_number: int, pairs: tuple[Pair, ...] | None = None) -> LocalClient:
        """Return a client at work in a round."""
        return LocalClient(
            client,
            self.scenario.client(client).pairs if pairs is None else pairs,
            data=self._data.client_data(client),
            network=self.network,
            scenario=self.scenario,
            seed=self.seed,
            round=round_number,
            judge=self.algorithm.params.judge,
        )

    def answer(self, request: Request) -> Reply:
        """Do what is asked. The new private state is kept only if all went well."""
        if request.kind in SECRETS:
            return self.secure.answer(request)
        began = time.perf_counter()
        if request.kind == "personalise" and not self.algorithm.personalises and self._has_begun(request):
            return Reply(request.client, request.round, Update(ComponentState(), {}), time.perf_counter() - began, 0)
        client = self.local(request.client, request.round)
        held = self._store.load(request.client, before=request.round)
        state, lost = split_residual(held) if held else (self.algorithm.start(client), ComponentState())
        received = unpack(request.components, self.scenario.wire.precision)
        validation: Sequence[Mapping[str, Any]] = ()
        if request.kind == "train":
            update, state = self.algorithm.local_round(client, received, state)
            if self.scenario.evaluation.validates(request.round, self.scenario.rounds):
                paused = time.perf_counter()
                validation = self._scores(client, received.overlay(update.components), state)
                began += time.perf_counter() - paused  # the seconds of an answer are those of its training
            sent = update.components.select(self.algorithm.travels)
            sent, lost = compress_update(sent, received, lost, self.scenario.wire)
            update = replace(update, components=sent, counts={k: n for k, n in update.counts.items() if k in sent})
            update = redacted(update, client, self.scenario.privacy)
            if self.scenario.privacy.secure is not None:
                update = self.secure.mask(request, update, received)
        else:
            state = self.algorithm.personalise(client, received, state)
            update = Update(ComponentState(), {}, decisions=() if self.scenario.privacy.noised else state.decisions)
        require_finite(state)
        self._store.save(request.client, request.round, with_residual(state, lost))
        seconds = time.perf_counter() - began
        return Reply(request.client, request.round, update, seconds, client.steps_taken, validation=validation)

    def _has_begun(self, request: Request) -> bool:
        """Tell whether a client's state is there to stay as it is: kept and sound, or none since the method starts without."""
        held = self._store.load(request.client, before=request.round)
        return held is not None or type(self.algorithm).start is Algorithm.start

    def _scores(self, client: LocalClient, trained: ComponentState, state: ClientState) -> list[dict[str, Any]]:
        """Return what those of a client's models score that there are by now, made of the slice that it has just trained."""
        if self._validate is None:
            raise ValueError("asked for scores on validation data, and there is nothing to score by")
        names = self.algorithm.model_names
        found = {name: model for name, model in self.algorithm.models(trained, state).items() if name in names}
        return self._validate(client, found)

    def models(self, client: str, received: ComponentState) -> Models:
        """Return a client's models after the last round, by name; ``received`` is what the server sends it, packed."""
        state, _ = split_residual(self._store.load(client, before=self.scenario.rounds + 2) or ClientState())
        found = self.algorithm.models(unpack(received, self.scenario.wire.precision), state)
        if strange := sorted(found.keys() - self.algorithm.model_names):
            raise UserError(
                f"method '{self.algorithm.name}': makes a model '{strange[0]}', which it does not declare; add it to `beside` "
                "of its class"
            )
        for name, choice in found.items():
            if isinstance(choice, ByTask):
                there = {other for other, model in found.items() if not isinstance(model, ByTask)}
                if lacking := sorted(set(choice.models.values()) - there):
                    raise UserError(
                        f"method '{self.algorithm.name}': its model '{name}' uses '{lacking[0]}', which is none of its models; "
                        "return that one beside it"
                    )
        return found
