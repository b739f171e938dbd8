"""SSIM and ROUGE-L are those of torchmetrics, bit by bit: results of runs that were made with it must not change."""

import random

import pytest
import torch
from torchmetrics.functional.image.ssim import structural_similarity_index_measure
from torchmetrics.functional.text.rouge import rouge_score

from fedtap.tasks.metrics.rouge import rouge_l
from fedtap.tasks.metrics.ssim import structural_similarity
from fedtap.tasks.metrics.text import plain_words


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (8, 3, 64, 64), (3, 3, 11, 20)])
@pytest.mark.parametrize("span", [1.0, 2.0])
def test_structural_similarity(shape: tuple[int, ...], span: float, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(sum(shape))
    for distance in (0.0, 0.01, 0.5):
        output = span * torch.rand(shape, generator=draw, dtype=dtype)
        target = (output + distance * torch.randn(shape, generator=draw, dtype=dtype)).clamp(0, span)
        theirs = structural_similarity_index_measure(output, target, data_range=span, reduction="none")
        assert isinstance(theirs, torch.Tensor)
        assert torch.equal(structural_similarity(output, target, span), theirs.reshape(-1))


def test_rouge_l() -> None:
    draw = random.Random(0)
    words = ["a", "the", "cat", "dog's", "sat", "2", "—", "größer", ""]
    for number in (1, 2, 7, 40):
        predictions, references = (
            [" ".join(draw.choices(words, k=draw.randrange(9))) for _ in range(number)] for _ in range(2)
        )
        theirs = rouge_score(predictions, references, rouge_keys="rougeL", normalizer=plain_words)
        ours = rouge_l(*([plain_words(text).split() for text in texts] for texts in (predictions, references)))
        assert ours == float(theirs["rougeL_fmeasure"])
