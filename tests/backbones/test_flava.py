import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import FlavaModel

from fedtap.backbones import flava, load_backbone, loads, spec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.untrained import tiny_pieces
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings, LoraSettings

TINY = BackboneSettings(name="flava", weights="untrained-tiny", image_size=32, text_tokens=16)
ADAPTED = TINY.model_copy(update={"lora": LoraSettings(rank=2, alpha=4, layers=1)})
RAW = TINY.model_copy(update={"lora": LoraSettings(rank=2, alpha=4)})
CPU = torch.device("cpu")


def picture(seed: int = 0, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint as ``save_pretrained`` leaves it: small, with weights of its own."""
    place = tmp_path / "small-flava"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        FlavaModel(flava._tiny()).save_pretrained(place)
    tiny_pieces().save(str(place / "tokenizer.json"))
    return place


def settings(folder: Path, **more: object) -> BackboneSettings:
    return TINY.model_copy(update={"weights": "pretrained", "path": str(folder), **more})


def test_the_published_sizes_are_known_without_a_network_or_weights() -> None:
    before = loads()
    sizes = spec(BackboneSettings(name="flava", image_size=224, text_tokens=256, lora=LoraSettings()))
    assert (sizes.name, sizes.vision_dim, sizes.vision_tokens, sizes.vision_lead) == (
        "flava:facebook/flava-full",
        768,
        197,
        1,
    )
    assert (sizes.text_dim, sizes.vocabulary, sizes.embedding_dim) == (768, 30522, 768)
    assert sizes.fusion is not None
    assert (sizes.fusion.layers, sizes.fusion.dim, sizes.fusion.heads, sizes.fusion.hidden) == (6, 768, 12, 3072)
    assert sizes.vision_adapters is not None
    assert len(sizes.vision_adapters.shapes()) == 12 * 2 * 2
    assert loads() == before
    assert spec(BackboneSettings(name="flava", image_size=64)).vision_tokens == 17


def test_an_untrained_model_says_so() -> None:
    assert spec(TINY).name == "flava:untrained-tiny"
    assert "untrained" in load_backbone(TINY).vision.id
    assert spec(TINY.model_copy(update={"weights": "untrained", "image_size": 224})).name == "flava:untrained"


def test_features_are_the_models_own_hidden_states(folder: Path) -> None:
    backbone = load_backbone(settings(folder))
    model = FlavaModel.from_pretrained(folder).eval()
    pixels = torch.from_numpy(backbone.vision.prepare(picture()))[None]
    with torch.no_grad():
        expected = model.image_model(pixels).last_hidden_state[0]
        ids = torch.from_numpy(backbone.text.prepare("yes it is red"))[None]
        words = model.text_model(ids).last_hidden_state[0]
    np.testing.assert_allclose(backbone.vision.encode([picture()])[0], expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(backbone.text.encode(["yes it is red"])[0], words.numpy(), atol=1e-5)
    assert torch.equal(backbone.vocabulary.embedding, model.text_model.embeddings.word_embeddings.weight)


def test_pixels_are_scaled_as_the_model_was_trained() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    pixels = load_backbone(TINY).vision.prepare(grey)
    assert pixels.shape == (3, 32, 32)
    np.testing.assert_allclose(
        pixels[:, 0, 0], (128 / 255 - np.array(flava.MEAN)) / np.array(flava.DEVIATION), rtol=1e-5
    )


def test_a_prefix_is_encoded_and_the_rest_of_the_tower_goes_on_from_it() -> None:
    whole, cut = load_backbone(TINY), load_backbone(ADAPTED)
    layers = cut.vision.adapted()
    assert layers is not None
    adapters = cut.spec.vision_adapters
    assert adapters is not None
    layers.hold({name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in adapters.shapes().items()})
    prefix = torch.from_numpy(cut.vision.encode([picture()])[0])[None]
    expected = torch.from_numpy(whole.vision.encode([picture()])[0])[None]
    assert not torch.allclose(prefix, expected, atol=1e-2)
    torch.testing.assert_close(layers(prefix, None), expected, atol=1e-5, rtol=1e-5)
    assert whole.vision.id != cut.vision.id


def test_where_every_layer_is_adapted_pixels_and_ids_go_in() -> None:
    backbone = load_backbone(RAW)
    assert backbone.vision.raw
    assert backbone.text.raw
    layers = backbone.vision.adapted()
    assert layers is not None
    adapters = backbone.spec.vision_adapters
    assert adapters is not None
    layers.hold({name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in adapters.shapes().items()})
    out = layers(torch.from_numpy(backbone.vision.prepare(picture()))[None], None)
    expected = torch.from_numpy(load_backbone(TINY).vision.encode([picture()])[0])[None]
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_the_model_is_read_once_whatever_is_adapted_and_however_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = Checkpoint.load

    def counted(self: Checkpoint, kind: type, config: object) -> torch.nn.Module:
        read.append(self.name)
        return load(self, kind, config)

    monkeypatch.setattr(Checkpoint, "load", counted)
    for lora in (None, LoraSettings(rank=2, layers=1), LoraSettings(rank=2)):
        backbone = load_backbone(settings(folder, lora=lora))
        for tower in (backbone.vision, backbone.text):
            assert tower.module is tower.module
            tower.adapted()
        assert backbone.fusion is not None
        assert len(backbone.fusion(4)) == 4
        assert len(backbone.vocabulary.embedding) == backbone.spec.vocabulary
    assert read == ["flava:small-flava"]


def test_fusion_layers_are_those_of_the_multimodal_transformer(folder: Path) -> None:
    backbone = load_backbone(settings(folder))
    assert backbone.fusion is not None
    model = FlavaModel.from_pretrained(folder)
    for ours, theirs in zip(backbone.fusion(4), model.multimodal_model.encoder.layer, strict=True):
        assert torch.equal(ours["up_w"], theirs.intermediate.dense.weight.T)
        assert torch.equal(ours["q_w"], theirs.attention.attention.query.weight.T)
        assert torch.equal(ours["ln2_b"], theirs.layernorm_after.bias)


def test_other_weights_have_other_ids(folder: Path, tmp_path: Path) -> None:
    one = load_backbone(settings(folder)).vision.id
    other = tmp_path / "other" / "small-flava"
    with torch.random.fork_rng():
        torch.manual_seed(6)
        FlavaModel(flava._tiny()).save_pretrained(other)
    tiny_pieces().save(str(other / "tokenizer.json"))
    assert load_backbone(settings(other)).vision.id != one


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 40}, r"backbone.image_size: flava cuts images into patches of 16 pixels; give 32, not 40"),
        ({"text_tokens": 512, "weights": "untrained-tiny"}, None),
        ({"lora": LoraSettings(layers=3)}, r"backbone.lora.layers: FLAVA's image transformer has 2 layers, not 3"),
        ({"path": "nowhere"}, r"backbone.path: means nothing with weights: untrained-tiny"),
        (
            {"path": "nowhere", "weights": "pretrained"},
            r"backbone.path: there is no folder nowhere; give one written by save_pretrained",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_mend(change: dict[str, object], says: str | None) -> None:
    given = TINY.model_copy(update=change)
    if says is None:
        assert spec(given).text_tokens == 512
        return
    with pytest.raises(UserError, match=says):
        spec(given)


def test_a_damaged_checkpoint_is_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"small-flava: the weights cannot be read"):
        _ = load_backbone(settings(folder)).text.module


def test_a_checkpoint_that_lacks_tensors_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if "image_model.encoder.layer.1" in name)
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != gone},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UserError, match=r"1 tensors are missing"):
        _ = load_backbone(settings(folder)).vision.module


def test_a_damaged_configuration_and_a_missing_tokenizer_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer.json: not a tokenizer that can be read"):
        load_backbone(settings(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: .*restore it"):
        spec(settings(folder))


def test_a_tokenizer_with_more_words_than_the_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = 10
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"the tokenizer of flava:small-flava has \d+ tokens, its text model 10"):
        load_backbone(settings(folder))


def test_a_relative_folder_starts_at_the_scenarios_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    there = settings(Path(folder.name)).at(folder.parent)
    assert spec(there).name == "flava:small-flava"
    assert load_backbone(there).vision.id == load_backbone(settings(folder)).vision.id
    with pytest.raises(UserError, match=r"backbone\.path: there is no folder small-flava;"):
        spec(settings(Path(folder.name)))
