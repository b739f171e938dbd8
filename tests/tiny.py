"""A federation of all ten kinds of client, small enough that a test takes milliseconds.

Two ways in: made-up features (no towers, no files), for what happens behind the towers; and a scenario on files written to a
test's own folder, for the real way of the data.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fedtap.backbones.base import BackboneSpec
from fedtap.batch import NO_TOKEN, Batch
from fedtap.components import ComponentState
from fedtap.data.loader import ClientData, TaskExamples
from fedtap.data.splits import SPLITS
from fedtap.network.architecture import Architecture, Blueprint, HeadInfo
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.network.plain import Plain
from fedtap.network.probe import Probe
from fedtap.pairs import CLASSIFIES, ComponentKey, Modality, Pair
from fedtap.scenario.scenario import NetworkSettings, Scenario, build_scenario
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import HeadSizes, Words
from fedtap.training.client import LocalClient

CPU = torch.device("cpu")
CLASSES, VOCABULARY, START, END = 3, 20, 2, 3
SPEC = BackboneSpec(
    "tiny", vision_dim=12, vision_tokens=4, text_dim=10, text_tokens=8, vocabulary=VOCABULARY, embedding_dim=6
)
SIZES: dict[str, Any] = {
    "dim": 16,
    "heads": 2,
    "expert_dim": 16,
    "domain_dim": 4,
    "lora_rank": 2,
    "lora_alpha": 6.0,
    "answer_tokens": 6,
}

DIGITS = Pair("digits", "classification", "image", "digits")
MOOD = Pair("mood", "classification", "text", "news")
MEMES = Pair("memes", "classification", "image+text", "memes")
REDRAW = Pair("redraw", "reconstruction", "image", "shapes")
REDRAW_DIGITS = Pair("redraw_digits", "reconstruction", "image", "digits")
VQA = Pair("vqa", "text_generation", "image+text", "shapes")
CAPTION = Pair("caption", "text_generation", "image", "shapes")
LAW, MEDICINE, MORALS = (Pair(name, "text_generation", "text", name) for name in ("law", "medicine", "morals"))
CONCEPTS = Pair("concepts", "text_generation", "text", "common.sense")

TAGS = Pair("tags", "multilabel_classification", "text", "news")
AGE = Pair("age", "regression", "image", "digits")
SCALE = (0.0, 100.0)

EVERY_PAIR = (DIGITS, MOOD, MEMES, REDRAW, VQA, CAPTION, LAW)
"""One pair of each (type, modality) of the paper's three types."""
TEN_KINDS: Mapping[str, tuple[Pair, ...]] = {
    "c0": (DIGITS,),
    "c1": (MOOD,),
    "c2": (MOOD,),
    "c3": (REDRAW,),
    "c4": (VQA,),
    "c5": (VQA,),
    "c6": (LAW, MEDICINE, MORALS),
    "c7": (DIGITS, MOOD),
    "c8": (CONCEPTS, REDRAW_DIGITS),
    "c9": (CONCEPTS, REDRAW),
}
EVERYTHING = (*EVERY_PAIR, *(pair for pairs in TEN_KINDS.values() for pair in pairs))


def generator(*names: object) -> torch.Generator:
    """Return a generator that differs by what it is for."""
    return torch.Generator().manual_seed(zlib.crc32(repr(names).encode()))


def words() -> Words:
    """Return a vocabulary of made-up words: token 7 is written "w7"."""
    embedding = torch.randn(VOCABULARY, SPEC.embedding_dim, generator=generator("words"))
    return Words(embedding, START, END, lambda ids: " ".join(f"w{token}" for token in ids))


def blueprint(pairs: Iterable[Pair], **settings: Any) -> Blueprint:
    """Return the sizes of a tiny network for these pairs."""
    heads = {
        pair.head: HeadInfo(
            type=pair.type,
            modality=pair.modality,
            classes=CLASSES if pair.type in CLASSIFIES else 0,
            scale=SCALE if pair.type == "regression" else None,
        )
        for pair in pairs
    }
    return Blueprint(SPEC, NetworkSettings(**{**SIZES, **settings}), heads)


def head_sizes(modality: Modality, *, vision_tokens: int = SPEC.vision_tokens, **settings: Any) -> HeadSizes:
    """Return what a tiny head's shape depends on."""
    return HeadSizes(
        network=blueprint([], **settings).network,
        classes=CLASSES,
        embedding_dim=SPEC.embedding_dim,
        vision_tokens=vision_tokens,
        modality=modality,
    )


def build_network(pairs: Iterable[Pair], *, seed: int = 0, probe: bool = False, **settings: Any) -> Network:
    """Return a network for these pairs; ``name`` among the settings is the architecture's."""
    pairs = tuple(pairs)
    sizes = blueprint(pairs, **({"name": "probe"} if probe else {}), **settings)
    kinds: dict[str, type[Architecture]] = {kind.name: kind for kind in (Experts, Plain, Probe)}
    architecture = kinds[sizes.network.name](sizes)
    return Network(architecture, architecture.plan(pairs), seed=seed, words=words())


def jittered(state: ComponentState, *, seed: int = 0, scale: float = 0.3) -> ComponentState:
    """Return a state away from its start, at which many branches are zero."""
    draw = generator("perturbed", seed)
    return state.map(lambda tensor: tensor + scale * torch.randn(tensor.shape, generator=draw))


def modules(
    architecture: Architecture, keys: Iterable[ComponentKey], *, seed: int = 0
) -> dict[ComponentKey, nn.Module]:
    """Return the modules of components with values away from their start."""
    built = {key: architecture.build(key) for key in sorted(keys)}
    draw = generator("modules", seed)
    with torch.no_grad():
        for key, module in built.items():
            architecture.start(key, module, seed)
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return built


def examples(pair: Pair, n: int, *, seed: int = 0, split: str = "train") -> TaskExamples:
    """Return made-up examples; what is asked can be learned from the features."""
    draw = np.random.default_rng(zlib.crc32(f"{pair.task} {seed} {split}".encode()))
    fixed = np.random.default_rng(zlib.crc32(pair.task.encode()))
    label = draw.integers(0, CLASSES, n)
    image = text = None
    if "image" in pair.modality:
        towards = fixed.normal(size=(CLASSES, SPEC.vision_dim))
        noise = draw.normal(size=(n, SPEC.vision_tokens, SPEC.vision_dim))
        image = [(noise[i] + towards[label[i]]).astype(np.float16) for i in range(n)]
    if "text" in pair.modality:
        towards = fixed.normal(size=(CLASSES, SPEC.text_dim))
        lengths = draw.integers(2, SPEC.text_tokens + 1, n)
        text = [
            (draw.normal(size=(lengths[i], SPEC.text_dim)) + towards[label[i]]).astype(np.float16) for i in range(n)
        ]
    if pair.type == "classification":
        target = torch.from_numpy(label)
    elif pair.type == "multilabel_classification":
        target = torch.eye(CLASSES)[torch.from_numpy(label)]
        target[label == 1, 2] = 1.0
    elif pair.type == "regression":
        target = torch.from_numpy(label - 1 + 0.1 * draw.normal(size=n)).float()
    elif pair.type == "reconstruction":
        shades = draw.integers(0, 40, (n, 3, 64, 64)) + 80 * label[:, None, None, None]
        target = torch.from_numpy(shades.astype(np.uint8))
    else:
        target = torch.full((n, 5), NO_TOKEN)
        for i in range(n):
            length = int(draw.integers(1, 5))
            target[i, :length] = torch.from_numpy(draw.integers(4, 7, length) + 3 * label[i])
            target[i, length] = END
    written = (
        tuple(words().decode([t for t in row if t != NO_TOKEN]) for row in target.tolist())
        if pair.type == "text_generation"
        else ()
    )
    return TaskExamples(pair, image, text, target, written)


def client_data(pairs: Sequence[Pair], n: int | Mapping[str, int] = 12, *, seed: int = 0) -> ClientData:
    """Return made-up splits; ``n`` training examples a task, twelve in each of the other splits."""
    sizes = {pair.task: n if isinstance(n, int) else n[pair.task] for pair in pairs}
    return ClientData(
        {
            pair.task: {
                split: examples(pair, sizes[pair.task] if split == "train" else 12, seed=seed, split=split)
                for split in SPLITS
            }
            for pair in pairs
        }
    )


def mixed_batch(pairs: Sequence[Pair], each: int = 3, *, seed: int = 0) -> Batch:
    """Return a batch with ``each`` examples of every pair."""
    data = client_data(pairs, each, seed=seed)
    return data.collate([(pair.task, i) for i in range(each) for pair in pairs])


def loss_sum(network: Network, outputs: Sequence[Any], batch: Batch) -> Tensor:
    """Return the sum of the task losses of a batch."""
    kinds = (TASK_TYPES[part.pair.type] for part in batch)
    return torch.stack(
        [
            kind.losses(out.output, part.target, network.words).mean()
            for kind, out, part in zip(kinds, outputs, batch, strict=True)
        ]
    ).sum()


def scenario_of(clients: Mapping[str, Sequence[Pair]], **settings: Any) -> Scenario:
    """Return a scenario whose files nobody reads."""
    listed = [
        {
            "id": id,
            "tasks": [
                {
                    "name": pair.task,
                    "type": pair.type,
                    "modality": pair.modality,
                    "domain": pair.domain,
                    "source": "jsonl",
                    "path": f"{pair.task}.jsonl",
                    **({"classes": CLASSES} if pair.type in CLASSIFIES else {}),
                    **({"scale": list(SCALE)} if pair.type == "regression" else {}),
                }
                for pair in pairs
            ],
        }
        for id, pairs in clients.items()
    ]
    raw = {
        "name": "tiny",
        "rounds": 4,
        "clients_per_round": 2,
        "local_steps": 4,
        "batch_size": 8,
        "backbone": {"vision": "untrained-tiny", "text": "untrained-tiny", "image_size": 64, "text_tokens": 8},
        "network": SIZES,
        "training": {"lr": 0.01, "warmup_rounds": 1, "finetune_steps": 6, "finetune_lr": 0.01, "select_every": 2},
        "data": {"train": 8, "validation": 4, "test": 4},
        "evaluation": {"cross_examples": 8},
        "clients": listed,
    }
    return build_scenario({**raw, **settings}, place="tiny", folder=Path())


def local_client(
    pairs: Sequence[Pair],
    *,
    network: Network | None = None,
    n: int | Mapping[str, int] = 12,
    seed: int = 0,
    round: int = 2,
    **settings: Any,
) -> LocalClient:
    """Return a client at work on made-up data."""
    return LocalClient(
        "c",
        pairs,
        data=client_data(pairs, n),
        network=build_network(pairs) if network is None else network,
        scenario=scenario_of({"c": pairs, "other": pairs}, **settings),
        seed=seed,
        round=round,
    )


def file_scenario(folder: Path, clients: Mapping[str, Sequence[Pair]] = TEN_KINDS, **settings: Any) -> Scenario:
    """Write files for the ten kinds of client and return the scenario that reads them."""
    _write_files(folder)
    paths = {REDRAW_DIGITS.task: "digits.jsonl"}
    raw = scenario_of(clients, **settings).resolved()
    for client in raw["clients"]:
        for task in client["tasks"]:
            task["path"] = paths.get(task["name"], task["path"])
    return build_scenario(raw, place="tiny", folder=folder)


def _write_files(folder: Path, n: int = 80) -> None:
    """Write a table for each task, and the pictures that they are about."""
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    tables: dict[str, list[dict[str, Any]]] = {}
    for i in range(n):
        for kind in ("digit", "shape"):
            pixels = draw.integers(0, 100, (8, 8, 3)) + 70 * (i % CLASSES)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "pictures" / f"{kind}{i}.png")
        shape = {"image": f"pictures/shape{i}.png"}
        tables.setdefault("digits", []).append({"image": f"pictures/digit{i}.png", "label": i % CLASSES})
        tables.setdefault("redraw", []).append(shape)
        tables.setdefault("vqa", []).append(
            {**shape, "text": f"what color is it {i}", "target": ("red", "blue")[i % 2]}
        )
        tables.setdefault("mood", []).append(
            {"text": f"{['bad', 'fair', 'good'][i % 3]} film {i}", "label": i % CLASSES}
        )
        for task in ("law", "medicine", "morals", "concepts"):
            tables.setdefault(task, []).append(
                {"text": f"{task} question {i}", "target": f"{'yes' if i % 2 else 'no'} {task}"}
            )
    for task, rows in tables.items():
        (folder / f"{task}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
