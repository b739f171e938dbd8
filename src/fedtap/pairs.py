"""Modalities, tasks and domains, and the components that they call for. Pure: no tensors here.

A client is a set of :class:`Pair`; :func:`path` names the components that one of its tasks runs through and :func:`plan`
their union over the client's tasks. Transfer, training, averaging and replacement all go by these two functions, so that no
part of the software can disagree with another about who owns what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

Modality = Literal["image", "text", "image+text"]
TaskName = Literal["classification", "multilabel_classification", "reconstruction", "regression", "text_generation"]
Fusion = Literal["joint", "paths"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
FAMILIES = (
    "image_classification",
    "text_classification",
    "image_text_classification",
    "image_generation",
    "text_generation",
    "image_regression",
    "text_regression",
    "image_text_regression",
)
CLASSIFIES = frozenset({"classification", "multilabel_classification"})
"""Types of tasks that answer with one or several of a list of classes."""
SHARED = "shared"
STACKS = ("mote", "mome")


class ComponentKey(NamedTuple):
    """The name of a component, the unit of ownership, transfer, averaging and replacement.

    ``kind`` is what it is (``encoder``, ``shared``, ``attention``, ``expert``, ``domain``, ``head``, ``probe``); ``names``
    say which one of its kind.

    >>> str(ComponentKey("expert", ("mote", "image", "shared")))
    'expert/mote/image/shared'
    """

    kind: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.kind, *self.names))

    @classmethod
    def parse(cls, text: str) -> ComponentKey:
        """Return the key whose ``str`` is ``text``."""
        kind, *names = text.split("/")
        return cls(kind, tuple(names))


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """A task on a modality, with the domain its data come from.

    Parameters
    ----------
    task
        The task's name; clients that name the same task mean the same thing by it.
    type
        What is asked: ``classification``, ``multilabel_classification``, ``reconstruction``, ``regression`` or
        ``text_generation``.
    modality
        What goes in.
    domain
        Where the data come from; it picks the domain experts.
    head
        The output head's name; the task's own name unless several tasks share a head.
    """

    task: str
    type: TaskName
    modality: Modality
    domain: str
    head: str = ""

    def __post_init__(self) -> None:
        """Fill the default head."""
        if not self.head:
            object.__setattr__(self, "head", self.task)

    @property
    def family(self) -> str:
        """The task family, whose experts are shared by all data sets of that family."""
        if self.type in CLASSIFIES or self.type == "regression":
            kind = "regression" if self.type == "regression" else "classification"
            return f"{self.modality.replace('+', '_')}_{kind}"
        return "image_generation" if self.type == "reconstruction" else "text_generation"

    @property
    def parts(self) -> tuple[Modality, ...]:
        """The single modalities that this pair's input consists of."""
        return ("image", "text") if self.modality == "image+text" else (self.modality,)

    def streams(self, fusion: Fusion = "joint") -> tuple[Modality, ...]:
        """Return the modalities that run through the fusion one by one: the joint one, or each part (additive ``paths``)."""
        return (self.modality,) if fusion == "joint" else self.parts


class Route(NamedTuple):
    """The blocks and experts of one of the four paths (algorithm.md, section 5): block index and expert per stack."""

    name: str
    takes_shared_input: bool
    mote_block: str
    mote_expert: tuple[str, str]
    mome_block: str
    mome_expert: tuple[str, str]


def routes(modality: str, family: str) -> tuple[Route, ...]:
    """Return the four paths of an example of this modality and task family, in the order in which they are computed."""
    m, o = modality, family
    return (
        Route("shared-shared", True, SHARED, (SHARED, SHARED), SHARED, (SHARED, SHARED)),
        Route("shared-task", True, m, (SHARED, o), o, (o, SHARED)),
        Route("modality-task", False, m, (m, o), o, (o, m)),
        Route("modality-shared", False, m, (m, SHARED), SHARED, (SHARED, m)),
    )


@lru_cache(maxsize=1024)  # asked for every client anew, and clients share their pairs
def _pair_path(pair: Pair, fusion: Fusion) -> frozenset[ComponentKey]:
    keys = {ComponentKey("encoder", (part,)) for part in pair.parts}
    keys |= {ComponentKey("shared"), ComponentKey("domain", (pair.domain,)), ComponentKey("head", (pair.head,))}
    for modality in pair.streams(fusion):
        for route in routes(modality, pair.family):
            keys.add(ComponentKey("attention", ("mote", route.mote_block)))
            keys.add(ComponentKey("attention", ("mome", route.mome_block)))
            keys.add(ComponentKey("expert", ("mote", *route.mote_expert)))
            keys.add(ComponentKey("expert", ("mome", *route.mome_expert)))
    return frozenset(keys)


def path(pairs: Iterable[Pair], task: str, fusion: Fusion = "joint") -> frozenset[ComponentKey]:
    """Return the components on the path of one task: exactly those that its forward pass runs through.

    Raises
    ------
    KeyError
        If no pair has that task.
    """
    found = [pair for pair in pairs if pair.task == task]
    if not found:
        raise KeyError(task)
    return frozenset().union(*(_pair_path(pair, fusion) for pair in found))


def plan(pairs: Iterable[Pair], fusion: Fusion = "joint") -> frozenset[ComponentKey]:
    """Return the components that a client with these pairs holds: the union of its paths."""
    return frozenset().union(*(_pair_path(pair, fusion) for pair in pairs))


def exclusive(pairs: Sequence[Pair], task: str, fusion: Fusion = "joint") -> frozenset[ComponentKey]:
    """Return the components that this task of the client uses and none of its other tasks does."""
    others = [pair for pair in pairs if pair.task != task]
    return path(pairs, task, fusion) - plan(others, fusion)
