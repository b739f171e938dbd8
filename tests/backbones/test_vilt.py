from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ViltModel

from fedtap.backbones import load_backbone, spec, vilt
from fedtap.backbones.layers import pre_norm_layer
from fedtap.backbones.untrained import tiny_pieces
from fedtap.backbones.vilt import PatchEmbeddings, WordEmbeddings
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings, LoraSettings

TINY = BackboneSettings(name="vilt", weights="untrained-tiny", image_size=64, text_tokens=16)


@pytest.fixture(scope="module")
def model() -> ViltModel:
    """Return a small ViLT with weights of its own, the classification token and positions among them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ViltModel(vilt._tiny(), add_pooling_layer=False)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def own_embeddings(model: ViltModel, ids: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the text's and the image's tokens as the model itself embeds them; its patches come shuffled, sorted here."""
    whole, _ = model.embeddings(
        ids, torch.ones_like(ids), torch.zeros_like(ids), pixels, torch.ones(len(pixels), *pixels.shape[2:]), None, None
    )
    return whole[:, : ids.shape[1]], whole[:, ids.shape[1] :]


def rows(tokens: torch.Tensor) -> np.ndarray:
    """Return the tokens of one image in an order that does not depend on theirs."""
    values = tokens.numpy()
    return values[np.lexsort(values.round(3).T)]


@pytest.mark.parametrize("side", [64, 96])
def test_embeddings_are_the_models_own(model: ViltModel, side: int) -> None:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, side, side, generator=generator)
    ids = torch.randint(4, 40, (2, 5), generator=generator)
    text, image = own_embeddings(model, ids, pixels)
    torch.testing.assert_close(WordEmbeddings(model.embeddings).embed(ids), text)
    ours = PatchEmbeddings(model.embeddings).embed(pixels)
    torch.testing.assert_close(ours[:, 0], image[:, 0])
    for mine, theirs in zip(ours[:, 1:], image[:, 1:], strict=True):
        np.testing.assert_allclose(rows(mine), rows(theirs), atol=1e-4)


def test_patches_stay_in_their_order(model: ViltModel) -> None:
    """A patch of its own kind moves with its place: the token of that place, and no other, changes."""
    grey = torch.zeros(1, 3, 64, 64)
    marked = grey.clone()
    marked[:, :, 16:32, 32:48] = 1.0  # the second row of patches, the third column
    embed = PatchEmbeddings(model.embeddings).embed
    changed = (embed(marked) - embed(grey)).abs().sum(dim=-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [1 + 1 * 4 + 2]


def test_an_adapter_of_the_patches_is_added_once(model: ViltModel) -> None:
    backbone = load_backbone(TINY.model_copy(update={"lora": LoraSettings(rank=2, alpha=6)}))
    adapters = backbone.spec.vision_adapters
    assert adapters is not None
    assert adapters.shapes() == {"patch_A": (3 * 16 * 16, 2), "patch_B": (2, 32)}
    layers = backbone.vision.adapted()
    assert layers is not None
    generator = torch.Generator().manual_seed(2)
    held = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in adapters.shapes().items()}
    layers.hold(held)
    pixels = torch.randn(1, 3, 64, 64, generator=generator)
    frozen = backbone.vision.module.embed(pixels)
    patches = nn.functional.unfold(pixels, 16, stride=16).transpose(1, 2)
    added = 6 / 2 * patches @ held["patch_A"] @ held["patch_B"]
    torch.testing.assert_close(layers(pixels, None)[:, 1:], frozen[:, 1:] + added, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(layers(pixels, None)[:, 0], frozen[:, 0])


def test_words_run_at_every_step_and_nothing_of_them_is_adapted() -> None:
    backbone = load_backbone(TINY)
    assert backbone.vision.raw
    assert backbone.text.raw
    layers = backbone.text.adapted()
    assert layers is not None
    layers.hold({})
    ids = torch.from_numpy(backbone.text.prepare("a red circle"))[None]
    assert layers(ids, None).shape == (1, ids.shape[1], 32)
    assert [parameter for parameter in layers.parameters() if parameter.requires_grad] == []


def test_the_layers_seed_the_fusion_from_a_checkpoint(model: ViltModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "vilt")
    tiny_pieces().save(str(tmp_path / "vilt" / "tokenizer.json"))
    backbone = load_backbone(TINY.model_copy(update={"weights": "pretrained", "path": str(tmp_path / "vilt")}))
    assert backbone.fusion is not None
    for ours, theirs in zip(backbone.fusion(8), model.encoder.layer, strict=True):
        expected = pre_norm_layer(theirs)
        assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_the_published_sizes_are_known_without_weights() -> None:
    sizes = spec(BackboneSettings(name="vilt", image_size=64, text_tokens=40, lora=LoraSettings(rank=4, alpha=8)))
    assert (sizes.name, sizes.vision_dim, sizes.vision_tokens) == ("vilt:dandelin/vilt-b32-mlm", 768, 5)
    assert sizes.fusion is not None
    assert (sizes.fusion.layers, sizes.fusion.heads, sizes.fusion.hidden) == (12, 12, 3072)
    assert sizes.vision_adapters is not None
    assert sizes.vision_adapters.shapes() == {"patch_A": (3072, 4), "patch_B": (4, 768)}


def test_there_are_no_layers_to_choose_from() -> None:
    with pytest.raises(UserError, match=r"backbone.lora.layers: ViLT's towers have no layers, only patches to adapt"):
        spec(TINY.model_copy(update={"lora": LoraSettings(layers=2)}))
    with pytest.raises(UserError, match=r"backbone.text_tokens: vilt takes at most 64 tokens, not 80; give 64"):
        spec(TINY.model_copy(update={"text_tokens": 80}))
