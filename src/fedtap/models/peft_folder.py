"""The towers' low-rank adapters as folders of the library peft. Not here: fusion, experts and heads, which are fedtap's own.

fedtap's towers are taken apart; peft wants the names of the published model. So that model is loaded once more, and each adapted
matrix is found in it by its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fedtap.backbones.checkpoints import one_line
from fedtap.backbones.lora import AdaptedLayers
from fedtap.backbones.origins import Origin, Role, folders_of, origins_of
from fedtap.backbones.weights import quiet
from fedtap.models.export import Exported
from fedtap.models.folder import empty_folder
from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import write_bytes
from fedtap.runtime.tensor_bytes import tensor_bytes

ROLES: Mapping[str, Role] = {"image": "vision", "text": "text"}


def write_peft(model: PersonalModel, to: Path, task: str | None = None) -> Exported:
    """Write the adapters of a model's towers: ``vision/`` and ``text/``, or ``to`` itself where one model is both towers.

    Raises
    ------
    UserError
        If the towers have no adapters, or their frozen weights are made from a seed, and so published nowhere.
    """
    saved = model.loaded.saved
    if saved.by_task:
        raise UserError(
            f"--format peft: '{saved.name}' uses another model for each task, and adapters are of one; name it (--model "
            f"{saved.held[0].name}), or use --format fedtap"
        )
    adapted = {
        part: layers
        for part, layers in model.loaded.network.frozen.items()
        if isinstance(layers, AdaptedLayers) and layers.adapted()
    }
    if not adapted:
        raise UserError(
            f"--format peft: the towers of {model.loaded.backbone.spec.name} are frozen and have no adapters (backbone.lora was "
            "not set); use --format fedtap"
        )
    folders = folders_of(saved.backbone)
    if saved.backbone.weights != "pretrained" or not folders:
        raise UserError(
            f"--format peft: the weights of {model.loaded.backbone.spec.name} are random, and no published model has them; use "
            "--format fedtap"
        )
    origins = {origin.role: origin for origin in saved.origins or origins_of(saved.backbone)}
    by_role: dict[Role, list[AdaptedLayers]] = {}
    for part, layers in adapted.items():
        by_role.setdefault("path" if "path" in folders else ROLES[part], []).append(layers)
    empty_folder(to)
    written = []
    for role, towers in by_role.items():
        place = to if role == "path" else to / role
        _write(place, towers, _published(folders[role]), origins[role])
        written.append(place)
    return Exported(tuple(written))


def _write(to: Path, towers: list[AdaptedLayers], published: nn.Module, origin: Origin) -> None:
    from peft import LoraConfig

    tensors: dict[str, Tensor] = {}
    targets: list[str] = []
    for layers in towers:
        for layer in layers.adapted().values():
            name, module = _found(published, cast("nn.Linear | nn.Conv2d", layer.base_layer).weight, origin.name)
            first, second = (
                cast(Any, layer.get_submodule(f"lora_{side}"))["default"].weight.detach().T for side in "AB"
            )
            if isinstance(module, nn.Conv2d):  # a map of patches: its first factor is a convolution too
                first = first.unflatten(1, module.weight.shape[1:])
                second = second[:, :, None, None]
            targets.append(name)
            tensors[f"base_model.model.{name}.lora_A.weight"] = first.contiguous().cpu()
            tensors[f"base_model.model.{name}.lora_B.weight"] = second.contiguous().cpu()
    adapters = towers[0].adapters
    to.mkdir(parents=True, exist_ok=True)
    LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,  # type: ignore[arg-type]  # peft divides by the rank; a fraction will do
        lora_dropout=adapters.dropout,
        target_modules=sorted(targets),
        base_model_name_or_path=origin.name,
        revision=origin.revision,
        inference_mode=True,
        auto_mapping={"base_model_class": type(published).__name__, "parent_library": type(published).__module__},
    ).save_pretrained(str(to))
    write_bytes(to / "adapter_model.safetensors", tensor_bytes(tensors, {"format": "pt"}))


def _published(folder: Path) -> nn.Module:
    """Return the model in a folder as ``AutoModel`` gives it."""
    from transformers import AutoModel

    try:
        with quiet():
            return cast(
                nn.Module,
                AutoModel.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
                ),
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: AutoModel cannot read it ({one_line(error)}); use --format fedtap") from error


def _found(model: nn.Module, weight: Tensor, name: str) -> tuple[str, nn.Module]:
    """Return the only linear map or convolution of a model that has this weight ``(outputs, ...)``, with its path."""
    flat = weight.detach().cpu().flatten(1)
    same = [
        (path, part)
        for path, part in model.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
        and part.weight.flatten(1).shape == flat.shape
        and torch.equal(part.weight.detach().flatten(1), flat)
    ]
    if len(same) != 1:
        raise UserError(
            f"--format peft: an adapted matrix is in {len(same)} places of '{name}', and must be in one; use --format fedtap"
        )
    return same[0]
