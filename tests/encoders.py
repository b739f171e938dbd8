"""Small encoders of every architecture that can be taken apart, with random weights; inputs for them, and folders."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedtap.backbones.encoders import FACTS, model_class
from fedtap.backbones.encoders.facts import kinds
from vocabularies import SORTS, write_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
WIDE = {**SIZES, "intermediate_size": 64}
PICTURES = {"image_size": 32, "patch_size": 8}
VISION, TEXT = kinds(pixels=True), kinds(pixels=False)
KINDS = sorted(FACTS)
ASK = {
    "name": "ask",
    "type": "text_generation",
    "modality": "image+text",
    "domain": "d",
    "source": "csv",
    "path": "t.csv",
}
"""A task on a table of pictures, questions and answers."""
_STAGES = {"depths": [1, 1], "image_size": 32, "patch_size": 4}
TINY: dict[str, dict[str, Any]] = {
    "bert": WIDE,
    "roberta": {**WIDE, "max_position_embeddings": 66, "pad_token_id": 1},
    "xlm-roberta": {**WIDE, "max_position_embeddings": 66, "pad_token_id": 1},
    "electra": {**WIDE, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
    "mpnet": {**WIDE, "max_position_embeddings": 66},
    "albert": {**WIDE, "embedding_size": 16, "num_hidden_groups": 1},
    "deberta-v2": {
        **WIDE,
        "relative_attention": True,
        "position_buckets": 4,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "conv_kernel_size": 3,
        "type_vocab_size": 0,
    },
    "modernbert": {
        **WIDE,
        "local_attention": 4,
        "global_attn_every_n_layers": 3,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
    "t5": {"d_model": 32, "d_kv": 6, "d_ff": 64, "num_layers": 3, "num_heads": 4, "feed_forward_proj": "gated-gelu"},
    "clip_text_model": {**WIDE, "bos_token_id": 2, "eos_token_id": 3},
    "siglip_text_model": {**WIDE, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 64},
    "flava_text_model": WIDE,
    "flava_image_model": {**WIDE, **PICTURES},
    "vit": {**WIDE, **PICTURES},
    "deit": {**WIDE, **PICTURES},
    "dinov2": {**SIZES, "mlp_ratio": 2, **PICTURES},
    "dinov2_with_registers": {**SIZES, "mlp_ratio": 2, **PICTURES, "num_register_tokens": 3, "use_swiglu_ffn": True},
    "dinov3_vit": {**WIDE, **PICTURES, "num_register_tokens": 3},
    "beit": {**WIDE, **PICTURES, "use_relative_position_bias": True, "use_mean_pooling": False},
    "siglip_vision_model": {**WIDE, **PICTURES},
    "clip_vision_model": {**WIDE, **PICTURES},
    "swin": {**_STAGES, "embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4, "mlp_ratio": 2},
    "convnext": {**_STAGES, "num_stages": 2, "hidden_sizes": [16, 32], "depths": [2, 1]},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 1], "layer_type": "bottleneck"},
}
"""What differs from each configuration's own values: three layers, or blocks in two stages, that are 32 wide in the end."""
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def config_of(kind: str, **values: Any) -> Any:
    """Return the configuration of a small encoder of a kind."""
    from transformers import AutoConfig, FlavaImageConfig, FlavaTextConfig

    words = {} if FACTS[kind].pixels else {"vocab_size": 50}
    given = {**words, **TINY[kind], **values}
    special = {"flava_image_model": FlavaImageConfig, "flava_text_model": FlavaTextConfig}
    return special[kind](**given) if kind in special else AutoConfig.for_model(kind, **given)


def build(kind: str, **values: Any) -> nn.Module:
    """Return a small encoder of a kind, with random weights."""
    config = config_of(kind, **values)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = model_class(config)(config)
        # positions and classification tokens start at zero, where faults would hide
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                nn.init.normal_(buffer, std=0.3)
            elif name.endswith("running_var"):
                nn.init.uniform_(buffer, 0.5, 2.0)
    return model.eval().requires_grad_(False)


def inputs(kind: str, side: int = 32, length: int = 7) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return two pictures, or two texts of which one is padded."""
    generator = torch.Generator().manual_seed(1)
    if FACTS[kind].pixels:
        return torch.randn(2, 3, side, side, generator=generator), None
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, 4:] = False
    ids = torch.randint(4, 50, (2, length), generator=generator)
    return ids.masked_fill(~mask, pad_of(kind)), mask


def pad_of(kind: str) -> int:
    """Return the id that a kind of text encoder is padded with."""
    return 1 if kind in ("roberta", "xlm-roberta", "mpnet") else 0


def own_output(model: nn.Module, kind: str, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return what the model itself gives, as tokens ``(n, tokens, dim)``."""
    told = {} if mask is None else {"attention_mask": mask.long()}
    if FACTS[kind].pixels and values.shape[-1] != 32:
        told = {} if kind in BY_THEMSELVES else {"interpolate_pos_encoding": True}  # type: ignore[dict-item]
    out: torch.Tensor = model(values, **told).last_hidden_state
    return out if out.dim() == 3 else out.flatten(2).transpose(1, 2)


BY_THEMSELVES = ("dinov2", "dinov2_with_registers", "dinov3_vit", "beit", "convnext", "resnet")
"""Those that take pictures of any size without being told to."""


def write(kind: str, folder: Path) -> nn.Module:
    """Save a small encoder as a tower: with its tokenizer, or with how it takes its pixels; return it."""
    words = {} if FACTS[kind].pixels else {"vocab_size": SORTS[kind][0].get_vocab_size()}
    model = build(kind, **words)
    model.save_pretrained(folder)  # type: ignore[operator]
    if FACTS[kind].pixels:
        write_preprocessor(folder)
    else:
        write_tokenizer(folder, kind)
    return model


def write_preprocessor(folder: Path) -> Path:
    """Write how a vision encoder takes its pixels; return the folder."""
    values = {"image_mean": MEAN, "image_std": DEVIATION, "resample": 3, "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def write_pair(stem: str, folder: Path) -> nn.Module:
    """Save a small CLIP or SigLIP, with the tokenizer of its text half, and return it."""
    import transformers

    kind = stem.lower()
    text = f"{kind}_text_model"
    words = {**TINY[text], "vocab_size": SORTS[text][0].get_vocab_size()}
    config = getattr(transformers, f"{stem}Config")(vision_config=TINY[f"{kind}_vision_model"], text_config=words)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model: nn.Module = getattr(transformers, f"{stem}Model")(config).eval()
    model.save_pretrained(folder)  # type: ignore[operator]
    write_tokenizer(folder, text)
    write_preprocessor(folder)
    return model
