"""The federations of the study on real tasks of our sources, as scenarios and as runs of a batch. Nothing of it needs a download.

There are eight unlike pairs that have no head, and hardly a domain, in common; more are of alike pairs only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtap.scenario.scenario import Scenario, build_scenario
from fedtap.study.batch import Job
from fedtap.study.pairs.design import DRAWN, HOLDERS, Arm, Size, arms, rounds_of

METHODS = {"shared": "fedavg_ft", "private": "fedavg_grouped"}
"""By trunk."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one pair asks."""

    name: str
    type: str
    modality: str
    domain: str
    source: str


UNLIKE = (
    Task("digits", "classification", "image", "digits", "digits"),
    Task("sentiment", "classification", "text", "sentences", "sentiment"),
    Task("vqa", "classification", "image+text", "scenes", "easy_vqa"),
    Task("vqa_pictures", "reconstruction", "image", "pictures", "easy_vqa"),
    Task("concepts", "text_generation", "text", "short", "concepts"),
    Task("ask", "text_generation", "image+text", "scenes", "easy_vqa"),
    Task("digit_pictures", "reconstruction", "image", "digits", "digits"),
    Task("imdb", "classification", "text", "reviews", "imdb"),
)


def tasks_of(kind: str, pairs: int, unlike: int = len(UNLIKE)) -> list[tuple[Task, ...]]:
    """Return the tasks of each federation of K pairs: unlike ones, the first so many, in turn, alike ones once."""
    if kind == "unlike":
        return [UNLIKE[start : start + pairs] for start in range(0, unlike - pairs + 1, pairs)]
    like = UNLIKE[2]
    return [tuple(Task(f"vqa{number}", like.type, like.modality, like.domain, like.source) for number in range(pairs))]


def federation(network: str, arm: Arm, tasks: Sequence[Task], size: Size) -> Scenario:
    """Return one federation as a scenario: a constant rate, and a look at the training losses before and after."""
    raw: dict[str, Any] = {
        "name": "study-of-pairs",
        "about": f"{len(tasks)} {arm.kind} pairs, trunk {arm.trunk}, {arm.length} rounds.",
        "rounds": rounds_of(arm.length, arm.pairs, size.rounds),
        "clients_per_round": DRAWN,
        "local_steps": size.steps,
        "batch_size": size.batch,
        "backbone": dict(zip(("vision", "text"), size.towers, strict=True)),
        "network": {"name": network, "dim": 64, "expert_dim": 128},
        "training": {"lr": 0.0005, "warmup_rounds": 0, "final_ratio": 1.0, "weight_decay": 0, "finetune_steps": 5},
        "method": {"name": METHODS[arm.trunk]},
        "data": {
            "train": size.train,
            "validation": size.validation,
            "test": size.test,
            "dirichlet": 100,
            "quantity": 0,
        },
        "evaluation": {"cross_examples": 1, "save": "none"},
        "theory": {"looks": 2, "examples": 2 * size.batch, "curvature": 0, "losses": True},
        "clients": [
            {
                "id": task.name,
                "count": HOLDERS,
                "tasks": [
                    {
                        "name": task.name,
                        "type": task.type,
                        "modality": task.modality,
                        "domain": task.domain,
                        "source": task.source,
                    }
                ],
            }
            for task in tasks
        ],
    }
    return build_scenario(raw, place="fedtap study pairs", folder=Path())


@dataclass(frozen=True, slots=True)
class RealRun:
    """A run of the study: its network, its arm, and how to do it."""

    network: str
    arm: Arm
    job: Job


def runs(
    networks: Sequence[str],
    kinds: Sequence[str],
    pairs: Sequence[int],
    lengths: Sequence[str],
    *,
    size: Size,
    seeds: Sequence[int],
    folder: Path,
    unlike: int = len(UNLIKE),
) -> Iterator[RealRun]:
    """Iterate over the runs on real tasks, seed by seed, so that a study that is cut off has whole seeds."""
    for seed in seeds:
        for network in networks:
            for arm in arms(kinds, pairs, lengths):
                for turn, tasks in enumerate(tasks_of(arm.kind, arm.pairs, unlike)):
                    name = f"{network}-{arm.key}-{turn}-seed{seed}"
                    yield RealRun(network, arm, Job(name, federation(network, arm, tasks, size), seed, folder / name))
