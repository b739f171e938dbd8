"""The rule of names finds every normalisation that a forward pass runs through, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.network import fusion
from fedtap.network.architecture import Architecture
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.network.normalisation import check_names, is_normalisation
from fedtap.network.plain import Plain
from fedtap.network.probe import Probe
from fedtap.pairs import ComponentKey
from tiny import EVERY_PAIR, blueprint, mixed_batch, words

POOLED = {"classification": {"head": "pooled"}, "reconstruction": {"head": "pooled"}}
ARCHITECTURES: dict[str, Architecture] = {
    "experts": Experts(blueprint(EVERY_PAIR, layers=2, decoder_layers=2)),
    "paths, pooled heads": Experts(blueprint(EVERY_PAIR, fusion="paths", **POOLED)),
    "lora": Experts(blueprint(EVERY_PAIR, adaptation="lora")),
    "plain": Plain(blueprint(EVERY_PAIR)),
    "probe": Probe(blueprint(EVERY_PAIR)),
}
Place = tuple[ComponentKey, str]


def names(architecture: Architecture) -> set[Place]:
    return {
        (key, name)
        for key in architecture.plan(EVERY_PAIR)
        for name in architecture.shapes(key)
        if is_normalisation(name)
    }


@pytest.fixture
def normalised_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[float]]:
    """Collect the values of all scales and shifts that normalisations use, whichever way they are called."""
    values: set[float] = set()
    layer_norm, stacked = F.layer_norm, fusion._norm

    def note(*tensors: Tensor | None) -> None:
        values.update(value for tensor in tensors if tensor is not None for value in tensor.detach().unique().tolist())

    def noted_layer_norm(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
        note(weight, bias)
        return layer_norm(x, shape, weight, bias, eps)

    def noted_stacked(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        note(weight, bias)
        return stacked(x, weight, bias, eps)

    monkeypatch.setattr(F, "layer_norm", noted_layer_norm)
    monkeypatch.setattr(fusion, "_norm", noted_stacked)
    return values


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_names_are_those_of_what_the_forward_pass_normalises_with(name: str, normalised_by: set[float]) -> None:
    architecture = ARCHITECTURES[name]
    pairs = architecture.served(EVERY_PAIR)
    network = Network(architecture, architecture.plan(pairs), seed=0, words=words())
    start = network.initial_state()
    # each tensor is filled with a number of its own, by which it is known again wherever it turns up
    places: dict[float, Place] = {}
    with torch.no_grad():
        for key, parameter, tensor in start.tensors():
            number = float(torch.tensor(2.0 + len(places) / 1024))
            places[number] = (key, parameter)
            tensor.fill_(number)
    network.load(start)
    network(mixed_batch(pairs, 2))
    found = {places[value] for value in normalised_by if value in places}
    assert found == names(architecture)
    assert bool(found) == (name != "probe")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_names_are_those_of_the_normalisation_modules(name: str) -> None:
    architecture = ARCHITECTURES[name]
    check_names(architecture, architecture.plan(EVERY_PAIR))
    for key in architecture.plan(EVERY_PAIR):
        owned = {
            parameter
            for place, module in architecture.build(key).named_modules()
            if isinstance(module, nn.LayerNorm)
            for parameter, _ in module.named_parameters(prefix=place)
        }
        if key.kind == "attention":  # its layers are stacked tensors, not modules
            owned = {"ln1_w", "ln1_b", "ln2_w", "ln2_b"} & architecture.shapes(key).keys()
        assert {parameter for parameter in architecture.shapes(key) if is_normalisation(parameter)} == owned, key


@pytest.mark.parametrize(
    "module",
    [nn.Sequential(nn.LayerNorm(2)), nn.ModuleDict({"ln": nn.RMSNorm(2)}), nn.LayerNorm(2), nn.BatchNorm2d(2)],
    ids=lambda module: type(module).__name__,
)
def test_a_normalisation_whose_name_does_not_say_so_is_refused(module: nn.Module) -> None:
    key = ComponentKey("head", ("out_norm",))  # a component's own name says nothing about its tensors

    class Odd(Probe):
        def build(self, key: ComponentKey) -> nn.Module:
            return module

    with pytest.raises(ValueError, match=r"head/out_norm:.*weight belongs to a \w+Norm\w*, but its name does not"):
        check_names(Odd(blueprint([])), [key])


def test_names_that_only_resemble_a_normalisations_are_not_taken_for_one() -> None:
    for name in ("normal.weight", "norm", "norm.weight.extra", "abnorm.weight", "norm_scale.weight", "ln3_w", "xln1_w"):
        assert not is_normalisation(name), name
