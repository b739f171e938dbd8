"""The real towers against their own libraries. Skipped where the packages of the group `quickstart` are absent."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedtap.backbones import load_backbone, loads, minilm, weights
from fedtap.backbones.efficientnet import FILE, WEIGHTS, EfficientNetLite0
from fedtap.backbones.minilm import PACKAGE, MiniLM
from fedtap.backbones.weights import package_folder
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

efficientnet = pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip(WEIGHTS)
pytest.importorskip(PACKAGE)

CPU = torch.device("cpu")
TEXTS = [
    "Is there a red circle?",
    "yes",
    "An unforgettable, quietly devastating film - and one of the year's best.",
    "",
    "word " * 100,
]


@pytest.fixture(scope="module")
def vision() -> EfficientNetLite0:
    return load_backbone(BackboneSettings()).vision  # type: ignore[return-value]


@pytest.fixture(scope="module")
def text() -> MiniLM:
    return load_backbone(BackboneSettings()).text  # type: ignore[return-value]


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))


def test_image_tokens_are_the_last_feature_map_row_by_row(vision: EfficientNetLite0) -> None:
    image = pictures(1)[0]
    network = efficientnet.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(package_folder(WEIGHTS) / FILE)
    ).eval()
    pixels = np.asarray(Image.fromarray(image).resize((96, 96), Image.Resampling.BILINEAR)).astype(np.float64)
    with torch.no_grad():
        inputs = torch.tensor((pixels - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]
        grid = network.extract_features(inputs)[0].numpy()
    tokens = vision.encode([image])[0]
    assert tokens.shape == (9, 1280)
    for row in range(3):
        for column in range(3):
            np.testing.assert_allclose(tokens[3 * row + column], grid[:, row, column], atol=1e-4)


def test_text_features_are_those_of_the_unpadded_library_forward(text: MiniLM) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = package_folder(PACKAGE) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    for given, features in zip(TEXTS, text.encode(TEXTS), strict=True):
        inputs = tokenizer(given, truncation=True, max_length=32, padding=False, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).last_hidden_state[0].numpy()
        assert features.shape == expected.shape
        np.testing.assert_allclose(features, expected, atol=1e-5)


def test_features_are_bit_equal_whatever_the_companions_the_order_and_the_threads() -> None:
    backbone = load_backbone(BackboneSettings())
    texts = [" ".join(["good film"] * (n % 9)) + f" {n}" for n in range(13)]
    for tower, items in ((backbone.vision, pictures(19)), (backbone.text, texts)):
        together = tower.encode(items)
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            backwards = tower.encode(items[::-1])[::-1]
        finally:
            torch.set_num_threads(threads)
        some = [0, 7, len(items) - 1]
        alone = {n: tower.encode([items[n]])[0] for n in some}
        for n, (a, b) in enumerate(zip(together, backwards, strict=True)):
            np.testing.assert_array_equal(a, b)
            if n in some:
                np.testing.assert_array_equal(a, alone[n])


def test_frozen_and_loaded_once(vision: EfficientNetLite0, text: MiniLM) -> None:
    vision.encode(pictures(1))
    text.encode(["one"])
    before = loads()
    kept = {name: value.clone() for name, value in vision.module.state_dict().items()}
    load_backbone(BackboneSettings(text_tokens=16)).text.encode(["two"])
    vision.encode(pictures(2))
    assert loads() == before
    for module in (vision.module, text.module):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    # Batch normalisation keeps running statistics: they are frozen too.
    assert all(torch.equal(kept[name], value) for name, value in vision.module.state_dict().items())


def test_word_embeddings_are_held_once_and_are_the_models(text: MiniLM) -> None:
    words = text.vocabulary.embedding
    assert tuple(words.shape) == (30522, 384)
    assert not words.requires_grad
    assert text.module.get_input_embeddings().weight.data_ptr() == words.data_ptr()  # type: ignore[operator]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is mapped")
def test_word_embeddings_are_pages_of_their_file_which_processes_share(text: MiniLM) -> None:
    place, mapped = text.vocabulary.embedding.data_ptr(), ""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, _, *file = line.split(maxsplit=5)
        start, end = (int(edge, 16) for edge in span.split("-"))
        if start <= place < end:
            mapped = "".join(file)
    assert mapped.endswith("model.safetensors")


def test_the_vocabulary_is_the_libraries(text: MiniLM) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(package_folder(PACKAGE) / "model", local_files_only=True)
    words = text.vocabulary
    assert (len(words), words.start_id, words.end_id) == (30522, tokenizer.cls_token_id, tokenizer.sep_token_id)
    for given in TEXTS:
        expected = tokenizer(given, add_special_tokens=False, truncation=False)["input_ids"]
        assert words.encode(given, limit=500) == [*expected, words.end_id]
    sentence = "the film isn't bad, it's well-made; \"quite good\" (3.5 of 5)."
    assert words.decode(words.encode(sentence.upper(), limit=99)) == sentence


def test_another_text_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(
        package_folder(PACKAGE) / "model", tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")
    )
    (tmp_path / "model" / "model.safetensors").write_bytes(b"another model")
    monkeypatch.setattr(minilm, "package_folder", lambda package: tmp_path)
    monkeypatch.setattr(weights, "_modules", {})
    with pytest.raises(UserError, match=r"model\.safetensors: SHA-256"):
        MiniLM(32, CPU).encode(["hello"])


def test_another_vision_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / FILE).write_bytes(b"another model")
    monkeypatch.setattr(sys.modules["fedtap.backbones.efficientnet"], "package_folder", lambda package: tmp_path)
    monkeypatch.setattr(weights, "_modules", {})
    with pytest.raises(UserError, match=r"efficientnet-lite0-57934424\.pth: SHA-256"):
        EfficientNetLite0(96, CPU).encode(pictures(1))
