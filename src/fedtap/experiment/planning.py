"""What a scenario asks of its clients and its server, known without data and without weights: components, parameters, bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.registry import make
from fedtap.backbones.base import Backbone, BackboneSpec, load_backbone, spec
from fedtap.data.at_hand import data_at_hand
from fedtap.data.feature_extractor import Tokenizer
from fedtap.data.partition import Partition
from fedtap.data.shortfalls import shortfalls
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS
from fedtap.federation.wire import packed_bytes
from fedtap.network.architecture import Architecture, Blueprint, HeadInfo
from fedtap.network.experts import Experts
from fedtap.network.plain import Plain
from fedtap.network.probe import Probe
from fedtap.pairs import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import NetworkSettings, Scenario

ARCHITECTURES: dict[str, type[Architecture]] = {kind.name: kind for kind in (Experts, Plain, Probe)}


def check(scenario: Scenario) -> None:
    """Check without data that every task's source can serve it.

    Raises
    ------
    UserError
        Naming the client, the task and the mend.
    """
    for client in scenario.clients:
        for task in client.tasks:
            try:
                source(task.source).check(task)
            except UserError as error:
                raise UserError(f"scenario '{scenario.name}', client '{client.id}', {error}") from error


def blueprint(scenario: Scenario, algorithm: Algorithm) -> Blueprint:
    """Return what the shapes of a scenario's components depend on."""
    heads: dict[str, HeadInfo] = {}
    for client in scenario.clients:
        for task in client.tasks:
            classes = len(source(task.source).classes(task)) if task.classifies else 0
            known = heads.setdefault(task.pair.head, HeadInfo(task.type, task.modality, classes, task.scale))
            if known.classes != classes:
                raise UserError(
                    f"scenario '{scenario.name}', client '{client.id}', task '{task.name}': head '{task.pair.head}' has "
                    f"{known.classes} classes elsewhere and {classes} here; give one of them another name or `head`"
                )
    sizes, network = spec(scenario.backbone), network_of(scenario, algorithm)
    _check_fusion(scenario.name, sizes, network)
    return Blueprint(sizes, network, heads)


def _check_fusion(name: str, backbone: BackboneSpec, network: NetworkSettings) -> None:
    """Refuse a network whose fusion the backbone's pretrained layers do not fit."""
    fusion = backbone.fusion
    if fusion is None:
        return
    fitting = {"dim": fusion.dim, "heads": fusion.heads, "expert_dim": fusion.hidden}
    if any(getattr(network, key) != value for key, value in fitting.items()):
        sizes = ", ".join(f"network.{key}={value}" for key, value in fitting.items())
        raise UserError(f"scenario '{name}': the fusion layers of {backbone.name} need {sizes}; set them")
    if 2 * network.layers > fusion.layers:
        raise UserError(
            f"scenario '{name}': network.layers={network.layers} needs {2 * network.layers} fusion layers, and {backbone.name} "
            f"has {fusion.layers}; set network.layers to at most {fusion.layers // 2}"
        )


def network_of(scenario: Scenario, algorithm: Algorithm) -> NetworkSettings:
    """Return the settings of the network that a method trains on a scenario: the scenario's, adapted as the method does it."""
    adaptation = scenario.network.adaptation
    return scenario.network.model_copy(update={"adaptation": algorithm.adaptations.get(adaptation, adaptation)})


def trains(scenario: Scenario, method: type[Algorithm]) -> bool:
    """Tell whether a method can train a scenario's architecture, or brings one of its own."""
    name = method.architecture or scenario.network.name
    if ARCHITECTURES[name].frozen_towers and not _has_features(scenario):
        return False
    return method.architectures is None or name in method.architectures


def _has_features(scenario: Scenario) -> bool:
    """Tell whether the towers are frozen from end to end, and so make features of each example once for all."""
    sizes = spec(scenario.backbone)
    return sizes.vision_adapters is None and sizes.text_adapters is None


def architecture_name(scenario: Scenario, algorithm: Algorithm) -> str:
    """Return the name of the architecture that a method trains on a scenario: its own, or the scenario's.

    Raises
    ------
    UserError
        If the method cannot train the scenario's.
    """
    name = algorithm.architecture or scenario.network.name
    if ARCHITECTURES[name].frozen_towers and not _has_features(scenario):
        raise UserError(
            f"scenario '{scenario.name}': method '{algorithm.name}' needs towers that are frozen from end to end, and those of "
            f"{spec(scenario.backbone).name} are not; remove backbone.lora, take another backbone, or choose another method"
        )
    if not trains(scenario, type(algorithm)):
        usable = " or ".join(algorithm.architectures or ())
        raise UserError(
            f"scenario '{scenario.name}': method '{algorithm.name}' needs what only network.name={usable} has, and it is "
            f"'{name}'; set network.name={usable}, or choose another method"
        )
    return name


def architecture_of(scenario: Scenario, algorithm: Algorithm, backbone: Backbone | None = None) -> Architecture:
    """Return the architecture that a method trains on a scenario; a plan needs no backbone."""
    return ARCHITECTURES[architecture_name(scenario, algorithm)](blueprint(scenario, algorithm), backbone)


def vocabulary_of(scenario: Scenario) -> Tokenizer:
    """Return the vocabulary that a scenario's models write with; its weights are not read.

    Raises
    ------
    UserError
        If the backbone is not on this machine.
    """
    return load_backbone(scenario.backbone, torch.device("cpu")).vocabulary


def data_report(scenario: Scenario, seed: int = 0, *, public: bool = False) -> dict[str, Any]:
    """Return what sites' own data give each client, where they are on this machine, and where they fall short.

    With ``public`` built-in sources are looked at too, but for what would be fetched.

    ``clients``: by client and task the examples of each split. ``short``: by client, a line for each shortfall. ``remarks``: what
    else is to be known of the data, as events. ``not_looked_at``: a line for each place that could not be looked at.
    """
    found = data_at_hand(scenario, seed, public=public)
    counts = {
        client: {task: {split: len(splits[split]) for split in SPLITS} for task, splits in own.items()}
        for client, own in found.shares.items()
    }
    short, missing = shortfalls_at_hand(scenario, found.shares, seed)
    return {
        "clients": counts,
        "short": short,
        "remarks": found.remarks,
        "not_looked_at": [*found.missing, *missing],
    }


def shortfalls_at_hand(scenario: Scenario, shares: Partition, seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return where clients' data fall short, and a line on what could not be looked at: answers, where there is no vocabulary."""
    tasks = {client.id: {task.name: task for task in client.tasks} for client in scenario.clients}
    words, missing = None, []
    if any(tasks[client][task].type == "text_generation" for client, own in shares.items() for task in own):
        try:
            words = vocabulary_of(scenario)
        except UserError as error:
            missing.append(f"answers not looked at: {error}")
    return shortfalls(scenario, shares, seed, words=words), missing


def plan_report(scenario: Scenario, method: str | None = None) -> dict[str, Any]:
    """Return components, parameters and bytes on the wire per client and for the server, in all and per kind.

    A client's bytes are what it downloads, and again what it uploads, in a round.
    """
    check(scenario)
    algorithm = make(scenario.method, method)
    architecture = architecture_of(scenario, algorithm)
    sizes: dict[ComponentKey, tuple[int, int]] = {}  # parameters and bytes
    for key in sorted(frozenset().union(*(architecture.plan(client.pairs) for client in scenario.clients))):
        travelling = [shape for name, shape in architecture.shapes(key).items() if algorithm.travels(key, name)]
        if travelling:
            sent = sum(packed_bytes(shape, scenario.wire.precision) for shape in travelling)
            sizes[key] = sum(shape.numel() for shape in travelling), sent
    plans = {client.id: architecture.plan(client.pairs) & sizes.keys() for client in scenario.clients}

    def totals(keys: Iterable[ComponentKey]) -> dict[str, int]:
        held = [sizes[key] for key in keys]
        return {"components": len(held), "parameters": sum(n for n, _ in held), "bytes": sum(n for _, n in held)}

    def with_kinds(keys: Iterable[ComponentKey]) -> dict[str, Any]:
        keys = sorted(keys)
        kinds = sorted({key.kind for key in keys})
        return {**totals(keys), "kinds": {kind: totals(key for key in keys if key.kind == kind) for kind in kinds}}

    clients = [
        {
            "client": client.id,
            "unseen": client.unseen,
            "pairs": [[pair.modality, pair.task, pair.domain] for pair in client.pairs],
            **with_kinds(plans[client.id]),
        }
        for client in scenario.clients
    ]
    held = frozenset().union(*(plans[client.id] for client in scenario.participants))
    return {"clients": clients, "server": with_kinds(held)}
