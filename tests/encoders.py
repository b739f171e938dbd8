"""Small encoders of every type that can be taken apart, with random weights; and inputs for them."""

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    FlavaImageConfig,
    FlavaImageModel,
    FlavaTextConfig,
    FlavaTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from fedtap.backbones.transformer import FAMILIES

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
WIDE = {**SIZES, "intermediate_size": 64}
PICTURES = {"image_size": 32, "patch_size": 8}


def build(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        match kind:
            case "bert":
                model = BertModel(BertConfig(**WIDE, vocab_size=50), add_pooling_layer=False)
            case "flava_text_model":
                model = FlavaTextModel(FlavaTextConfig(**WIDE, vocab_size=50), add_pooling_layer=False)
            case "flava_image_model":
                model = FlavaImageModel(FlavaImageConfig(**WIDE, **PICTURES), add_pooling_layer=False)
            case "vit":
                model = ViTModel(ViTConfig(**WIDE, **PICTURES), add_pooling_layer=False)
            case "dinov2":
                model = Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, **PICTURES))
            case "siglip_vision_model":
                model = SiglipVisionModel(SiglipVisionConfig(**WIDE, **PICTURES))
            case "clip_vision_model":
                model = CLIPVisionModel(CLIPVisionConfig(**WIDE, **PICTURES))
            case _:
                raise KeyError(kind)
        for (
            parameter
        ) in model.parameters():  # positions and classification tokens start at zero, where faults would hide
            nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


def inputs(kind: str, side: int = 32) -> tuple[torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    if FAMILIES[kind].pixels:
        return torch.randn(2, 3, side, side, generator=generator), None
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    return torch.randint(1, 50, (2, 7), generator=generator), mask
