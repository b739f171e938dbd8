"""ViLT: one transformer over the words of a text and the patches of an image. Kim et al. 2021, arXiv 2102.03334.

It has no towers to speak of: a text is its word embeddings, an image a linear map of its patches, and all twelve layers are
multimodal. They seed the fusion (the first L MoTE, the next L MoME). ``backbone.lora`` adapts the linear map of the patches. Both
embeddings are cheaper computed than stored, so pixels and token ids reach the network as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.backbones.assembly import assemble, sizes
from fedtap.backbones.base import Backbone, BackboneSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.lora import Adapters
from fedtap.backbones.transformer_towers import Pixels
from fedtap.backbones.untrained import tiny_pieces
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

if TYPE_CHECKING:
    from transformers import ViltModel

HUB = "dandelin/vilt-b32-mlm"
MEAN = DEVIATION = (0.5, 0.5, 0.5)
"""Of the pixels, as published with the weights."""
TEXT, IMAGE = 0, 1
"""The modality types that the model was trained with."""


class NoLayers(nn.Module):
    """An encoder without layers: what embeds is all there is before the fusion."""

    def run(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None, *, recompute: bool = False
    ) -> Tensor:
        """Return the tokens as they are."""
        return hidden

    def close(self, hidden: Tensor) -> Tensor:
        """Return the tokens as they are."""
        return hidden


class PatchEmbeddings(NoLayers):
    """An image's patches as tokens, the classification token first: ``(n, 3, height, width)`` to ``(n, 1 + patches, dim)``.

    The model's own convolution has the stride of its width, so it is a linear map of each patch, and is one here, which an
    adapter can adapt. Patches stay in their order (the model's own code shuffles them); positions are interpolated as the model
    does it.
    """

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        parts = cast(Any, embeddings)
        convolution = parts.patch_embeddings.projection
        self.side = int(convolution.kernel_size[0])
        self.patch = nn.Linear(convolution.weight[0].numel(), convolution.weight.shape[0], device="meta")
        self.patch.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        self.patch.bias = nn.Parameter(convolution.bias.detach(), requires_grad=False)
        self.start, self.positions = parts.cls_token, parts.position_embeddings
        self.kinds = parts.token_type_embeddings

    def place(self, name: str) -> str:
        """Return the path of the linear map of the patches, the only one that is adapted."""
        return name

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the tokens."""
        n, _, height, width = inputs.shape
        rows, columns = height // self.side, width // self.side
        patches = F.unfold(inputs, self.side, stride=self.side).transpose(1, 2)
        learned = self.positions[:, 1:].transpose(1, 2)
        pretrained = round(learned.shape[2] ** 0.5)
        grid = learned.unflatten(2, (pretrained, pretrained))
        places = (
            F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=True).flatten(2).transpose(1, 2)
        )
        start = (self.start + self.positions[:, :1]).expand(n, -1, -1)
        tokens: Tensor = torch.cat([start, self.patch(patches) + places], dim=1) + self.kinds.weight[IMAGE]
        return tokens


class WordEmbeddings(NoLayers):
    """A text's words as tokens: ``(n, tokens)`` ids to ``(n, tokens, dim)``."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.words, self.kinds = cast(Any, embeddings).text_embeddings, cast(Any, embeddings).token_type_embeddings

    def place(self, name: str) -> str:
        """Raise KeyError: nothing of it is adapted."""
        raise KeyError(name)

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the tokens."""
        tokens: Tensor = self.words(inputs) + self.kinds.weight[TEXT]
        return tokens


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes: of the folder's configuration, or of the published model."""
    origin = Checkpoint.of(settings, HUB)
    config = _config(origin)
    return sizes(
        settings,
        origin,
        image=config,
        text=config,
        fusion=config,
        image_adapters=_adapters(settings, config),
        text_adapters=Adapters(0, {}),
    )


def check(settings: BackboneSettings) -> None:
    """Check without weights that the folder holds what the model needs."""
    origin = Checkpoint.of(settings, HUB)
    origin.check_files(int(_config(origin).vocab_size))


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the backbone; its weights are read once, when they are first needed."""
    origin = Checkpoint.of(settings, HUB)
    return assemble(
        settings,
        spec(settings),
        origin,
        device,
        images=lambda: PatchEmbeddings(_model(origin, device).embeddings),
        texts=lambda: WordEmbeddings(_model(origin, device).embeddings),
        pixels=Pixels(settings.image_size, MEAN, DEVIATION),
        embedding=lambda: _model(origin, device).embeddings.text_embeddings.word_embeddings.weight,
        layers=lambda: _model(origin, device).encoder.layer,
    )


def _adapters(settings: BackboneSettings, config: Any) -> Adapters:
    lora = settings.lora
    if lora is None:
        return Adapters(0, {})
    if lora.layers != "all":
        raise UserError("backbone.lora.layers: ViLT's towers have no layers, only patches to adapt; remove this key")
    if lora.targets is not None:
        raise UserError("backbone.lora.targets: ViLT's towers have nothing but patches to adapt; remove this key")
    patch = {"patch": (3 * config.patch_size**2, config.hidden_size)}
    return Adapters(0, patch, lora.rank, lora.alpha, lora.dropout)


def _tiny() -> Any:
    """Return a configuration of a thousandth of the size."""
    from transformers import ViltConfig

    return ViltConfig(
        hidden_size=32,
        num_hidden_layers=8,  # enough for the four of each stack that the paper takes
        num_attention_heads=4,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        vocab_size=tiny_pieces().get_vocab_size(),
        max_position_embeddings=64,
    )


def _config(origin: Checkpoint) -> Any:
    from transformers import ViltConfig

    return origin.config(ViltConfig, _tiny)


def _model(origin: Checkpoint, device: torch.device) -> ViltModel:
    from transformers import ViltModel

    return origin.held(ViltModel, _config(origin), device)
