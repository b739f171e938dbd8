"""What is known of each architecture: where its embeddings, blocks and closing norm are, what LoRA adapts, how long texts may be.

A new architecture whose blocks take hidden states and a mask is a few lines here, and one in the tests' encoders.py: they
compare it with its own forward pass. Blocks that take more (relative positions, rotations, windows) are called as ``calls.py``
and ``grids.py`` say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fedtap.runtime.errors import UserError

Config = Any
"""A configuration of transformers, whose attributes are typed too loosely to be of use."""
Calls = Literal[
    "plain", "causal", "relative", "disentangled", "t5", "rotary", "grid-rotary", "beit", "windows", "convolutions"
]
"""How the blocks are called; see ``calls.py``."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a vision encoder makes tokens of an image; each fact is asked of the configuration.

    Parameters
    ----------
    stride
        Pixels a side of what one token stands for.
    lead
        Tokens before those of the grid (classification token, registers).
    placed
        Whether tokens know their places on the grid already: absolute position embeddings, and nothing less.
    smallest
        The least size of an image in pixels; 0 where there is none.
    """

    stride: Callable[[Config], int] = lambda config: _side(config.patch_size)
    lead: Callable[[Config], int] = lambda config: 1
    placed: Callable[[Config], bool] = lambda config: True
    smallest: Callable[[Config], int] = lambda config: 0


@dataclass(frozen=True, slots=True)
class Facts:
    """An architecture.

    Parameters
    ----------
    targets
        What LoRA can adapt in a block: role -> path within the block. Of several paths the one that the block has counts.
    adapted
        The roles that LoRA adapts if nobody chooses.
    grid
        Of a vision encoder; None makes it one of texts.
    before
        The modules that run before the first block, by path; those that a model does without are left out.
    layers
        The path of the list of blocks, or of the list of stages that hold them.
    after
        The path of the closing norm, or None.
    calls
        How the blocks are called.
    model
        The class, where ``AutoModel`` would take another one, or has none.
    dim
        Width of the last hidden states.
    embedding_dim
        Width of the word embeddings.
    longest
        The most tokens of a text, or None where any number will do.
    """

    targets: Mapping[str, str | tuple[str, ...]]
    adapted: tuple[str, ...] = ("query", "value")
    grid: Grid | None = None
    before: tuple[str, ...] = ("embeddings",)
    layers: str = "encoder.layer"
    after: str | None = None
    calls: Calls = "plain"
    model: str | None = None
    dim: Callable[[Config], int] = lambda config: int(config.hidden_size)
    embedding_dim: Callable[[Config], int] = lambda config: int(config.hidden_size)
    longest: Callable[[Config], int | None] = lambda config: int(config.max_position_embeddings)

    @property
    def pixels(self) -> bool:
        """Whether it is a vision encoder."""
        return self.grid is not None


def _side(size: int | list[int] | tuple[int, ...]) -> int:
    """Return a size that configurations give as a number or as a pair."""
    return int(size if isinstance(size, int) else size[0])


def _after_padding(config: Config) -> int:
    """Return the most tokens where positions are counted from behind the padding token's id, as RoBERTa does."""
    return int(config.max_position_embeddings) - int(config.pad_token_id) - 1


def _factorised(config: Config) -> int:
    return int(config.embedding_size)


_BERT_FEED_FORWARD = {"up": "intermediate.dense", "down": "output.dense"}
_BERT = Facts(
    {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        **_BERT_FEED_FORWARD,
    }
)
_ROBERTA = replace(_BERT, longest=_after_padding)
_FLAVA = replace(
    _BERT, targets={**_BERT.targets, **{role: f"attention.attention.{role}" for role in ("query", "key", "value")}}
)
_VIT_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
_VIT = Facts(
    {
        **{role: f"attention.{name}" for role, name in _VIT_ATTENTION.items()},
        "gate": "mlp.gate_proj",
        "up": ("mlp.fc1", "mlp.up_proj"),
        "down": ("mlp.fc2", "mlp.down_proj"),
    },
    grid=Grid(),
    after="layernorm",
)
_CLIP = Facts(
    {
        **{role: f"self_attn.{name}" for role, name in {**_VIT_ATTENTION, "output": "out_proj"}.items()},
        "up": "mlp.fc1",
        "down": "mlp.fc2",
    },
    layers="encoder.layers",
)

FACTS: dict[str, Facts] = {
    # texts
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": replace(_BERT, before=("embeddings", "embeddings_project"), embedding_dim=_factorised),
    "distilbert": Facts(
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "output": "attention.out_lin",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
        },
        layers="transformer.layer",
    ),
    "mpnet": Facts(
        {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "output": "attention.attn.o",
            **_BERT_FEED_FORWARD,
        },
        calls="relative",
        longest=lambda config: int(config.max_position_embeddings) - 2,  # its padding token is 1, whatever it says
    ),
    "albert": Facts(
        {
            "query": "attention.query",
            "key": "attention.key",
            "value": "attention.value",
            "output": "attention.dense",
            "up": "ffn",
            "down": "ffn_output",
        },
        before=("embeddings", "encoder.embedding_hidden_mapping_in"),
        layers="encoder.albert_layer_groups",
        embedding_dim=_factorised,
    ),
    "deberta-v2": Facts(
        {
            "query": "attention.self.query_proj",
            "key": "attention.self.key_proj",
            "value": "attention.self.value_proj",
            "output": "attention.output.dense",
            **_BERT_FEED_FORWARD,
        },
        calls="disentangled",
        embedding_dim=lambda config: int(getattr(config, "embedding_size", config.hidden_size)),
    ),
    "modernbert": Facts(
        {"qkv": "attn.Wqkv", "output": "attn.Wo", "up": "mlp.Wi", "down": "mlp.Wo"},
        adapted=("qkv",),
        layers="layers",
        after="final_norm",
        calls="rotary",
    ),
    "t5": Facts(
        {
            "query": "layer.0.SelfAttention.q",
            "key": "layer.0.SelfAttention.k",
            "value": "layer.0.SelfAttention.v",
            "output": "layer.0.SelfAttention.o",
            "gate": "layer.1.DenseReluDense.wi_0",
            "up": ("layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wi_1"),
            "down": "layer.1.DenseReluDense.wo",
        },
        before=("encoder.embed_tokens",),
        layers="encoder.block",
        after="encoder.final_layer_norm",
        calls="t5",
        model="T5EncoderModel",
        longest=lambda config: None,
    ),
    "clip_text_model": replace(_CLIP, after="final_layer_norm", calls="causal"),
    "siglip_text_model": replace(_CLIP, after="final_layer_norm", model="SiglipTextModel"),
    "flava_text_model": replace(_FLAVA, after="layernorm", model="FlavaTextModel"),
    # pictures
    "flava_image_model": replace(_FLAVA, after="layernorm", grid=Grid(), model="FlavaImageModel"),
    "vit": replace(_VIT, layers="layers"),
    "deit": replace(_VIT, layers="layers", grid=Grid(lead=lambda config: 2)),  # one more, for distillation
    "dinov2": _VIT,
    "dinov2_with_registers": replace(_VIT, grid=Grid(lead=lambda config: 1 + int(config.num_register_tokens))),
    "dinov3_vit": replace(
        _VIT,
        layers="model.layer",
        after="norm",
        calls="grid-rotary",
        grid=Grid(lead=lambda config: 1 + int(config.num_register_tokens), placed=lambda config: False),
    ),
    "beit": replace(
        _VIT,
        layers="layers",
        calls="beit",
        grid=Grid(placed=lambda config: bool(config.use_absolute_position_embeddings)),
    ),
    "clip_vision_model": replace(_CLIP, before=("embeddings", "pre_layrnorm"), grid=Grid()),  # CLIP's own spelling
    "siglip_vision_model": replace(_CLIP, after="post_layernorm", grid=Grid(lead=lambda config: 0)),
    "swin": replace(
        _VIT,
        layers="encoder.layers",
        calls="windows",
        dim=lambda config: int(config.embed_dim) * 2 ** (len(config.depths) - 1),
        grid=Grid(
            stride=lambda config: _side(config.patch_size) * 2 ** (len(config.depths) - 1),
            lead=lambda config: 0,
            placed=lambda config: bool(config.use_absolute_embeddings),
            # a window that is larger than the last grid has no relative positions in the checkpoint
            smallest=lambda config: _side(config.patch_size) * 2 ** (len(config.depths) - 1) * int(config.window_size),
        ),
    ),
    "convnext": Facts(
        {"up": "pwconv1", "down": "pwconv2"},
        adapted=("up", "down"),
        layers="encoder.stages",
        calls="convolutions",
        dim=lambda config: int(config.hidden_sizes[-1]),
        grid=Grid(
            stride=lambda config: _side(config.patch_size) * 2 ** (int(config.num_stages) - 1),
            lead=lambda config: 0,
            placed=lambda config: False,
        ),
    ),
    "resnet": Facts(
        {f"conv{number + 1}": f"layer.{number}.convolution" for number in range(3)},
        adapted=("conv1", "conv2", "conv3"),
        before=("embedder",),
        layers="encoder.stages",
        calls="convolutions",
        dim=lambda config: int(config.hidden_sizes[-1]),
        grid=Grid(
            stride=lambda config: 4 * 2 ** (len(config.depths) - 1 + bool(config.downsample_in_first_stage)),
            lead=lambda config: 0,
            placed=lambda config: False,
        ),
    ),
}
"""The architectures, by what their configurations call ``model_type``."""


def kinds(*, pixels: bool) -> list[str]:
    """Return the architectures of one side that can be a tower by themselves."""
    return sorted(kind for kind, facts in FACTS.items() if facts.pixels == pixels and not kind.startswith("flava"))


def facts_of(config: Config) -> Facts:
    """Return what is known of a configuration's architecture.

    Raises
    ------
    UserError
        If nothing is.
    """
    kind = str(config.model_type)
    if kind not in FACTS:
        raise UserError(f"backbone: models of type '{kind}' cannot be a tower; use one of {', '.join(sorted(FACTS))}")
    return FACTS[kind]
