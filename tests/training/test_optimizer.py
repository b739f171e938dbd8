"""The optimizers step as torch's own do: its fused steps bit by bit, its plain ones but for rounding."""

from typing import Literal

import pytest
import torch
from torch import nn

from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.optimizer import make_optimizer


@pytest.mark.parametrize(("name", "theirs"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_steps_are_those_of_torch(name: Literal["adamw", "sgd"], theirs: type[torch.optim.Optimizer]) -> None:
    ends: list[list[torch.Tensor]] = []
    for fused in (None, True, False):
        draw = torch.Generator().manual_seed(0)
        weights = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((5, 3), (7,), (2, 2, 2))]
        settings = TrainingSettings(optimizer=name, weight_decay=0.1)
        plain = {"lr": 0.0, "weight_decay": 0.1, "fused": fused}
        optimizer = make_optimizer(weights, settings) if fused is None else theirs(weights, **plain)
        for step in range(12):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (step + 1)
            for place, weight in enumerate(weights):
                weight.grad = None if (step + place) % 4 == 0 else torch.randn(weight.shape, generator=draw)
            optimizer.step()
        optimizer.zero_grad()
        assert all(weight.grad is None and weight.requires_grad for weight in weights)
        ends.append([weight.detach() for weight in weights])
    ours, as_fused, as_plain = ends
    assert all(torch.equal(own, other) for own, other in zip(ours, as_fused, strict=True))
    for own, other in zip(ours, as_plain, strict=True):
        torch.testing.assert_close(own, other)


def test_a_step_is_no_part_of_a_gradient() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    make_optimizer([weight], TrainingSettings()).step()
    assert torch.is_grad_enabled()
    assert weight.is_leaf


def after(steps: int, *, closure: bool = False) -> torch.Tensor:
    """Return a weight after steps along made-up gradients."""
    draw = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(4, generator=draw))
    optimizer = make_optimizer([weight], TrainingSettings())
    optimizer.param_groups[0]["lr"] = 0.1
    for _ in range(steps):

        def loss() -> float:
            weight.grad = torch.randn(4, generator=draw)
            return 0.5

        if closure:
            assert optimizer.step(loss) == 0.5
        else:
            loss()
            optimizer.step()
    return weight.detach()


def test_a_step_may_make_its_own_gradient() -> None:
    assert torch.equal(after(3, closure=True), after(3))


def test_where_torch_has_no_such_kernel_its_own_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = after(3)
    monkeypatch.setattr("fedtap.training.optimizer.KERNEL", "gone")
    monkeypatch.setattr("fedtap.training.optimizer._Gathered.step", None)
    assert torch.equal(after(3), direct)
