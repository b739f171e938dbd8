"""What a method may do at a client: train a model, score it, count, draw random numbers. Methods see nothing else of a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from fedtap.batch import Batch
from fedtap.components import ComponentKey, ComponentState, TensorChoice
from fedtap.data.loader import ClientData, Split
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.privacy.dp_sgd import DPSGD
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import derive, drawing, secret_generator, torch_generator
from fedtap.scenario.scenario import Scenario
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import ClosedForm
from fedtap.training.judge import Judge, scored
from fedtap.training.loop import GradientRule, Objective, batch_loss, plain_gradient, train
from fedtap.training.model_selection import Best
from fedtap.training.schedule import finetune_rates, round_rate
from fedtap.training.terms import Term, compares_examples


def cuts_batches(scenario: Scenario, *, private: bool) -> str:
    """Return what keeps a batch's examples from going through the network together, or nothing."""
    if private:
        return "privacy.local: DP-SGD takes the gradient of each example alone"
    micro = scenario.training.micro_batch
    if micro is not None and micro < scenario.batch_size:
        return f"training.micro_batch={micro}: a batch of {scenario.batch_size} goes through the network in parts"
    return ""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, the mean training loss per task, and the steps that were kept (validation may choose fewer)."""

    state: ComponentState
    losses: Mapping[str, float]
    kept_steps: int


class LocalClient:
    """A client at work in one round.

    Parameters
    ----------
    id
        The client's name.
    pairs
        Its pairs; those that the architecture cannot serve are left out.
    data
        Its encoded splits.
    network
        The process's one network; models are swapped in.
    scenario
        Schedule and training settings; where it counts in epochs, its ``local_steps`` become this client's own.
    seed
        The run's seed.
    round
        1-based; ``scenario.rounds + 1`` after the last.
    judge
        By what models are judged on validation (:mod:`fedtap.training.judge`).
    """

    def __init__(
        self,
        id: str,
        pairs: Iterable[Pair],
        *,
        data: ClientData,
        network: Network,
        scenario: Scenario,
        seed: int,
        round: int,
        judge: Judge = "cross_entropy",
    ) -> None:
        self.id = id
        self.pairs = network.architecture.served(pairs)
        self.data = data
        self.network = network
        self.scenario = scenario.paced(data.size(pair.task) for pair in self.pairs)
        self.seed = seed
        self.round = round
        self.judge = judge
        self.steps_taken = 0
        self.private_steps = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the client's tasks."""
        return tuple(pair.task for pair in self.pairs)

    @cached_property
    def plan(self) -> frozenset[ComponentKey]:
        """The components that the client holds."""
        return self.network.architecture.plan(self.pairs)

    def path(self, task: str) -> frozenset[ComponentKey]:
        """Return the components on a task's path."""
        return self.network.architecture.path(self.pairs, task)

    def exclusive(self, task: str) -> frozenset[ComponentKey]:
        """Return the components of a task's path that no other task of this client uses."""
        others = (self.path(other) for other in self.tasks if other != task)
        return self.path(task).difference(*others)

    def counts(self) -> dict[ComponentKey, int]:
        """Return, per component, the number of training examples whose path uses it, as the client tells it."""
        counts = dict.fromkeys(sorted(self.plan), 0)
        for task in self.tasks:
            reported = self.scenario.privacy.reported(self.data.size(task))
            for key in self.path(task):
                counts[key] += reported
        return counts

    def generator(self, purpose: str) -> torch.Generator:
        """Return the generator of (run seed, round, client, purpose)."""
        return torch_generator(self.seed, self.round, self.id, purpose)

    def initial_state(self) -> ComponentState:
        """Return the common start of the client's components, the same at every client and at the server."""
        return self.network.initial_state(self.plan)

    @property
    def alone_rates(self) -> list[float]:
        """The rates of as many steps as a participant takes on average, along the same schedule."""
        scenario = self.scenario
        participants = len(scenario.participants)
        turns = max(1, round(scenario.rounds * min(1.0, scenario.clients_per_round / participants)))
        rounds = [1 + round(i * (scenario.rounds - 1) / max(1, turns - 1)) for i in range(turns)]
        rates = (round_rate(scenario.training, number, scenario.rounds) for number in rounds)
        return [rate for rate in rates for _ in range(scenario.local_steps)]

    @property
    def rate(self) -> float:
        """The learning rate of this round."""
        return round_rate(self.scenario.training, self.round, self.scenario.rounds)

    def batches(self, steps: int, purpose: str) -> Iterator[Batch]:
        """Iterate over shuffled training batches, the client's tasks mixed; ``purpose`` names the draw."""
        return self.data.draw(
            self.tasks,
            size=self.scenario.batch_size,
            steps=steps,
            generator=self.generator(purpose),
            device=self.network.device,
        )

    def train(
        self,
        state: ComponentState,
        steps: int,
        purpose: str | Iterable[Batch],
        *,
        rates: Sequence[float] | None = None,
        terms: Sequence[Term] = (),
        ensemble_with: Sequence[ComponentState] = (),
        only: TensorChoice | None = None,
        gradient: GradientRule = plain_gradient,
        stays: bool = False,
    ) -> Trained:
        """Train a model for some steps at this round's rate (or at given rates) on a draw of the data named by ``purpose``.

        ``stays`` says that neither the model nor anything made of it will leave the client: where ``privacy.local`` is on, all
        other training in the rounds is DP-SGD.

        Instead of the name of a draw the batches themselves may be given, one a step. A gradient rule that asks for the objective
        more than once in a step takes so many of the client's steps.
        ``terms``, ``ensemble_with``, ``only`` and ``gradient`` are those of :func:`fedtap.training.loop.train`.
        """
        used = [self.rate] * steps if rates is None else rates
        exact = stays or not self._guarded or not self.pairs or not used
        dp_sgd = None if exact else self._dp_sgd(len(used), purpose, gradient)
        return self._train(
            state,
            used,
            purpose,
            terms=terms,
            ensemble_with=ensemble_with,
            only=only,
            gradient=gradient,
            select=False,
            dp_sgd=dp_sgd,
        )

    def finetune(
        self,
        state: ComponentState,
        steps: int,
        purpose: str,
        *,
        terms: Sequence[Term] = (),
        only: TensorChoice | None = None,
        gradient: GradientRule = plain_gradient,
    ) -> Trained:
        """Take the low-rate fine-tuning and keep the state, of those every ``select_every`` steps, that is best on validation.

        Every method's final model is chosen by this one rule; the start counts too, so that fine-tuning never does harm there.
        """
        rates = finetune_rates(self.scenario.training, steps)
        return self._train(state, rates, purpose, terms=terms, only=only, gradient=gradient, select=True)

    def _train(
        self,
        state: ComponentState,
        rates: Sequence[float],
        purpose: str | Iterable[Batch],
        *,
        terms: Sequence[Term],
        only: TensorChoice | None,
        gradient: GradientRule,
        select: bool,
        ensemble_with: Sequence[ComponentState] = (),
        dp_sgd: DPSGD | None = None,
    ) -> Trained:
        if not self.pairs or not rates:
            return Trained(state, {}, 0)
        self._refuse_cuts(terms, dp_sgd is not None)
        self.network.load(state)
        every = self.scenario.training.select_every
        best = Best(self.network, partial(self._scored_now, "validation", self.judge), every, state) if select else None
        with drawing(self.seed, self.round, self.id, "dropout", self.steps_taken):
            losses = train(
                self.network,
                self._batches(len(rates), purpose, dp_sgd),
                rates,
                self.scenario.training,
                terms=terms,
                ensemble_with=ensemble_with,
                only=only,
                gradient=self._counted(gradient),
                after_step=None if best is None else lambda step: best.look(step, last=step == len(rates)),
                dp_sgd=dp_sgd,
            )
        if best is not None:
            return Trained(best.state, losses, best.steps)
        return Trained(self.network.state(), losses, len(rates))

    @property
    def _guarded(self) -> bool:
        """Whether what is trained now may be sent, and must then be private; after the last round nothing is."""
        return self.scenario.privacy.local is not None and self.round <= self.scenario.rounds

    @property
    def sampling_rate(self) -> float:
        """The probability with which an example is in a batch of DP-SGD; it follows from what the server is reported anyway."""
        reported = sum(self.scenario.privacy.reported(self.data.size(task)) for task in self.tasks)
        return min(1.0, self.scenario.batch_size / reported)

    def _dp_sgd(self, steps: int, purpose: str | Iterable[Batch], gradient: GradientRule) -> DPSGD:
        if not isinstance(purpose, str) or gradient is not plain_gradient:
            raise self._uncovered("trains on batches or along gradients of its own")
        assert self.scenario.privacy.local is not None
        self.steps_taken += steps
        self.private_steps += steps
        generator = self._hidden("noise", self.network.device)
        return DPSGD(self.scenario.privacy.local, self.scenario.batch_size, generator)

    def _hidden(self, purpose: str, device: torch.device) -> torch.Generator:
        """Return a generator that nobody else can follow; with ``privacy.noise_source: seeded`` one as all others are."""
        if self.scenario.privacy.noise_source == "secret":
            return secret_generator(device)
        seed = derive(self.seed, self.round, self.id, "private", purpose, self.private_steps)
        return torch.Generator(device).manual_seed(seed)

    def _batches(self, steps: int, purpose: str | Iterable[Batch], dp_sgd: DPSGD | None) -> Iterable[Batch]:
        if not isinstance(purpose, str):
            return purpose
        if dp_sgd is None:
            return self.batches(steps, purpose)
        return self.data.draw_independently(
            self.tasks,
            rate=self.sampling_rate,
            steps=steps,
            generator=self._hidden(f"batches of {purpose}", torch.device("cpu")),
            device=self.network.device,
        )

    def _refuse_cuts(self, terms: Sequence[Term], private: bool) -> None:
        """Refuse a term that compares a batch's examples where they do not go through the network together."""
        if compares_examples(terms):
            cut = cuts_batches(self.scenario, private=private)
            if cut:
                raise UserError(
                    f"{cut}, and the method has a loss that compares the examples of a batch; remove one of the two"
                )

    def _uncovered(self, what: str) -> UserError:
        method = self.scenario.method.get("name", "tap")
        return UserError(
            f"privacy.local: the method ({method}, unless another was named) {what}, which DP-SGD does not cover; choose "
            "another method, or remove privacy.local"
        )

    def _counted(self, rule: GradientRule) -> GradientRule:
        """Return a rule that counts a step whenever it asks for the objective: a gradient at another point costs one too."""

        def counted(network: Network, batch: Batch, objective: Objective) -> None:
            rule(network, batch, replace(objective, asked=self._count))

        return counted

    def _count(self) -> None:
        self.steps_taken += 1

    def gradient(self, state: ComponentState, batch: Batch, terms: Sequence[Term] = ()) -> ComponentState:
        """Return the gradient of a batch's loss where ``state`` stands; zero where the batch does not reach.

        It counts as a step: a method that asks for gradients has so many fewer steps to train.

        Raises
        ------
        UserError
            If ``privacy.local`` is on and the rounds are not over: an exact gradient may shape what is sent.
        """
        if self._guarded:
            raise self._uncovered("asks for exact gradients")
        self._refuse_cuts(terms, private=False)
        self.network.load(state)
        self.network.train()
        with drawing(self.seed, self.round, self.id, "dropout", self.steps_taken):
            loss = partial(batch_loss, self.network, terms=terms)
            plain_gradient(self.network, batch, Objective(loss, self.scenario.training.micro_batch, self._count))
        values: dict[ComponentKey, dict[str, Tensor]] = {}
        for key, name, parameter in self.network.named():
            slope = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            values.setdefault(key, {})[name] = slope.detach().cpu().clone()
        return ComponentState(values)

    def example_losses(
        self, state: ComponentState, split: Split = "validation", *, tasks: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """Return per task (of those named; None: all) the mean loss of each example of a split, ``(n,)`` float64 on the CPU."""
        self.network.load(state)
        return self._scored_now(split, "cross_entropy", tasks)

    def mean_losses(
        self, state: ComponentState, split: Split = "validation", *, tasks: Iterable[str] | None = None
    ) -> dict[str, float]:
        """Return per task the mean over a split's examples."""
        return {task: float(losses.mean()) for task, losses in self.example_losses(state, split, tasks=tasks).items()}

    @property
    def by_judge(self) -> str:
        """What a decision's rule says of the judge: nothing where that is the loss itself."""
        return "" if self.judge == "cross_entropy" else f" ({self.judge})"

    @property
    def on_validation(self) -> str:
        """How models are judged, in words."""
        return f"on validation{self.by_judge}"

    def judged_examples(self, state: ComponentState, *, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return per task what each validation example says against a model, by the method's judge, ``(n,)`` float64.

        Whatever is decided on validation is decided by these numbers; less is better.
        """
        self.network.load(state)
        return self._scored_now("validation", self.judge, tasks)

    def judged(self, state: ComponentState, *, tasks: Iterable[str] | None = None) -> dict[str, float]:
        """Return per task the mean over the validation examples of :meth:`judged_examples`."""
        return {task: float(each.mean()) for task, each in self.judged_examples(state, tasks=tasks).items()}

    @torch.no_grad()
    def refitted(self, state: ComponentState, head: str, strengths: Iterable[float]) -> Iterator[ComponentState]:
        """Iterate over the model with a head at the optimum of its training loss, for each strength of a pull to what it was.

        What has a closed form costs no step: see :meth:`fedtap.tasks.base.TaskType.closed_form`. A head that has none, or that
        is not this client's, gives nothing.
        """
        self.network.load(state)
        self.network.eval()
        fit: ClosedForm | None = None
        for pair in self.pairs:
            if pair.head != head:
                continue
            for batch in self.data.tasks[pair.task]["train"].batches(128, self.network.device):
                (output,) = self.network(batch)
                fit = fit or TASK_TYPES[pair.type].closed_form(output.head)
                if fit is None:
                    return
                fit.add(output.fused, output.output, batch[0].target)
        if fit is None:
            return
        for strength in strengths:
            self.network.load(state)  # whoever asks may have swapped another model in meanwhile
            fit.write(strength)
            yield self.network.state()

    def _scored_now(self, split: Split, judge: Judge, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        wanted = self.tasks if tasks is None else tasks
        return scored(self.network, {task: self.data.tasks[task][split] for task in wanted}, judge)
