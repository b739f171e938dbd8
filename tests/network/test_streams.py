"""What a model tells of its paths: which there are, whose examples they hold, and that their mean is what the head gets."""

import pytest
import torch

from fedtap.network.architecture import TaskOutput
from fedtap.network.network import Network
from fedtap.network.plain import Plain
from fedtap.pairs import Pair, routes
from tiny import CONCEPTS, DIGITS, LAW, MEMES, MOOD, VQA, blueprint, build_network, jittered, mixed_batch, words

PAIRS = (DIGITS, MOOD, MEMES, VQA, LAW, CONCEPTS)


def outputs_of(network: Network, pairs: tuple[Pair, ...]) -> list[TaskOutput]:
    network.load(jittered(network.initial_state()))
    with torch.no_grad():
        return list(network.eval()(mixed_batch(pairs)))


@pytest.mark.parametrize("fusion", ["joint", "paths"])
def test_the_mean_of_the_paths_is_what_the_head_gets(fusion: str) -> None:
    outputs = outputs_of(build_network(PAIRS, fusion=fusion), PAIRS)
    for pair, output in zip(PAIRS, outputs, strict=True):
        assert [stream.modality for stream in output.streams] == list(pair.streams(fusion))
        for stream in output.streams:
            assert list(stream.routes) == [route.name for route in routes(stream.modality, pair.family)]
        means = [sum(stream.path(name).tokens for name in stream.routes) / 4 for stream in output.streams]
        torch.testing.assert_close(torch.cat(means, dim=1), output.fused.tokens, atol=1e-6, rtol=1e-5)
        assert torch.equal(torch.cat([stream.mask for stream in output.streams], dim=1), output.fused.mask)
        first = output.streams[0]
        assert not torch.allclose(first.path("modality-task").tokens, first.path("shared-task").tokens)


def test_other_architectures_have_no_such_paths() -> None:
    plain = Plain(blueprint((MOOD,)))
    (output,) = outputs_of(Network(plain, plain.plan((MOOD,)), seed=0, words=words()), (MOOD,))
    assert [stream.routes for stream in output.streams] == [("plain",)]
    with pytest.raises(ValueError, match="not in tuple"):
        output.streams[0].path("modality-task")
    (output,) = outputs_of(build_network((MOOD,), probe=True), (MOOD,))
    assert output.streams == ()
