r"""TAP: Two-Stage Adaptive Personalization. Lee, Fang, Han, Hosseinalipour, Brinton 2025, arXiv 2509.26524.

Stage 1, each round at a sampled client i with federated slice W and personal model X:

.. math::
    W \leftarrow \mathrm{AdamW}^E(f_i, W), \quad
    X[c] \leftarrow W[c] \;\; \forall c \in path(i, o) \;\text{ iff }\; h^f_o + m_o < h^p_o, \quad
    X \leftarrow \mathrm{AdamW}^E(f_i, X)

where :math:`h` are the mean training losses of a task in the model's last local training (:math:`h^p = \infty` at first).
W is sent up, X never is. Stage 2, after the last round: the teacher is the finished slice fine-tuned for T' steps, the
student X is trained for T' steps on :math:`L + \lambda_o \tau^2 KL(teacher \| student)` (pictures: squared error).

Differences from the paper, each a parameter whose default is named first: ``guard: on`` keeps of the distilled model only task
paths that leave no task of the client worse on validation; ``compute: equal`` splits the E (and T') steps of the other methods
between the two models, ``paper`` gives each model all of them; ``gate: margin`` is the paper's, ``paired`` compares both models
on the same validation examples; ``scope: path`` is the paper's, ``exclusive`` replaces only what no other task of the client
uses. The final models are chosen on validation, as for every method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedtap.algorithms.base import Algorithm, ClientState, Decision, Params, Update
from fedtap.algorithms.gates import margin_gate, paired_gate
from fedtap.algorithms.guard import guard
from fedtap.components import ComponentState
from fedtap.errors import nearest
from fedtap.pairs import FAMILIES, ComponentKey, Pair
from fedtap.training.client import LocalClient
from fedtap.training.terms import Teacher

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TapParams(Params):
    """Parameters of TAP.

    ``margin`` (nats, or MSE) and ``weight`` (of distillation) may be refined per task family in ``margins`` and ``weights``.
    ``alpha`` is the level of the paired gate, ``temperature`` tau. ``replace`` and ``distil`` switch the stages. With
    ``compute: equal`` a single local step goes to the federated model; the personal one needs a second.
    """

    compute: Literal["equal", "paper"] = "equal"
    replace: bool = True
    gate: Literal["margin", "paired"] = "margin"
    margin: NonNegative = 0.01
    margins: Mapping[str, NonNegative] = {}
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    scope: Literal["path", "exclusive"] = "path"
    distil: bool = True
    weight: NonNegative = 0.5
    weights: Mapping[str, NonNegative] = {}
    temperature: Annotated[float, Field(gt=0)] = 1.0
    guard: bool = True

    @field_validator("margins", "weights")
    @classmethod
    def _known_families(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for family in value:
            if family not in FAMILIES:
                raise ValueError(f"no task family '{family}'; {nearest(family, FAMILIES)}")
        return value


class Tap(Algorithm):
    """Two-stage adaptive personalization."""

    name = "tap"
    summary = "federated and personal model side by side; adaptive replacement, then distillation"
    source = "Lee et al. 2025, arXiv 2509.26524"
    Params = TapParams
    deployed = "personal"
    params: TapParams

    def start(self, client: LocalClient) -> ClientState:
        """Start the personal model at the common start, with no history: the first participation adopts W."""
        return ClientState({"personal": client.initial_state()}, {"personal_losses": {}})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train W, adopt what has proved better, train X, send W."""
        federated_steps, personal_steps = self._split(client.scenario.local_steps)
        federated = client.train(received, federated_steps, "federated")
        personal = state.models["personal"]
        decisions: list[Decision] = []
        if self.params.replace:
            decisions = self._gate(client, federated.losses, federated.state, personal, state.facts["personal_losses"])
            for decision in decisions:
                if decision.outcome == "replaced":
                    personal = personal.merge(federated.state.slice(self._scope(client, decision.task)))
        replaced = any(decision.outcome == "replaced" for decision in decisions)
        trained = client.train(personal, personal_steps, "personal" if replaced else "federated")
        update = Update(federated.state, client.counts(), federated.losses, trained.losses, decisions)
        return update, ClientState({"personal": trained.state}, {"personal_losses": dict(trained.losses)})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the slice (the teacher), then finish X, with distillation and guard where they are on."""
        steps = client.scenario.training.finish_steps
        personal = state.models["personal"]
        if self.params.replace and not state.facts["personal_losses"]:
            personal = received  # it never took part: its personal model has no history that the slice could be behind
        if not self.params.distil:
            done = client.finish(personal, steps, "finish")
            return ClientState({"personal": done.state}, dict(state.facts))
        teacher_steps, student_steps = self._split(steps)
        teacher = client.finish(received, teacher_steps, "finish").state
        weights = {pair.task: self._refined(pair, self.params.weight, self.params.weights) for pair in client.pairs}
        teaching = Teacher(teacher, weights, self.params.temperature)
        student = client.finish(personal, student_steps, "distil", terms=[teaching]).state
        decisions: Sequence[Decision] = ()
        if self.params.guard:
            student, decisions = guard(client, before=personal, after=student)
        return ClientState({"finetuned": teacher, "personal": student}, dict(state.facts), decisions)

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice, the teacher where there is one, and the personal model."""
        return {"federated": received, **state.models}

    def _gate(
        self,
        client: LocalClient,
        federated_losses: Mapping[str, float],
        federated: ComponentState,
        personal: ComponentState,
        history: Mapping[str, float],
    ) -> list[Decision]:
        """Decide for each task of the client, all on the models as they were before any replacement."""
        if self.params.gate == "paired" and history:
            theirs, mine = client.example_losses(federated), client.example_losses(personal)
        decisions: list[Decision] = []
        for pair in client.pairs:
            task, rule = pair.task, "first participation"
            f, p = federated_losses.get(task, math.inf), history.get(task, math.inf)
            if math.isinf(p):
                better = True
            elif self.params.gate == "paired":
                f, p = float(theirs[task].mean()), float(mine[task].mean())
                better, p_value = paired_gate(theirs[task], mine[task], self.params.alpha)
                rule = f"paired: p = {p_value:.3g}, alpha = {self.params.alpha:g}"
            else:
                margin = self._refined(pair, self.params.margin, self.params.margins)
                better, rule = margin_gate(f, p, margin), f"margin: {margin:g}"
            outcome = "replaced" if better else "kept"
            decisions.append(Decision(task, "replace", outcome, _finite(f), _finite(p), rule))
        return decisions

    def _scope(self, client: LocalClient, task: str) -> frozenset[ComponentKey]:
        return client.path(task) if self.params.scope == "path" else client.exclusive(task)

    def _split(self, steps: int) -> tuple[int, int]:
        """Return the steps of the federated and of the personal model (or of teacher and student)."""
        if self.params.compute == "paper":
            return steps, steps
        return steps - steps // 2, steps // 2

    @staticmethod
    def _refined(pair: Pair, common: float, by_family: Mapping[str, float]) -> float:
        return by_family.get(pair.family, common)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
