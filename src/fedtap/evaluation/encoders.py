"""Frozen text encoders that measure how near two texts are: the packaged MiniLM, a folder, or a model in the hub's cache.

Nothing is downloaded here. An embedding is the same to the last bit whatever is encoded beside it (fixed batches, see
:mod:`fedtap.backbones.batches`), so that a score cannot depend on the order of examples. Not here: towers that a network is built
on (:mod:`fedtap.backbones`), and the score (:mod:`fedtap.metrics.bertscore`).
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fedtap.backbones import minilm
from fedtap.backbones.batches import bucket_length, run_fixed_batches
from fedtap.backbones.weights import load_once, quiet
from fedtap.hub import record
from fedtap.metrics.bertscore import Embeddings, TokenEncoder
from fedtap.runtime.errors import UserError
from fedtap.runtime.folder_or_hub import folder_named
from fedtap.runtime.home import expanded
from fedtap.runtime.installing import install
from fedtap.runtime.text import one_line

KEY = "evaluation.bertscore_encoder"
LIMIT = 512
"""The most tokens of a text, special ones among them; what a model can take may be less."""
BATCH = 8


def find_encoder(name: str, folder: Path, device: torch.device) -> TokenEncoder:
    """Return an encoder, after checking that it is there.

    Parameters
    ----------
    name
        ``minilm-l6``, a folder that ``save_pretrained`` wrote (model and tokenizer), or the name of a model in the hub's cache.
    folder
        Where a relative folder starts.
    device
        Where the encoder runs.

    Raises
    ------
    UserError
        If it is not there; says how to get it.
    """
    if name == minilm.NAME:
        return PackagedEncoder(device)
    place = (folder / expanded(name)).resolve()
    if folder_named(name, place, key=KEY) is not None:
        return FolderEncoder(place.name, place, device)
    return FolderEncoder(name, _cached(name, place), device)


class PackagedEncoder:
    """The MiniLM that comes as a package; its weights are shared with the text tower of that name."""

    name = minilm.NAME

    def __init__(self, device: torch.device) -> None:
        if importlib.util.find_spec(minilm.PACKAGE) is None:
            package = minilm.PACKAGE.replace("_", "-")
            raise UserError(
                f"{KEY}: '{self.name}' needs the package '{package}'; {install('quickstart')}, or give a folder"
            )
        minilm.folder()
        self._tower = minilm.text_tower(LIMIT, device)

    def __call__(self, texts: Sequence[str]) -> list[Embeddings]:
        """Return the last hidden states of each text's word pieces ``(tokens, 384)``."""
        return [states[1:-1] for states in self._tower.encode(texts)]  # without start and end token


class FolderEncoder:
    """A model of transformers, from a folder: its last hidden states.

    Weights are read from safetensors alone, and no code of the folder is run.

    Parameters
    ----------
    name
        What it is called in results.
    place
        The folder.
    device
        Where it runs.

    Raises
    ------
    UserError
        If the folder is no such model; a text is encoded at once to see it.
    """

    def __init__(self, name: str, place: Path, device: torch.device) -> None:
        self.name, self._place, self._device = name, place, device
        if not any(place.glob("*.safetensors")):
            raise UserError(
                f"{KEY}: {place} holds no *.safetensors; write it with save_pretrained, or give another folder"
            )
        with _one_line(place), quiet():
            from transformers import AutoConfig, AutoTokenizer

            config = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            most = (LIMIT, self._tokenizer.model_max_length, getattr(config, "max_position_embeddings", LIMIT))
            self._limit = min(most)
            self(["a"])

    def __call__(self, texts: Sequence[str]) -> list[Embeddings]:
        """Return the last hidden states of each text's tokens ``(tokens, dim)``, special ones left out."""
        cut = [
            self._tokenizer(text, truncation=True, max_length=self._limit, return_special_tokens_mask=True)
            for text in texts
        ]
        ids: list[list[int]] = [each["input_ids"] for each in cut]
        buckets: dict[int, list[int]] = {}
        for row, tokens in enumerate(ids):
            if tokens:
                buckets.setdefault(bucket_length(len(tokens), self._limit), []).append(row)
        batches = [
            rows[start : start + BATCH] for _, rows in sorted(buckets.items()) for start in range(0, len(rows), BATCH)
        ]

        def run(rows: list[int]) -> Tensor:
            padded = torch.full(
                (len(rows), bucket_length(len(ids[rows[0]]), self._limit)), self._tokenizer.pad_token_id or 0
            )
            mask = torch.zeros(padded.shape, dtype=torch.long)
            for at, row in enumerate(rows):
                padded[at, : len(ids[row])] = torch.tensor(ids[row])
                mask[at, : len(ids[row])] = 1
            out = module(input_ids=padded.to(self._device), attention_mask=mask.to(self._device))
            return cast(Tensor, out.last_hidden_state)

        module = load_once((f"{KEY} {self._place}", str(self._device)), self._load)
        embedded: list[Embeddings] = [np.empty((0, 1), np.float32)] * len(ids)
        for row, states in run_fixed_batches(batches, run, rows=BATCH, device=self._device):
            real = np.array(cut[row]["special_tokens_mask"]) == 0
            embedded[row] = states[: len(ids[row])][real]
        return embedded

    def _load(self) -> nn.Module:
        from transformers import AutoModel

        module, found = AutoModel.from_pretrained(
            self._place,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        # a pooler would be on top of the hidden states; anything else that is missing would be drawn at random
        missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise UserError(
                f"{KEY}: {self._place} lacks {len(missing)} tensors of the encoder, such as {missing[0]}; give a whole model"
            )
        return cast(nn.Module, module.to(self._device))


def _cached(name: str, place: Path) -> Path:
    """Return the folder of a hub's model in this machine's cache."""
    from huggingface_hub import try_to_load_from_cache

    if "/" in name and (here := record.at_hand("model", name)) is not None:
        return here.folder
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # the hub has no names of this form
        found = None
    if not isinstance(found, str):
        raise UserError(
            f"{KEY}: '{name}' is neither {minilm.NAME}, nor a folder ({place}), nor in the hub's cache on this machine; give a "
            f"folder, or get the model beforehand with: fedtap fetch SCENARIO"
        )
    return Path(found).parent


@contextlib.contextmanager
def _one_line(place: Path) -> Iterator[None]:
    """Turn what transformers says of a folder that it cannot use into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a broken folder fails in many ways
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{KEY}: {place} does not encode texts ({reason}); give an encoder that save_pretrained wrote, with its tokenizer"
        ) from error
