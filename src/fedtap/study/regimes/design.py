"""The design of the study of regimes: the federations, chosen before any was run, and what is compared on them.

One shape (:func:`federation`) with its dials turned: eight clients, two tasks for all (digits; questions about pictures), four
clients a round. Two dials span the map, the share of clients that contradict each other (``data.conflict``) and the examples a
task; other points turn one dial that the map does not have, or are federations that come along with fedtap. What is compared is a
list of labels, as in ``fedtap compare``. Not here: how runs are done (study.py) and what they say together (effects.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import Scenario, build_scenario
from fedtap.study.folder import prepared

BASE, FINETUNED, CONTROL, PRIVATE_HEADS = "local", "fedavg_ft", "choice", "fedper"
SINGLE = (BASE, FINETUNED, PRIVATE_HEADS, CONTROL)
"""What a user could do without TAP: each alone, and the better of the first two for each task."""
METHODS = (*SINGLE, "tap", "tap_best")
CONFLICTS = (0.0, 0.5, 1.0)
EXAMPLES = (16, 48, 96)
CLIENTS, DRAWN = 8, 4
MOST_VALIDATION = 24
TASKS: tuple[Mapping[str, str], ...] = (
    {"name": "digits", "type": "classification", "modality": "image", "domain": "digits", "source": "digits"},
    {"name": "answers", "type": "classification", "modality": "image+text", "domain": "scenes", "source": "easy_vqa"},
)
"""Both have ten classes or more, of which clients can contradict each other in many ways; two classes know one contradiction."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is: rounds, steps a round and at the end, test examples; ``towers`` are the frozen encoders."""

    rounds: int
    steps: int
    finish: int
    batch: int
    test: int
    towers: tuple[str, str]


FULL = Size(15, 10, 20, 32, 56, ("efficientnet-lite0", "minilm-l6"))
QUICK = Size(2, 2, 2, 4, 8, ("untrained-tiny", "untrained-tiny"))
"""For tests and dry runs: it shows that everything works, and nothing else."""


@dataclass(frozen=True, slots=True)
class Point:
    """One federation of the study.

    Attributes
    ----------
    name, about
        What it is called, and what it is in a few words.
    conflict, examples
        The share of clients in conflict, and the training examples of a task. Both None: a federation of its own.
    settings
        Other settings of the data, as they stand in a scenario.
    longer
        How many times as many rounds.
    shipped
        The federation that comes along with fedtap, instead of the shape.
    liars
        Whether those in conflict are attackers, whose own results are nobody's concern.
    """

    name: str
    about: str
    conflict: float | None = 0.0
    examples: int | None = 48
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    longer: int = 1
    shipped: str = ""
    liars: bool = False

    @property
    def is_cell(self) -> bool:
        """Whether the point is a cell of the map."""
        return self.name == cell_name(self.conflict or 0.0, self.examples or 0)


def cell_name(conflict: float, examples: int) -> str:
    """Return the name of a cell of the map.

    >>> cell_name(0.5, 16)
    'conflict-0.5-examples-16'
    """
    return f"conflict-{conflict:g}-examples-{examples}"


POINTS = (
    Point(cell_name(0, 96), "clients alike, 96 examples a task", 0, 96),
    Point("quickstart", "the quickstart: ten clients, fifteen tasks of all kinds", None, None, shipped="quickstart"),
    Point("skewed", "label mixes far apart (Dirichlet 0.1), 48 examples", settings={"dirichlet": 0.1}),
    Point(cell_name(1, 16), "every client calls the classes otherwise, 16 examples", 1, 16),
    Point(cell_name(1, 96), "every client calls the classes otherwise, 96 examples", 1, 96),
    Point(
        "half-of-the-tasks",
        "every client calls the digits otherwise, the answers alike; 48 examples",
        settings={"conflict": {"clients": 1.0, "tasks": ["digits"]}},
    ),
    Point("vendors", "emoji as two artists drew them", None, None, shipped="vendors"),
    Point(
        "one-liar",
        "of each task one client in eight lies about the labels; 48 examples, the liars themselves not counted",
        settings={"conflict": {"clients": 1 / CLIENTS}},
        liars=True,
    ),
)
"""The eight points that were chosen before any was run."""
LONG = Point(
    "long", "clients alike but for two of eight, 16 examples, 300 steps a client", conflict=0.25, examples=16, longer=4
)
"""The paper's own regime: a model that is trained until it knows its few examples by heart."""


def cells(conflicts: Sequence[float] = CONFLICTS, examples: Sequence[int] = EXAMPLES) -> list[Point]:
    """Return the cells of the map, by conflict and then by examples."""
    return [
        Point(
            cell_name(conflict, number),
            f"{conflict:.0%} of the clients in conflict, {number} examples",
            conflict,
            number,
        )
        for conflict in conflicts
        for number in examples
    ]


def chosen(names: Sequence[str], conflicts: Sequence[float], examples: Sequence[int]) -> list[Point]:
    """Return the points that names stand for, each once: ``points``, ``map``, or one of either.

    Raises
    ------
    UserError
        If there is no such point.
    """
    known = {point.name: point for point in (*cells(conflicts, examples), *POINTS, LONG)}
    groups = {"points": [point.name for point in POINTS], "map": [point.name for point in cells(conflicts, examples)]}
    found: dict[str, Point] = {}
    for name in names:
        for each in groups.get(name, [name]):
            if each not in known:
                raise UserError(f"--points {each}: unknown; {nearest(each, [*groups, *known])}")
            found[each] = known[each]
    return list(found.values())


def federation(point: Point, network: str, size: Size) -> Scenario:
    """Return a point as a scenario, whose method is to be set."""
    if point.shipped:
        overrides = [f"network.name={network}"]
        if size == QUICK:
            overrides += [f"rounds={size.rounds}", f"local_steps={size.steps}"]
        return prepared(point.shipped, overrides)
    examples = point.examples or 0
    data: dict[str, Any] = {
        "train": examples,
        "validation": min(MOST_VALIDATION, examples // 2),  # who has few to train with has few to judge with
        "test": size.test,
        "dirichlet": 100,
        "quantity": 0,
        **({"conflict": point.conflict} if point.conflict else {}),
        **point.settings,
    }
    raw: dict[str, Any] = {
        "name": f"regimes-{point.name}",
        "about": point.about,
        "rounds": size.rounds * point.longer,
        "clients_per_round": DRAWN,
        "local_steps": size.steps,
        "batch_size": min(size.batch, examples),
        "backbone": dict(zip(("vision", "text"), size.towers, strict=True)),
        "network": {"name": network, "dim": 64, "expert_dim": 128},
        "training": {"lr": 0.002, "finetune_steps": size.finish},
        "data": data,
        "evaluation": {"cross_examples": 1, "save": "none"},
        "clients": [{"id": "c", "count": CLIENTS, "tasks": [dict(task) for task in TASKS]}],
    }
    return build_scenario(raw, place="fedtap study regimes", folder=Path())
