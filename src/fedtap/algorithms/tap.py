r"""TAP: Two-Stage Adaptive Personalization. Lee, Fang, Han, Hosseinalipour, Brinton 2025, arXiv 2509.26524.

Stage 1, each round at a sampled client i with federated slice W and personal model X:

.. math::
    W \leftarrow \mathrm{AdamW}^E(f_i, W), \quad
    X[c] \leftarrow W[c] \;\; \forall c \in path(i, o) \;\text{ iff }\; h^f_o + m_o < h^p_o, \quad
    X \leftarrow \mathrm{AdamW}^E(f_i, X)

where :math:`h` are the mean training losses of a task in the model's last local training that had an example of it. W is sent up,
X never is. :math:`h^p = \infty` until a client first takes part: X then adopts W whole, once. From then on X has in each task the
loss of what it adopted until a training of its own gives it another (:mod:`loss_history`), so that a task which the few batches
of a round miss is not replaced anew; with no step of its own (one local step at equal compute) X is the best W so far.
A task without any loss to compare is kept. Where X follows W until a round, its first participation apart adopts W once more.

Stage 2, after the last round: the teacher is the finished slice fine-tuned for T' steps, the student X is trained for T' steps on
:math:`L + \lambda_o \tau^2 KL(teacher \| student)` (pictures: squared error).

Differences from the paper, each a parameter whose default is named first: ``guard: on`` keeps of the distilled model only task
paths that leave no task of the client worse on validation; ``compute: equal`` splits the E (and T') steps of the other methods
between the two models, ``paper`` gives each model all of them; ``gate: margin`` is the paper's, ``validation`` lets in what is
better on the validation split at all, ``paired`` what is so with confidence (docs/theory.md has what each can promise);
``guard_adoption: off`` is the paper's, ``on`` takes what a gate lets in only where no task of the client is worse; ``scope:
path`` is the paper's, ``exclusive`` replaces only what no other task of the client uses. ``adopt: parts`` asks no gate: of each
path X takes the trunk (as in :mod:`fedper`), the head, all (the federated model) or nothing (as in :mod:`local`), by trial on
validation, task by task (:mod:`fedtap.personalization.parts`). ``start: chosen`` trains W, task by task, from what was received
or from the received trunk under X's head, whichever is better on validation (:mod:`fedtap.personalization.start`), and so does
the fine-tuning after the last round: with ``personal: shared`` and ``distil: off`` a :mod:`fedper` that decides for itself where
a private head is worth having, by a ``start_margin`` of the loss. ``choose: on`` has each task use, of the slice, the teacher
and X, the one that is best on validation. The final models are chosen on validation, as for every method. Cheaper and softer
ways, off by default: ``personal: shared`` (X is not trained in the rounds: W gets all steps, and X adopts what is better on
validation), ``replace: soft`` (a part of the way) and ``average`` (X is the mean over time of the client's own trained slices),
``personal_from`` (X follows W until a round), ``mix`` (X moves towards the teacher before its fine-tuning, or the teacher, with
all steps, towards X at the end), ``disentangle`` (W's training in the rounds has the term of :mod:`disentafl`), ``refit`` (X ends
with :mod:`refit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fedtap.algorithms.base import Algorithm, AnyParams, ByTask, ClientState, Models, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.components import ComponentState, towards
from fedtap.pairs import FAMILIES
from fedtap.personalization.choice import choose_by_task
from fedtap.personalization.decision import Decision
from fedtap.personalization.guard import guard
from fedtap.personalization.loss_history import LossHistory
from fedtap.personalization.parts import replace_parts
from fedtap.personalization.refit import refit_heads
from fedtap.personalization.replacement import Gate, Scope, keep_personal, replace_hard, replace_soft, verdicts_of
from fedtap.personalization.start import chosen_start, with_start
from fedtap.runtime.errors import UserError, nearest
from fedtap.training.client import LocalClient, Trained
from fedtap.training.terms import Disentangle, Teacher


def switch(value: Any) -> Any:
    """Take on for the paper's way of replacing."""
    return ("hard" if value else "off") if isinstance(value, bool) else value


def mixing(value: Any) -> Any:
    """Take on for mixing before fine-tuning."""
    return ("start" if value else "off") if isinstance(value, bool) else value


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TapParams(Params):
    """Parameters of TAP, with W the federated slice and X the personal model.

    ``compute`` says whether both share the steps that other methods give to their one model (``equal``; of a single local step X
    gets none, and is the W that the gate last let in), or each has all of them (``paper``). ``personal`` says whether X has
    training steps of its own (``separate``) or shares W's; ``personal_from`` is the round (from 1) in which it parts from W.

    ``replace`` is how X takes over W's parts: whole (``hard``), a part of the way (``soft``), as an ``average`` over the rounds,
    ``pace`` being the share of the way that it goes in one, or not at all (``off``). ``adopt`` says what is taken whole: a
    ``path`` whose gate opens, or of each path the best of its ``parts``. ``gate`` lets in what has the lower loss in training,
    by ``margin`` (nats, or MSE; ``margins`` by task family), what has the lower loss on ``validation``, or what has it there
    with confidence (``paired``, at the level ``alpha``); ``guard_adoption`` keeps out what would leave any task of the client
    worse. ``scope`` is what a task replaces: its whole ``path``, or what no other task of the client uses (``exclusive``).

    ``start`` says what W is trained from: what was ``received``, or for each task the better head (``chosen``); the own head has
    to be better by ``start_margin``, a share of the loss. ``disentangle`` is gamma of :mod:`disentafl`, 0 for none; an
    architecture without paths has nothing to keep apart.

    ``distil`` switches stage 2, with ``weight`` (``weights`` by task family) times the divergence from the teacher at the
    ``temperature`` tau; ``guard`` keeps of it only what leaves no task worse on validation. ``mix`` moves X towards the teacher
    before its fine-tuning (``start``), or the teacher, with all steps, towards X (``end``, which needs no student, hence
    ``distil: off``). ``refit`` sets heads to the optimum of their training loss at the end, as :mod:`refit` does. ``choose``
    deploys for each task the best of slice, teacher and X; without ``distil`` there is a teacher for it all the same.
    """

    compute: Compute = "equal"
    personal: Literal["separate", "shared"] = "separate"
    personal_from: Annotated[int, Field(ge=1)] = 1
    replace: Annotated[Literal["hard", "soft", "average", "off"], BeforeValidator(switch)] = "hard"
    pace: Annotated[float, Field(gt=0, le=1)] = 0.5
    adopt: Literal["path", "parts"] = "path"
    start: Literal["received", "chosen"] = "received"
    start_margin: Share = 0.0
    gate: Gate = "margin"
    guard_adoption: bool = False
    margin: NonNegative = 0.01
    margins: Mapping[str, NonNegative] = {}
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    scope: Literal["path", "exclusive"] = "path"
    mix: Annotated[Literal["off", "start", "end"], BeforeValidator(mixing)] = "off"
    disentangle: NonNegative = 0.0
    distil: bool = True
    refit: bool = False
    weight: NonNegative = 0.5
    weights: Mapping[str, NonNegative] = {}
    temperature: Annotated[float, Field(gt=0)] = 1.0
    guard: bool = True
    choose: bool = False

    @field_validator("margins", "weights")
    @classmethod
    def _known_families(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for family in value:
            if family not in FAMILIES:
                raise ValueError(f"no task family '{family}'; {nearest(family, FAMILIES)}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> TapParams:
        if self.personal == "shared" and self.replace == "off":
            raise ValueError("personal=shared learns by replacement alone; set replace to hard, soft or average")
        if self.guard_adoption and (self.replace != "hard" or self.adopt == "parts"):
            raise ValueError("guard_adoption judges what is adopted whole; set replace=hard and adopt=path with it")
        if self.adopt == "parts" and self.replace != "hard":
            raise ValueError(f"adopt=parts is a hard replacement; set replace=hard, not {self.replace}")
        if self.mix == "end" and self.distil:
            raise ValueError("mix=end has no student to distil into; set distil=off with it")
        return self


class Tap(Algorithm):
    """Two-stage adaptive personalization."""

    name = "tap"
    summary = "federated and personal model side by side; adaptive replacement, then distillation"
    source = "Lee et al. 2025, arXiv 2509.26524"
    Params = TapParams
    deployed = "personal"
    beside: tuple[str, ...] = ("federated", "finetuned")
    params: TapParams

    def __init__(self, params: AnyParams) -> None:
        super().__init__(params)
        if self.params.choose:
            self.deployed, self.beside = "chosen", (*self.beside, self.deployed)

    @property
    def compares_examples(self) -> str:
        """The term that keeps latents apart does."""
        return "disentangle" if self.params.disentangle else ""

    def start(self, client: LocalClient) -> ClientState:
        """Start the personal model at the common start, with no history: the first participation adopts W."""
        return ClientState({"personal": client.initial_state()}, LossHistory().facts)

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train W, adopt what has proved better, train X, send W."""
        apart = self.params.personal == "separate" and client.round >= self.params.personal_from
        steps = client.scenario.local_steps
        federated_steps, personal_steps = split(steps, self.params.compute) if apart else (steps, 0)
        terms = [Disentangle(self.params.disentangle)] if self.params.disentangle else []
        begun, starts = self._begun(client, received, state)
        federated = client.train(begun, federated_steps, "federated", terms=terms)
        history = LossHistory.of(state.facts).after_federated(federated.losses, client.round)
        personal, decisions = self._adopt(client, federated, state, history)
        history = history.after_replacement(decisions)
        losses: Mapping[str, float] = {}
        if apart:
            replaced = any(decision.outcome != "kept" for decision in decisions)
            trained = client.train(personal, personal_steps, "personal" if replaced else "federated", stays=True)
            personal, losses = trained.state, trained.losses
        facts = {**history.after_personal(losses).facts, "took_part": True, "apart": apart or _was_apart(state)}
        asked = int(state.facts.get("verdicts", 0)) + verdicts_of(decisions)
        decisions = with_start(decisions, starts)
        update = Update(federated.state, client.counts(), federated.losses, losses, decisions)
        facts |= {"verdicts": asked} if asked else {}
        return update, ClientState({"personal": personal}, facts)

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the slice (the teacher), then X, with mixing, distillation, guard, refit and choice where they are on."""
        done = self._finished(client, received, state)
        if self.params.refit:
            personal, decisions = refit_heads(client, done.models["personal"])
            models = {**done.models, "personal": personal}
            done = replace(done, models=models, decisions=[*done.decisions, *decisions])
        if self.params.choose:
            chosen, decisions = choose_by_task(client, {"federated": received, **done.models})
            done = replace(done, facts={**done.facts, "chosen": chosen}, decisions=[*done.decisions, *decisions])
        return done

    def _begun(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[ComponentState, list[Decision]]:
        """Return what W is trained from, and for each task what was decided about it."""
        if self.params.start == "received":
            return received, []
        if client.scenario.privacy.local is not None:
            raise UserError(
                "method.start=chosen lets a client's private head and validation data shape what is sent, which privacy.local "
                "does not cover; set start=received, or remove privacy.local"
            )
        if not state.facts.get("took_part"):
            return received, []  # it has no head of its own yet
        return chosen_start(client, received, state.models["personal"], margin=self.params.start_margin)

    def _finished(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        steps = client.scenario.training.finetune_steps
        personal = state.models["personal"]
        received, _ = self._begun(client, received, state)
        if self.params.replace != "off" and not state.facts.get("took_part"):
            personal = received  # it never took part: its personal model has no history that the slice could be behind
        if self.params.mix == "end":
            tuned = client.finetune(received, steps, "finish").state
            mixed, decisions = keep_personal(client, tuned, personal, scope=self._scope(client))
            return ClientState({"finetuned": tuned, "personal": mixed}, dict(state.facts), decisions)
        if not self.params.distil and self.params.mix == "off" and not self.params.choose:
            done = client.finetune(received if self.params.start == "chosen" else personal, steps, "finish")
            return ClientState({"personal": done.state}, dict(state.facts))
        teacher_steps, student_steps = split(steps, self.params.compute)
        teacher = client.finetune(received, teacher_steps, "finish").state
        decisions = []
        if self.params.mix == "start":
            personal, decisions = replace_soft(client, teacher, personal, scope=self._scope(client))
        weights = self._refined(client, self.params.weight, self.params.weights)
        terms = [Teacher(teacher, weights, self.params.temperature)] if self.params.distil else []
        student = client.finetune(personal, student_steps, "distil", terms=terms).state
        if self.params.distil and self.params.guard:
            student, guarded = guard(client, before=personal, after=student)
            decisions += guarded
        return ClientState({"finetuned": teacher, "personal": student}, dict(state.facts), decisions)

    def models(self, received: ComponentState, state: ClientState) -> Models:
        """Return the slice, the teacher where there is one, the personal model, and what each task uses where that is chosen."""
        found: dict[str, ComponentState | ByTask] = {"federated": received, **state.models}
        if "chosen" in state.facts:
            found["chosen"] = ByTask(state.facts["chosen"])
        return found

    def _adopt(
        self, client: LocalClient, federated: Trained, state: ClientState, history: LossHistory
    ) -> tuple[ComponentState, list[Decision]]:
        """Return X after replacement from the trained W, and what was decided."""
        personal = state.models["personal"]
        if self.params.replace == "off":
            return personal, []
        rule = self._adoption(client, state)
        if rule:
            losses = federated.losses
            return federated.state, [
                Decision(t, "replace", "replaced", losses.get(t), None, rule) for t in client.tasks
            ]
        scope = self._scope(client)
        if self.params.replace == "soft":
            return replace_soft(client, federated.state, personal, scope=scope)
        if self.params.replace == "average":
            return towards(personal, federated.state, self.params.pace), []
        if self.params.adopt == "parts":
            return replace_parts(client, federated.state, personal, scope=scope)
        return replace_hard(
            client,
            federated.state,
            personal,
            gate=self.params.gate,
            margins=self._refined(client, self.params.margin, self.params.margins),
            alpha=self.params.alpha,
            scope=scope,
            history=history if self.params.personal == "separate" else None,
            guarded=self.params.guard_adoption,
            verdicts=int(state.facts.get("verdicts", 0)),
        )

    def _adoption(self, client: LocalClient, state: ClientState) -> str:
        """Return the rule by which X becomes W whatever the losses, or nothing where there is a choice."""
        since = self.params.personal_from
        if not state.facts.get("took_part"):
            return "first participation"
        if client.round < since:
            return f"follows until round {since}"
        compares = self.params.replace == "hard" and self.params.personal == "separate"
        if compares and since > 1 and not _was_apart(state):
            return f"first participation apart, from round {since}"
        return ""

    def _scope(self, client: LocalClient) -> Scope:
        return client.path if self.params.scope == "path" else client.exclusive

    @staticmethod
    def _refined(client: LocalClient, common: float, by_family: Mapping[str, float]) -> dict[str, float]:
        return {pair.task: by_family.get(pair.family, common) for pair in client.pairs}


def _was_apart(state: ClientState) -> bool:
    """Tell whether X has parted from W before; a state stored without the fact has personal losses if it has."""
    return bool(state.facts.get("apart", state.facts.get("personal_losses")))
