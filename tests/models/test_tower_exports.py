"""Adapters of towers of every structure, merged into their weights, and as folders that peft loads beside the published model."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModel

from encoders import config_of, inputs, own_output, write
from fedtap.backbones.encoders import adapters, split
from fedtap.backbones.lora import AdaptedLayers
from fedtap.backbones.origins import Origin
from fedtap.models.merging import merge_tower
from fedtap.models.peft_folder import _published, _write
from fedtap.scenario.scenario import BackboneSettings, LoraSettings


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.parametrize("kind", ["albert", "deberta-v2", "modernbert", "resnet", "swin"])
def test_adapters_leave_fedtap_whole(kind: str, tmp_path: Path) -> None:
    encoder = split(write(kind, tmp_path / kind))
    settings = BackboneSettings(lora=LoraSettings(rank=2, alpha=6.0, targets=tuple(encoder.roles)))
    which = adapters(settings, config_of(kind), kind)
    assert which is not None
    layers, draw = AdaptedLayers(encoder, which).eval(), torch.Generator().manual_seed(4)
    layers.hold({name: nn.Parameter(0.1 * torch.randn(s, generator=draw)) for name, s in which.shapes().items()})
    values, mask = inputs(kind)
    real = slice(None) if mask is None else mask
    with torch.no_grad():
        adapted, frozen = layers(values, mask)[real], encoder(values, mask)[real]
    assert not torch.allclose(adapted, frozen, atol=1e-2)

    _write(tmp_path / "peft", [layers], _published(tmp_path / kind), Origin(role="vision", source="folder", name=kind))
    published = AutoModel.from_pretrained(tmp_path / kind).eval()
    loaded = PeftModel.from_pretrained(published, tmp_path / "peft").eval()
    with torch.no_grad():
        torch.testing.assert_close(own_output(loaded, kind, values, mask)[real], adapted, rtol=1e-4, atol=1e-4)

    merge_tower(layers)
    assert not [name for name, _ in layers.named_parameters() if "lora_" in name]
    with torch.no_grad():
        torch.testing.assert_close(layers(values, mask)[real], adapted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(encoder(values, mask)[real], frozen)
