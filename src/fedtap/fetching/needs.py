"""What a scenario needs of the hub: models and data sets by name, and what of each. Nothing is asked or fetched here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedtap.backbones import minilm
from fedtap.backbones.checkpoints import wanted_files
from fedtap.backbones.origins import wanted_of
from fedtap.data.sources import source
from fedtap.data.sources.hub.source import HubSource
from fedtap.hub.repository import Kind
from fedtap.runtime.folder_or_hub import is_path
from fedtap.runtime.home import expanded
from fedtap.scenario.scenario import Scenario, TaskSettings

_ENCODER = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What a text encoder of ``transformers`` and its tokenizer consist of."""


@dataclass(frozen=True, slots=True)
class Need:
    """A repository of the hub, and what is needed of it.

    Attributes
    ----------
    kind, name
        Which it is.
    purpose
        What it is for, in words.
    patterns
        Of a model: its files.
    must
        Of a model: patterns of which each must match a file.
    tasks
        Of a data set: a task for each of its configurations that is needed.
    licence
        As the source states it; that of a model stands on its card.
    """

    kind: Kind
    name: str
    purpose: str
    patterns: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[HubSource, TaskSettings]] = field(default_factory=dict)
    licence: str = ""

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """The splits that are read of each configuration of a data set."""
        return {config: tuple(sorted(kind.splits)) for config, (kind, _) in self.tasks.items()}


def needs_of(scenario: Scenario) -> tuple[Need, ...]:
    """Return what a scenario needs of the hub, models first; nothing where all of it comes from packages, folders or files."""
    return (*_models(scenario), *_data_sets(scenario))


def _models(scenario: Scenario) -> list[Need]:
    found: dict[str, Need] = {}
    for name, must in wanted_of(scenario.backbone).items():
        patterns = tuple(wanted_files(weights="*.safetensors" in must))
        found[name] = Need("model", name, "backbone", patterns, must)
    encoder = _encoder(scenario)
    if encoder is not None:
        before = found.get(encoder)
        found[encoder] = Need(
            "model",
            encoder,
            "BERTScore" if before is None else f"{before.purpose}, BERTScore",
            tuple(sorted({*_ENCODER, *(before.patterns if before else ())})),
            tuple(sorted({"config.json", "*.safetensors", *(before.must if before else ())})),
        )
    return list(found.values())


def _encoder(scenario: Scenario) -> str | None:
    """Return the name on the hub of what measures generated texts, if it comes from there."""
    name = scenario.evaluation.bertscore_encoder
    asked = "bertscore" in scenario.evaluation.text_metrics
    local = is_path(name) or (scenario.folder / expanded(name)).is_dir()
    return name if asked and name != minilm.NAME and not local else None


def _data_sets(scenario: Scenario) -> list[Need]:
    tasks: dict[str, dict[str, tuple[HubSource, TaskSettings]]] = {}
    named: dict[str, set[str]] = {}
    for client in scenario.clients:
        for task in client.tasks:
            kind = source(task.source)
            if isinstance(kind, HubSource) and task.path is None:
                _keep_the_wider(tasks.setdefault(kind.hub, {}), kind, task)
                named.setdefault(kind.hub, set()).add(task.source)
    return [
        Need(
            "dataset",
            name,
            ", ".join(sorted(named[name])),
            tasks=tasks[name],
            licence=next(iter(tasks[name].values()))[0].licence,
        )
        for name in sorted(tasks)
    ]


def _keep_the_wider(found: dict[str, tuple[HubSource, TaskSettings]], kind: HubSource, task: TaskSettings) -> None:
    """Keep, of the tasks on one configuration, one that reads the most columns: a label as well, where some need it."""
    config = kind.config or ""
    if config not in found or len(kind.columns(task)) > len(kind.columns(found[config][1])):
        found[config] = (kind, task)
