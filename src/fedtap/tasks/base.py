"""What a task type is: a head, its losses, what a teacher can tell a student, decoding and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from fedtap.metrics.text import Reference, TextMetric
from fedtap.pairs import Modality
from fedtap.scenario.scenario import NetworkSettings
from fedtap.scenario.unit import Scale


@dataclass(frozen=True, slots=True)
class Fused:
    """The fusion's output for some examples: ``tokens`` ``(n, tokens, dim)``, ``mask`` ``(n, tokens)`` bool, True at tokens."""

    tokens: Tensor
    mask: Tensor

    def pooled(self) -> Tensor:
        """Return the masked mean over tokens, ``(n, dim)``."""
        weight = self.mask.unsqueeze(-1).to(self.tokens.dtype)
        return (self.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """What a head's shape depends on.

    ``classes`` is 0 but for classification, of one class or of several; ``embedding_dim`` is the width of the tower's frozen word
    embeddings; ``vision_tokens`` the number of an image's tokens, of which the first ``vision_lead`` lie on no grid;
    ``modality`` what goes in.
    """

    network: NetworkSettings
    classes: int
    embedding_dim: int
    vision_tokens: int
    modality: Modality
    vision_lead: int = 0


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """What an accumulator of scores depends on; each type of task takes of it what concerns it.

    ``classes`` is 0 but for classification, of one class or of several; ``text_metrics`` are those that generated texts are
    scored by beside the usual, ``class_metrics`` those of classifiers, by name; ``scale`` is what numbers are learned on.
    """

    classes: int = 0
    text_metrics: tuple[TextMetric, ...] = ()
    class_metrics: tuple[str, ...] = ()
    scale: Scale | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """The frozen words that text generation is tied to.

    ``embedding`` is ``(vocabulary, embedding_dim)``; beside it the special tokens, and what turns token ids into text. ``pad_id``
    is never written; it is None where the vocabulary pads with its end token.
    ``shortlist`` is how many words are drawn where training estimates the softmax; None: it is exact.
    """

    embedding: Tensor
    start_id: int
    end_id: int
    decode: Callable[[Sequence[int]], str]
    pad_id: int | None = 0
    shortlist: int | None = None


@dataclass(frozen=True, slots=True)
class Losses:
    """Per-example sums ``(n,)`` of the losses of ``units`` ``(n,)`` things (one per example, or its tokens), in nats or MSE."""

    total: Tensor
    units: Tensor

    def mean(self) -> Tensor:
        """Return the mean over all units, a scalar."""
        return self.total.sum() / self.units.sum().clamp(min=1)

    def weighed(self, weights: Tensor | None) -> Losses:
        """Return them with each example counting for its weight ``(n,)``; None: all as they are."""
        return self if weights is None else Losses(self.total * weights, self.units)

    def per_example(self) -> Tensor:
        """Return each example's mean loss, ``(n,)``."""
        return self.total / self.units.clamp(min=1)


class ClosedForm(Protocol):
    """The optimum of what a head is linear in, on given examples and near the values that it had when this was made."""

    def add(self, fused: Fused, output: Tensor, target: Tensor) -> None:
        """Add examples, with the output that the head had for them."""

    def write(self, strength: float) -> None:
        """Set the head to the optimum under a pull of this strength towards where it was; at 1 the examples weigh as much."""


class TaskType(ABC):
    """One type of task; implementations hold no state."""

    name: str
    is_distribution: ClassVar[bool]
    """Whether an output times b is the answers' distribution at the temperature 1 / b."""

    @abstractmethod
    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return a head of this type."""

    @abstractmethod
    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return the head's output for some examples; only teacher forcing may look at ``target``."""

    @abstractmethod
    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Return the losses of an output of :meth:`run` against the targets."""

    @abstractmethod
    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return the distillation loss of two outputs for the same examples, a scalar (algorithm.md, section 3)."""

    def wrong(self, output: Tensor, target: Tensor, words: Words | None) -> Tensor:
        """Return how wrong each answer is, ``(n,)`` from 0 to 1; bool where it is either right or wrong.

        Raises
        ------
        TypeError
            If answers of this type are nearer or farther, and neither right nor wrong.
        """
        raise TypeError(f"an answer of {self.name} is neither right nor wrong")

    def closed_form(self, head: nn.Module) -> ClosedForm | None:
        """Return the closed form of a head's last layer, or None where its loss has none."""
        return None

    @abstractmethod
    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Any:
        """Return what the model answers: probabilities, pictures, numbers or texts; ``output`` is used where it suffices."""

    @abstractmethod
    def new_scores(self, settings: ScoreSettings) -> Any:
        """Return an empty accumulator of this type's metrics (see ``metrics``)."""

    @abstractmethod
    def score(
        self,
        scores: Any,
        answers: Any,
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add some examples to an accumulator.

        ``answers`` are what :meth:`answers` gave to them, ``written`` their right answers as text, where they are texts.
        """
