"""Encoders for BERTScore: a folder, the hub's cache and the packaged MiniLM, each against the library itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchmetrics.functional.text.bert import bert_score
from transformers import AutoModel, AutoTokenizer, T5Config, T5Model

from fedtap.backbones import minilm
from fedtap.backbones.weights import loads
from fedtap.evaluation.encoders import find_encoder
from fedtap.metrics.bertscore import BertScore, f1
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install
from tiny_bert import LENGTH, write_bert

CPU = torch.device("cpu")
TEXTS = [
    "this film was good",
    "a big red house",
    "the cat is in the house.",
    "yes",
    "dogs",
    "a movie on the big blue dog",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("encoders") / "tiny-bert")


def library_states(folder: Path, text: str) -> np.ndarray:
    """Return the hidden states of one text alone, without padding and without its first and last token."""
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(tokens["input_ids"]).last_hidden_state
    return states[0, 1:-1].double().numpy()


def greedy(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return BERTScore's F1, cosine by cosine."""
    cosines = [[float(p @ r / np.sqrt((p @ p) * (r @ r))) for r in reference] for p in prediction]
    precision = sum(max(row) for row in cosines) / len(prediction)
    recall = sum(max(row[j] for row in cosines) for j in range(len(reference))) / len(reference)
    return 2 * precision * recall / (precision + recall)


def test_the_score_of_a_folder_by_hand(folder: Path) -> None:
    metric = BertScore(find_encoder("tiny-bert", folder.parent, CPU))
    assert metric.name == "bertscore_f1[tiny-bert]"
    predictions, references = TEXTS[:3], TEXTS[3:]
    by_hand = [
        greedy(library_states(folder, a), library_states(folder, b))
        for a, b in zip(predictions, references, strict=True)
    ]
    assert len(set(np.round(by_hand, 2))) == 3  # else the model would tell nothing apart
    assert metric(predictions, references) == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert metric(TEXTS, TEXTS) == pytest.approx(1)


def test_it_agrees_with_torchmetrics(folder: Path) -> None:
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    embedded = dict(zip(TEXTS, find_encoder(str(folder), Path(), CPU)(TEXTS), strict=True))
    cosines = {pair: cosine_matrix(*(embedded[text] for text in pair)) for pair in pairs}
    # where all cosines of a token are negative, torchmetrics takes the zero of a special token for its match
    sound = [pair for pair in pairs if min(cosines[pair].max(0).min(), cosines[pair].max(1).min()) > 0]
    assert len(sound) > len(pairs) / 2
    model, tokenizer = AutoModel.from_pretrained(folder), LibraryTokenizer(folder)
    for (
        a,
        b,
    ) in sound:  # one by one: of texts of several lengths torchmetrics 1.9 compares the wrong ones with each other
        theirs = bert_score([a], [b], model=model, user_tokenizer=tokenizer, max_length=LENGTH)
        assert f1(embedded[a], embedded[b]) == pytest.approx(float(theirs["f1"]), abs=1e-5)


def cosine_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


class LibraryTokenizer:
    """A tokenizer as torchmetrics calls one."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def __call__(self, texts: list[str], max_length: int, **options: object) -> dict[str, torch.Tensor]:
        return dict(self.tokenizer(texts, padding="max_length", max_length=max_length, return_tensors="pt"))


def test_an_embedding_is_the_same_whatever_is_beside_it(folder: Path) -> None:
    encoder = find_encoder(str(folder), Path(), CPU)
    alone = [encoder([text])[0].tobytes() for text in TEXTS]
    together = [states.tobytes() for states in encoder([*TEXTS * 3, "the dog " * 7])]
    assert together[: 3 * len(TEXTS)] == alone * 3


def test_special_tokens_are_left_out_and_long_texts_are_cut(folder: Path) -> None:
    encoder = find_encoder(str(folder), Path(), CPU)
    assert [len(states) for states in encoder(["", "yes", "dogs", "yes " * 50])] == [0, 1, 2, LENGTH - 2]
    assert BertScore(encoder)(["", "yes"], ["yes", "yes"]) == pytest.approx(0.5)


def test_the_model_is_read_once(folder: Path) -> None:
    find_encoder(str(folder), Path(), CPU)
    before = loads()
    for _ in range(2):
        find_encoder(str(folder), Path(), CPU)(TEXTS)
    assert loads() == before


def test_a_relative_folder_starts_at_the_scenarios(folder: Path) -> None:
    encoder = find_encoder(
        "../encoders-here/tiny-bert".replace("encoders-here", folder.parent.name), folder.parent, CPU
    )
    assert encoder.name == "tiny-bert"


def test_a_model_in_the_hubs_cache_is_used_without_the_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "models--somebody--tiny-bert"
    shutil.copytree(folder, place / "snapshots" / "abc123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", refuse)
    encoder = find_encoder("somebody/tiny-bert", tmp_path, CPU)
    assert encoder.name == "somebody/tiny-bert"
    assert len(encoder(["a red cat"])[0]) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("somebody/never-fetched", "'somebody/never-fetched' is neither minilm-l6, nor a folder"),
        ("never-fetched", "'never-fetched' is neither minilm-l6, nor a folder"),
        ("no/such/folder", "there is no folder"),
        ("./nowhere", "there is no folder"),
    ],
)
def test_an_encoder_that_is_not_here_is_not_fetched(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert says in told(name, tmp_path)


def refuse(*anything: object) -> None:
    raise AssertionError("the network was used")


def told(name: str, folder: Path) -> str:
    """Return the line that an encoder is refused with."""
    with pytest.raises(UserError, match=r"^evaluation\.bertscore_encoder: ") as refused:
        find_encoder(name, folder, CPU)
    assert "\n" not in str(refused.value)
    return str(refused.value)


class TestABrokenFolder:
    @pytest.fixture
    def copy(self, folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    def test_pickled_weights_alone_are_not_read(self, copy: Path) -> None:
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
        assert "holds no *.safetensors; write it with save_pretrained" in told("copy", copy.parent)

    def test_a_tensor_is_missing(self, copy: Path) -> None:
        weights = load_file(copy / "model.safetensors")
        for name in ("encoder.layer.1.output.dense.weight", "pooler.dense.weight"):
            del weights[name]
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        assert "lacks 1 tensors of the encoder, such as encoder.layer.1.output.dense.weight" in told(
            "copy", copy.parent
        )

    @pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_file_is_damaged(self, copy: Path, file: str) -> None:
        (copy / file).write_text("{")
        assert "does not encode texts" in told("copy", copy.parent)

    def test_a_model_with_a_decoder(self, copy: Path) -> None:
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 60}
        T5Model(T5Config(**sizes)).save_pretrained(copy)
        assert "does not encode texts" in told("copy", copy.parent)


class TestPackaged:
    def test_its_package_is_named_where_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_at_all")
        assert f"needs the package 'no-such-package-at-all'; {install('quickstart')}, or give a folder" in told(
            "minilm-l6", Path()
        )

    def test_it_is_the_text_towers_model(self) -> None:
        pytest.importorskip(minilm.PACKAGE)
        metric = BertScore(find_encoder("minilm-l6", Path(), CPU))
        assert metric.name == "bertscore_f1[minilm-l6]"
        text = "an unforgettable film"
        ours = find_encoder("minilm-l6", Path(), CPU)([text])[0]
        np.testing.assert_allclose(ours, library_states(minilm.folder(), text), atol=1e-5)
        good, bad = (metric([text], [other]) for other in ("a movie to remember", "the square root of two"))
        assert good > bad
