"""Several models that answer together: the mean of their outputs. One of them may be in training; the others do not move.

The mean is of raw outputs: of logits for classes; of hidden vectors for texts, which is the mean of logits too, since those are
linear in them; of pictures. For classes and texts the common answer is thus the normalised geometric mean of the models'
distributions, a product of experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.network.architecture import TaskOutput
from fedtap.network.network import Network


def ensemble_outputs(
    network: Network, outputs: Sequence[TaskOutput], ensemble_with: Sequence[ComponentState], batch: Batch
) -> Sequence[TaskOutput]:
    """Return a model's outputs for a batch, averaged with those of the models beside it; with none, as they are.

    No gradient reaches the models beside it. All but the raw output (head, fused tokens) stays the first model's.
    """
    if not ensemble_with:
        return outputs
    others = [network.run_as(state, batch) for state in ensemble_with]
    return [
        replace(mine, output=torch.stack([mine.output, *(other[i].output for other in others)]).mean(dim=0))
        for i, mine in enumerate(outputs)
    ]
