"""Transformers of a local folder as towers, held against transformers' own forward pass."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, ViltConfig

from encoders import PICTURES, WIDE, build
from fedtap.backbones import load_backbone, spec
from fedtap.backbones.transformer import FAMILIES
from fedtap.backbones.untrained import tiny_pieces
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings, LoraSettings

VISION = sorted(kind for kind in FAMILIES if FAMILIES[kind].pixels and not kind.startswith("flava"))
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def with_preprocessor(folder: Path) -> Path:
    values = {"image_mean": MEAN, "image_std": DEVIATION, "resample": 3, "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def bert(folder: Path) -> tuple[Path, BertModel]:
    """Save a small BERT with the tiny vocabulary."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = BertModel(BertConfig(**WIDE, vocab_size=tiny_pieces().get_vocab_size()), add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    tiny_pieces().save(str(folder / "tokenizer.json"))
    return folder, model


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def towers(**more: object) -> BackboneSettings:
    given = {"vision": "untrained-tiny", "text": "untrained-tiny", "image_size": 32, "text_tokens": 16}
    return BackboneSettings(**{**given, **more})


@pytest.mark.parametrize("kind", VISION)
def test_a_vision_transformer_of_a_folder_is_a_tower(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    model.save_pretrained(tmp_path / kind)
    settings = towers(vision=str(with_preprocessor(tmp_path / kind)))
    backbone = load_backbone(settings)
    pixels = (picture().astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels.transpose(2, 0, 1))[None]).last_hidden_state[0]
    np.testing.assert_allclose(backbone.vision.encode([picture()])[0], expected.numpy(), atol=1e-4)
    sizes = backbone.spec
    assert (sizes.vision_tokens, sizes.vision_dim) == tuple(expected.shape)
    assert sizes.vision_tokens - sizes.vision_lead == 16
    assert sizes.vision_placed
    assert sizes.fusion is None


def test_a_text_transformer_of_a_folder_is_a_tower(tmp_path: Path) -> None:
    folder, model = bert(tmp_path / "small-bert")
    backbone = load_backbone(towers(text=str(folder)))
    ids = torch.from_numpy(backbone.text.prepare("yes it is red"))[None]
    with torch.no_grad():
        expected = model(ids).last_hidden_state[0]
    np.testing.assert_allclose(backbone.text.encode(["yes it is red"])[0], expected.numpy(), atol=1e-5)
    assert torch.equal(backbone.vocabulary.embedding, model.embeddings.word_embeddings.weight)
    assert backbone.spec.name == f"towers:untrained-tiny+{folder}"


def test_of_a_model_of_both_sides_the_vision_half_is_taken(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        sides = {"vision_config": {**WIDE, **PICTURES}, "text_config": {**WIDE, "vocab_size": 50, "bos_token_id": 1}}
        model = CLIPModel(CLIPConfig(**sides, projection_dim=8)).eval()
    model.save_pretrained(tmp_path / "clip")
    backbone = load_backbone(towers(vision=str(with_preprocessor(tmp_path / "clip"))))
    pixels = torch.from_numpy(backbone.vision.prepare(picture()))[None]
    with torch.no_grad():
        expected = model.vision_model(pixels).last_hidden_state[0]
    np.testing.assert_allclose(backbone.vision.encode([picture()])[0], expected.numpy(), atol=1e-4)


def test_both_towers_can_be_adapted_or_be_untrained(tmp_path: Path) -> None:
    text, _ = bert(tmp_path / "bert")
    build("vit").save_pretrained(tmp_path / "vit")
    both = {"vision": str(with_preprocessor(tmp_path / "vit")), "text": str(text)}
    sizes = spec(towers(**both, lora=LoraSettings(rank=2, layers=1)))
    assert sizes.vision_adapters is not None
    assert sizes.text_adapters is not None
    assert list(sizes.text_adapters.matrices) == ["layer02_query", "layer02_value"]
    trained, random = (load_backbone(towers(**both, weights=weights)) for weights in ("pretrained", "untrained"))
    assert "untrained" in random.spec.name
    assert not np.allclose(trained.vision.encode([picture()])[0], random.vision.encode([picture()])[0], atol=1e-2)
    assert trained.vision.id != random.vision.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lora": LoraSettings()}, "backbone.lora: untrained-tiny cannot be adapted"),
        ({"weights": "untrained"}, "backbone.weights: untrained-tiny has no untrained weights"),
        ({"weights": "untrained-tiny"}, "backbone.weights: 'towers' has no such weights"),
        ({"vision": "nonesuch"}, "backbone.vision: unknown tower 'nonesuch'"),
    ],
)
def test_what_a_towers_name_cannot_do_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        spec(towers(**change))


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    folder, _ = bert(tmp_path / "bert")
    with pytest.raises(
        UserError, match=r"backbone.vision: .*bert is of type 'bert'; use one of clip_vision_model, dinov2"
    ):
        spec(towers(vision=str(folder)))
    ViltConfig(**WIDE).save_pretrained(tmp_path / "vilt")
    with pytest.raises(UserError, match=r"backbone.text: .*vilt is of type 'vilt'; use one of bert"):
        spec(towers(text=str(tmp_path / "vilt")))
    with pytest.raises(UserError, match=r"backbone.text_tokens: .*bert takes at most 512 tokens"):
        spec(towers(text=str(folder)).model_copy(update={"text_tokens": 600}))
    build("vit").save_pretrained(tmp_path / "vit")
    with pytest.raises(UserError, match=r"preprocessor_config.json: .*it must hold image_mean and image_std"):
        load_backbone(towers(vision=str(tmp_path / "vit")))
    with pytest.raises(
        UserError, match=r"backbone.image_size: .*vit cuts images into patches of 8 pixels; give 32, not 30"
    ):
        spec(towers(vision=str(tmp_path / "vit"), image_size=30))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"broken/config.json: .*restore it from the checkpoint"):
        spec(towers(text=str(tmp_path / "broken")))


def test_a_model_of_the_hub_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(
        UserError, match=r"backbone: 'nobody/nothing' cannot be fetched from the hub \(no route to host\)"
    ):
        spec(towers(vision="nobody/nothing"))


def test_a_relative_folder_in_a_towers_name_starts_at_the_scenarios_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert(tmp_path / "small-bert")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (
        spec(towers(text="small-bert").at(tmp_path)).text_dim
        == spec(towers(text=str(tmp_path / "small-bert"))).text_dim
    )
    with pytest.raises(UserError, match="small-bert"):
        spec(towers(text="small-bert"))
