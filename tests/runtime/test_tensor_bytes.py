"""The bytes are those of safetensors' own way, whatever the tensors are."""

import pytest
import torch
from safetensors.torch import load, save

from fedtap.runtime.tensor_bytes import tensor_bytes

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
SHAPES = ((), (0,), (3,), (2, 0, 4), (2, 3, 4))


@pytest.mark.parametrize("dtypes", [DTYPES, tuple(dtype for dtype in DTYPES if dtype != torch.bfloat16)])
def test_every_kind_and_shape_gives_the_bytes_of_the_library(dtypes: tuple[torch.dtype, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {
        f"{dtype}/{shape}": (torch.rand(shape, generator=draw) * 3).to(dtype) for dtype in dtypes for shape in SHAPES
    }
    assert tensor_bytes(tensors) == save(tensors)
    assert tensor_bytes(tensors, {"of": "a run"}) == save(tensors, {"of": "a run"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_shares_memory_is_turned_or_learns_is_written_for_itself(dtype: torch.dtype) -> None:
    whole = torch.arange(12, dtype=dtype).reshape(3, 4).requires_grad_(True)
    tensors = {"whole": whole, "row": whole[1], "turned": whole.T, "again": whole}
    read = load(tensor_bytes(tensors))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor.detach()) for name, tensor in tensors.items())


def test_nothing_at_all_is_a_file_too() -> None:
    assert load(tensor_bytes({}, {"of": "nobody"})) == {}
