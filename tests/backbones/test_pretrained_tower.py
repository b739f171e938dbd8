"""Transformers of a local folder as towers, held against transformers' own forward pass."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, ViltConfig

from encoders import DEVIATION, MEAN, TEXT, VISION, WIDE, build, own_output, pad_of, write, write_pair
from encoders import write_preprocessor as with_preprocessor
from fedtap.backbones import load_backbone, spec
from fedtap.backbones.encoders import facts_of
from fedtap.backbones.untrained import tiny_pieces
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings, LoraSettings


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
def test_a_vision_encoder_of_a_folder_is_a_tower(kind: str, tmp_path: Path) -> None:
    model = write(kind, tmp_path / kind)
    backbone = load_backbone(towers(vision=str(tmp_path / kind)))
    pixels = (picture().astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    with torch.no_grad():
        expected = own_output(model, kind, torch.from_numpy(pixels.transpose(2, 0, 1))[None], None)[0]
    np.testing.assert_allclose(backbone.vision.encode([picture()])[0], expected.numpy(), atol=1e-4)
    sizes, grid = backbone.spec, facts_of(model.config).grid
    assert grid is not None
    assert (sizes.vision_tokens, sizes.vision_dim) == tuple(expected.shape)
    assert (sizes.vision_tokens - sizes.vision_lead) ** 0.5 == 32 // grid.stride(model.config)
    assert sizes.vision_placed == any("position_embed" in name for name, _ in model.named_parameters())
    assert sizes.fusion is None


@pytest.mark.parametrize("kind", TEXT)
def test_a_text_encoder_of_a_folder_is_a_tower(kind: str, tmp_path: Path) -> None:
    model = write(kind, tmp_path / kind)
    backbone = load_backbone(towers(text=str(tmp_path / kind)))
    ids = torch.from_numpy(backbone.text.prepare("yes it is red"))[None]
    with torch.no_grad():
        expected = own_output(model, kind, ids, torch.ones(ids.shape, dtype=torch.bool))[0]
    long, short = backbone.text.encode(["yes it is red and it is a big film", "yes it is red"])
    assert len(long) > len(short) == len(expected)
    np.testing.assert_allclose(short, expected.numpy(), atol=1e-4)
    inputs: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    assert torch.equal(backbone.vocabulary.embedding, inputs.weight)
    assert backbone.spec.embedding_dim == inputs.weight.shape[1]
    assert backbone.spec.name == f"towers:untrained-tiny+{tmp_path / kind}"
    if kind in ("roberta", "xlm-roberta"):
        assert backbone.vocabulary.pad_id == pad_of(kind)


@pytest.mark.parametrize("kind", ["convnext", "resnet", "swin"])
def test_features_before_an_adapted_block_are_as_wide_as_they_are_there(kind: str, tmp_path: Path) -> None:
    """With stages the grid and the width change on the way: what is cached is not what the network sees in the end."""
    write(kind, tmp_path / kind)
    write("bert", tmp_path / "bert")
    places = {"vision": str(tmp_path / kind), "text": str(tmp_path / "bert")}
    backbone = load_backbone(towers(**places, lora=LoraSettings(rank=2, layers=2)))
    features = backbone.vision.encode([picture(), picture()])
    assert {each.shape for each in features} == {(64, backbone.vision.dim)}
    assert backbone.vision.dim == 16 < backbone.spec.vision_dim
    layers = backbone.vision.adapted()
    assert layers is not None
    layers.hold({name: nn.Parameter(torch.zeros(shape)) for name, shape in layers.adapters.shapes().items()})
    out = layers(torch.from_numpy(np.stack(features)), None)
    assert out.shape == (2, backbone.spec.vision_tokens, backbone.spec.vision_dim)
    frozen = load_backbone(towers(vision=places["vision"])).vision.encode([picture()])[0]
    np.testing.assert_allclose(out[1].detach().numpy(), frozen, atol=1e-4)


@pytest.mark.parametrize("stem", ["CLIP", "Siglip"])
def test_a_pair_is_one_backbone_or_two_towers_with_the_same_features(stem: str, tmp_path: Path) -> None:
    model = write_pair(stem, tmp_path / stem)
    place = str(tmp_path / stem)
    whole = load_backbone(towers(name=stem.lower(), path=place))
    halves = load_backbone(towers(vision=place, text=place))
    pixels = torch.from_numpy(whole.vision.prepare(picture()))[None]
    ids = torch.from_numpy(whole.text.prepare("yes it is red"))[None]
    with torch.no_grad():
        seen = model.vision_model(pixels).last_hidden_state[0]  # type: ignore[operator,union-attr]
        read = model.text_model(ids).last_hidden_state[0]  # type: ignore[operator,union-attr]
    for each in (whole, halves):
        np.testing.assert_allclose(each.vision.encode([picture()])[0], seen.numpy(), atol=1e-4)
        np.testing.assert_allclose(each.text.encode(["yes it is red"])[0], read.numpy(), atol=1e-4)
        assert each.spec.vision_tokens == len(seen)
    assert whole.spec.name == f"{stem.lower()}:{stem}"
    assert len({whole.vision.id, whole.text.id, halves.vision.id, halves.text.id}) == 4
    with pytest.raises(UserError, match=r"backbone.lora.targets: 'qkv' is no part of a layer; .*image half has query"):
        spec(towers(name=stem.lower(), path=place, lora=LoraSettings(targets=("qkv",))))


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_pair_may_be_untrained(name: str) -> None:
    backbone = load_backbone(towers(name=name, weights="untrained-tiny", vision="x", text="x"))
    assert backbone.spec.name == f"{name}:untrained-tiny"
    assert backbone.text.encode(["yes"])[0].shape == (3, 32)
    published = spec(towers(name=name, weights="untrained", image_size=224, text_tokens=64))
    assert published.vision_tokens == {"clip": 50, "siglip": 196}[name]


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
        UserError,
        match=r"backbone.vision: .*bert is of type 'bert'; use one of beit, .*vit; as backbone.text it will do",
    ):
        spec(towers(vision=str(folder)))
    ViltConfig(**WIDE).save_pretrained(tmp_path / "vilt")
    with pytest.raises(
        UserError, match=r"backbone.text: .*vilt is of type 'vilt'; use one of albert, bert.*xlm-roberta$"
    ):
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
    write("roberta", tmp_path / "roberta")
    with pytest.raises(UserError, match=r"backbone.text_tokens: .*roberta takes at most 64 tokens, not 66; give 64"):
        spec(towers(text=str(tmp_path / "roberta")).model_copy(update={"text_tokens": 66}))
    write("swin", tmp_path / "swin")
    with pytest.raises(
        UserError, match=r"backbone.image_size: .*swin takes no images below 32 pixels, not 16; give 32"
    ):
        spec(towers(vision=str(tmp_path / "swin"), image_size=16))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"broken/config.json: .*restore it from the checkpoint"):
        spec(towers(text=str(tmp_path / "broken")))


def test_a_model_of_the_hub_that_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(
        UserError, match=r"backbone: 'nobody/nothing' cannot be fetched from the hub \(no route to host\)"
    ):
        spec(towers(vision="nobody/nothing"))
    (tmp_path / "models" / "vit-small").mkdir(parents=True)
    mistyped = towers(vision="models/vit-smal").at(tmp_path)
    with pytest.raises(
        UserError, match=r"cannot be fetched .*; nor is there a folder .*vit-smal \(did you mean 'vit-small'\?\)"
    ):
        spec(mistyped)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("~/nowhere/vit", r"there is no folder .*nowhere/vit \(the path is there up to .*\); mend the path"),
        ("./vit-smal", r"there is no folder .*vit-smal \(did you mean 'vit-small'\?\); mend the path"),
        ("old/models/vit", r"there is no folder .*old/models/vit"),
        ("vit-small", r"the folder .*vit-small has no config.json; give one that save_pretrained wrote"),
        ("vit-small/weights.bin", r".*weights.bin is a file; give the folder that it lies in"),
        ("cache", r"the folder .*cache has no config.json; .* \(.*snapshots/abc has one\)"),
        ("vit-sma", r"unknown tower 'vit-sma', and there is no such folder"),
    ],
)
@pytest.mark.parametrize("side", ["vision", "text"])
def test_a_path_with_a_slip_in_it_is_never_asked_of_the_hub(
    side: str, name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "vit-small").mkdir()
    (tmp_path / "vit-small" / "weights.bin").touch()
    (tmp_path / "cache" / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "cache" / "snapshots" / "abc" / "config.json").touch()
    with pytest.raises(UserError, match=rf"^backbone.{side}: {says}"):
        spec(towers(**{side: name}).at(tmp_path))


def test_a_folder_of_code_is_refused_and_none_of_it_is_run(tmp_path: Path) -> None:
    write("vit", tmp_path / "vit")
    config = json.loads((tmp_path / "vit" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "vit" / "config.json").write_text(json.dumps(config))
    (tmp_path / "vit" / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match=r"vit/config.json: .*restore it from the checkpoint"):
        spec(towers(vision=str(tmp_path / "vit")))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = write("roberta", tmp_path / "roberta")
    (tmp_path / "roberta" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "roberta" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"roberta: holds no .safetensors file; save the model with save_pretrained"):
        load_backbone(towers(text=str(tmp_path / "roberta")))


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
