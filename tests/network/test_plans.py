"""A plan names exactly what a forward pass runs through and what training moves, no more and no less."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import nn

from fedtap.network.experts import Experts
from fedtap.network.probe import Probe
from fedtap.pairs import ComponentKey, Pair
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import Fused
from tiny import (
    CONCEPTS,
    DIGITS,
    EVERY_PAIR,
    EVERYTHING,
    LAW,
    MEMES,
    MOOD,
    REDRAW,
    TEN_KINDS,
    VQA,
    blueprint,
    mixed_batch,
    modules,
    words,
)

CLIENTS = {
    **{f"{pair.type} of {pair.modality}": (pair,) for pair in EVERY_PAIR},
    **{name: pairs for name, pairs in TEN_KINDS.items() if len(pairs) > 1},
    "three types": (MEMES, REDRAW, VQA),
    "four pairs": (DIGITS, MOOD, LAW, CONCEPTS),
}


class Recorded(Mapping[ComponentKey, nn.Module]):
    """All components there are, and a list of those that were looked up."""

    def __init__(self, held: Mapping[ComponentKey, nn.Module]) -> None:
        self.held = held
        self.touched: set[ComponentKey] = set()

    def __getitem__(self, key: ComponentKey) -> nn.Module:
        found = self.held[key]
        self.touched.add(key)
        return found

    def __iter__(self) -> Iterator[ComponentKey]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


@pytest.fixture(
    scope="module",
    params=[(fusion, adaptation) for fusion in ("joint", "paths") for adaptation in ("full", "lora", "colora")]
    + [("joint", "dual")],
    ids=str,
)
def house(request: pytest.FixtureRequest) -> tuple[Experts, dict[ComponentKey, nn.Module], nn.ModuleDict]:
    """Return an architecture, every component that any client could have, and the frozen layers."""
    fusion, adaptation = request.param
    architecture = Experts(blueprint(EVERYTHING, fusion=fusion, adaptation=adaptation))
    return architecture, modules(architecture, architecture.plan(EVERYTHING)), architecture.frozen_modules(0, {})


def moved(
    house: tuple[Experts, dict[ComponentKey, nn.Module], nn.ModuleDict], pairs: tuple[Pair, ...]
) -> tuple[set, set]:
    """Return the components that a batch of these pairs looks up, and those whose parameters get a gradient from it."""
    architecture, held, frozen = house
    recorded, batch = Recorded(held), mixed_batch(pairs)
    outputs = architecture.forward(batch, recorded, frozen, words())
    total = torch.zeros(())
    for part, out in zip(batch, outputs, strict=True):
        total = total + TASK_TYPES[part.pair.type].losses(out.output, part.target, words()).mean()
    for module in held.values():
        module.zero_grad(set_to_none=True)
    total.backward()
    with_gradient = {
        key
        for key, module in held.items()
        if any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in module.parameters())
    }
    assert not any(buffer.requires_grad for buffer in frozen.buffers())
    return recorded.touched, with_gradient


@pytest.mark.parametrize("pairs", CLIENTS.values(), ids=CLIENTS)
def test_a_plan_is_what_runs_and_what_learns(house, pairs: tuple[Pair, ...]) -> None:
    touched, learning = moved(house, pairs)
    plan = house[0].plan(pairs)
    assert touched == plan
    assert learning == plan
    assert plan < frozenset(house[1])


@pytest.mark.parametrize("pairs", [pairs for pairs in CLIENTS.values() if len(pairs) > 1])
def test_a_task_alone_runs_and_trains_its_own_path(house, pairs: tuple[Pair, ...]) -> None:
    for pair in pairs:
        touched, learning = moved(house, (pair,))
        assert touched == learning == house[0].path(pairs, pair.task)


def test_every_parameter_of_a_plan_gets_a_gradient(house) -> None:
    architecture, held, _ = house
    moved(house, EVERY_PAIR)
    without = [
        f"{key}:{name}"
        for key in architecture.plan(EVERY_PAIR)
        for name, parameter in held[key].named_parameters()
        if name != "k_b"  # softmax does not see it: every key of a query is shifted alike
        and (parameter.grad is None or not float(parameter.grad.abs().max()))
    ]
    assert without == []


def test_additive_paths_differ_from_the_joint_one_in_the_joint_modality_only() -> None:
    joint, paths = (Experts(blueprint(EVERYTHING, fusion=fusion)) for fusion in ("joint", "paths"))
    differing = [pair for pair in EVERY_PAIR if joint.plan([pair]) != paths.plan([pair])]
    assert differing == [MEMES, VQA]
    assert ComponentKey("attention", ("mote", "image+text")) in joint.plan([VQA]) - paths.plan([VQA])
    added = paths.plan([VQA]) - joint.plan([VQA])
    assert {ComponentKey("attention", ("mote", modality)) for modality in ("image", "text")} <= added


def test_the_components_of_one_pair_by_name() -> None:
    plan = Experts(blueprint(EVERYTHING)).plan([DIGITS])
    assert sorted(map(str, plan)) == [
        "attention/mome/image_classification",
        "attention/mome/shared",
        "attention/mote/image",
        "attention/mote/shared",
        "domain/digits",
        "encoder/image",
        "expert/mome/image_classification/image",
        "expert/mome/image_classification/shared",
        "expert/mome/shared/image",
        "expert/mome/shared/shared",
        "expert/mote/image/image_classification",
        "expert/mote/image/shared",
        "expert/mote/shared/image_classification",
        "expert/mote/shared/shared",
        "head/digits",
        "shared",
    ]


def test_the_probe_has_a_path_for_classification_only() -> None:
    probe = Probe(blueprint(EVERYTHING))
    assert probe.served(EVERY_PAIR) == (DIGITS, MOOD, MEMES)
    assert probe.plan(EVERY_PAIR) == {
        ComponentKey("probe", (pair.modality, pair.head)) for pair in (DIGITS, MOOD, MEMES)
    }


def test_shapes_are_known_without_building() -> None:
    architecture = Experts(blueprint(EVERYTHING))
    for key in architecture.plan(EVERY_PAIR):
        assert architecture.shapes(key) == {n: p.shape for n, p in architecture.build(key).named_parameters()}
    assert architecture.shapes(ComponentKey("shared")) == {"weight": (16, 16), "bias": (16,)}


@pytest.mark.parametrize("pair", EVERY_PAIR, ids=lambda pair: f"{pair.type} of {pair.modality}")
@torch.no_grad()
def test_a_narrow_head_is_a_head_of_its_width_behind_a_linear_map(pair: Pair) -> None:
    architecture = Experts(blueprint([pair], head_dim=8))
    components = modules(architecture, architecture.plan([pair]))
    batch = mixed_batch([pair])
    (narrow,) = architecture.forward(batch, components, nn.ModuleDict(), words())
    key = ComponentKey("head", (pair.head,))
    whole = {**components, key: components[key].head}  # the same fusion, whose output the test narrows itself
    wide = Experts(blueprint([pair]))
    captured = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TASK_TYPES[pair.type], "run", lambda head, fused, target, given: captured.update(fused=fused) or 0
        )
        wide.forward(batch, whole, nn.ModuleDict(), words())
    fused = captured["fused"]
    entered = Fused(components[key].narrow(fused.tokens), fused.mask)
    expected = TASK_TYPES[pair.type].run(components[key].head, entered, batch[0].target, words())
    torch.testing.assert_close(narrow.output, expected)
    assert narrow.fused.tokens.shape[-1] == 8
    assert narrow.head is components[key].head


def test_the_heads_of_a_wide_fusion_are_as_small_as_asked() -> None:
    sizes = blueprint([VQA], dim=64, heads=4, head_dim=16)
    shapes = Experts(sizes).shapes(ComponentKey("head", (VQA.head,)))
    assert shapes["narrow.weight"] == (16, 64)
    wide = [name for name, shape in shapes.items() if not name.startswith("narrow") and 64 in shape]
    assert wide == []
    assert sizes.network.of_heads().heads == 1
