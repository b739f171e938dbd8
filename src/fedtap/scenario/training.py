"""The section of a scenario on the local training loop. Not here: the loop itself (training)."""

from __future__ import annotations

from typing import Literal

from fedtap.scenario.settings import Count, Fraction, NonNegative, Positive, Rate, Settings

Precision = Literal["fp32", "bf16"]


class TrainingSettings(Settings):
    """The local training loop, the same for every method.

    ``optimizer`` is ``adamw``, or ``sgd`` without momentum. The rate rises linearly over ``warmup_rounds`` rounds from
    ``warmup_lr`` to ``lr``, then falls along a cosine to ``final_ratio * lr`` in the last round. After it every personalising
    method takes ``finetune_steps`` steps at ``finetune_lr`` and keeps, of the states seen every ``select_every`` steps, the best
    on the client's validation split.
    ``micro_batch`` is how many examples go through the network at once where a whole batch would not fit into memory: gradients
    are accumulated over the parts of a batch, weighted as the means of the whole weigh them, and a step is still one step; a loss
    that compares examples (``disentangle``) needs batches whole. ``recompute`` keeps of adapted tower layers what goes in and
    computes the rest again in the backward pass: less memory, a third more arithmetic. ``precision`` is that of matrix
    products: ``bf16`` multiplies in bfloat16, in training as in evaluation; what is trained, sent and added up stays float32.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Rate = 1e-3
    warmup_rounds: Count = 2
    warmup_lr: NonNegative = 0.0
    final_ratio: Fraction = 0.2
    weight_decay: NonNegative = 0.01
    clip: Rate = 1.0
    finetune_steps: Count = 20
    finetune_lr: Rate = 3e-4
    select_every: Positive = 5
    micro_batch: Positive | None = None
    recompute: bool = False
    precision: Precision = "fp32"
