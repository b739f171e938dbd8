"""The repositories of the paper's two federations, with the hub's file layouts and schemas and a few made-up rows each."""

import json
from pathlib import Path

import pytest

from data.sources import test_paper_federations
from hub_folders import FEATURES, features
from hub_stand_in import Hub, Repo, card, parquet, tiny_model

SUBJECTS = ("professional_law", "professional_medicine", "moral_scenarios")
MODELS = {"flava": "facebook/flava-full", "vilt": "dandelin/vilt-b32-mlm"}
ONE = "-00000-of-00001.parquet"
LAYOUTS: dict[str, tuple[str, str, dict[str, str]]] = {
    # the source, the configuration, and where the hub has the files of each split
    "uoft-cs/cifar100": ("cifar100", "cifar100", {"train": "cifar100/train-*", "test": "cifar100/test-*"}),
    "ilee0022/Caltech-256": (
        "caltech256",
        "default",
        {"train": "data/train-*", "validation": "data/validation-*", "test": "data/test-*"},
    ),
    "zalando-datasets/fashion_mnist": (
        "fashion_mnist",
        "fashion_mnist",
        {"train": "fashion_mnist/train-*", "test": "fashion_mnist/test-*"},
    ),
    "merve/vqav2-small": ("vqa_v2", "default", {"validation": "data/validation-*"}),
    "allenai/common_gen": (
        "common_gen",
        "default",
        {"train": "data/train-*", "validation": "data/validation-*", "test": "data/test-*"},
    ),
}
DATA_SETS = ("sh0416/ag_news", "zh-plus/tiny-imagenet", "cais/mmlu", *LAYOUTS)


def paper_hub(folder: Path, *, many: int = 40, names: tuple[str, ...] = DATA_SETS, models: tuple[str, ...] = ()) -> Hub:
    """Return a hub with some of the data sets, of about so many rows, and twins of some models (``flava``, ``vilt``)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_paper_federations, "MANY", many)
        repos = {("dataset", name): _data_set(name) for name in names}
    for name in models:
        repos["model", MODELS[name]] = Repo(tiny_model(name, folder / name), licence="bsd-3-clause")
    return Hub(repos)


def _data_set(name: str) -> Repo:
    made = test_paper_federations.miniature
    if name == "sh0416/ag_news":  # two files of JSON lines, and a card that says nothing of them
        splits = made(name, None)
        files = {
            f"{split}.jsonl": "".join(
                json.dumps({key: row[key] for key in FEATURES["ag_news"]}) + "\n" for row in splits[split]
            ).encode()
            for split in splits
        }
        return Repo({"README.md": b"# AG News\n", **files})
    if name == "zh-plus/tiny-imagenet":  # no configurations: splits are known by the names of their files
        splits = made(name, None)
        parts = {f"data/{split}-00000-of-00001-0123456789abcdef.parquet": parquet(splits[split]) for split in splits}
        return Repo({"README.md": b"# Tiny ImageNet\n", "classes.py": b"raise SystemExit('code of a hub')", **parts})
    if name == "cais/mmlu":  # a configuration a subject, of which most are not wanted
        subjects = ("abstract_algebra", *SUBJECTS)
        files = {
            f"{subject}/{split}{ONE}": parquet(part)
            for subject in subjects
            for split, part in made(name, subject).items()
        }
        configs = {each: {split: f"{each}/{split}-*" for split in ("test", "validation", "dev")} for each in subjects}
        return Repo(
            {"README.md": card(features("mmlu_moral_scenarios"), configs), "data.tar": b"tar", **files}, licence="mit"
        )
    source, config, patterns = LAYOUTS[name]
    files = {f"{patterns[split][:-2]}{ONE}": parquet(part) for split, part in made(name, None).items()}
    if name == "merve/vqav2-small":  # in several files
        part = made(name, None)["validation"]
        half = len(part) // 2
        files = {
            f"data/validation-0000{at}-of-00002.parquet": parquet(part.select(rows))
            for at, rows in enumerate((range(half), range(half, len(part))))
        }
    return Repo({"README.md": card(features(source), {config: patterns}), **files}, licence=["mit"])
