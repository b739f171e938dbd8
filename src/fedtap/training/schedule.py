"""Learning rates over rounds: linear warm-up, then a cosine to a low rate, so that every method ends quietly."""

from __future__ import annotations

import math

from fedtap.scenario.scenario import TrainingSettings


def round_rate(settings: TrainingSettings, round_number: int, rounds: int) -> float:
    """Return the learning rate of a round (1-based).

    >>> settings = TrainingSettings(lr=1.0, warmup_rounds=2, final_ratio=0.1)
    >>> [round(round_rate(settings, t, 5), 3) for t in (1, 2, 3, 4, 5)]
    [0.5, 1.0, 0.775, 0.325, 0.1]
    """
    warmup = settings.warmup_rounds
    if round_number <= warmup:
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * round_number / warmup
    progress = (round_number - warmup) / max(1, rounds - warmup)
    low = settings.final_ratio
    return settings.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def finetune_rates(settings: TrainingSettings, steps: int) -> list[float]:
    """Return the rates of the low-rate fine-tuning, falling linearly from ``finetune_lr`` to a tenth of it."""
    return [settings.finetune_lr * (1 - 0.9 * step / max(1, steps - 1)) for step in range(steps)]
