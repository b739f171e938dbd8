"""TAP's architecture: encoders, four-path fusion with task, modality and domain experts, and one head a task (section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fedtap import pairs as pairs_module
from fedtap.backbones.base import Backbone
from fedtap.backbones.lora import Adapters
from fedtap.batch import Batch, TaskBatch
from fedtap.network.architecture import Architecture, Blueprint, Stream, TaskOutput
from fedtap.network.blocks import (
    ADAPTED_ATTENTION,
    ADAPTED_EXPERT,
    ATTENTION_NAMES,
    EXPERT_NAMES,
    DomainExpert,
    DualLowRank,
    FrozenLayers,
    FullWeights,
    InnerFactors,
    LowRank,
    StackStart,
    direction,
    outer_factors,
    seeded_layer,
)
from fedtap.network.encoders import Encoder, SharedProjection
from fedtap.network.fusion import Fusion
from fedtap.network.initialisation import initialise
from fedtap.pairs import STACKS, ComponentKey, Modality, Pair, Route
from fedtap.runtime.randomness import torch_generator
from fedtap.tasks import TASK_TYPES
from fedtap.tasks.base import Fused, HeadSizes, Words


class Experts(Architecture):
    """The network of experts.

    Parameters
    ----------
    blueprint
        Sizes and heads.
    backbone
        The frozen foundation model; needed where it has fusion layers to start from or towers to adapt. Its first L fusion layers
        seed MoTE, the next L MoME.
    """

    name = "experts"

    def __init__(self, blueprint: Blueprint, backbone: Backbone | None = None) -> None:
        super().__init__(blueprint)
        self._backbone = backbone

    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        """Return the components on a task's path (see :func:`fedtap.pairs.path`)."""
        return pairs_module.path(pairs, task, self.blueprint.network.fusion)

    def routes(self, modality: Modality, family: str) -> tuple[Route, ...]:
        """Return the paths through the fusion of examples of this modality and task family."""
        return pairs_module.routes(modality, family)

    def build(self, key: ComponentKey) -> nn.Module:
        """Return a component's module."""
        spec, network = self.blueprint.backbone, self.blueprint.network
        match key.kind, key.names:
            case "encoder", ("image",):
                places = 0 if spec.vision_placed else spec.vision_tokens
                return Encoder(spec.vision_dim, network.dim, places, _shapes(spec.vision_adapters))
            case "encoder", ("text",):
                return Encoder(spec.text_dim, network.dim, 0, _shapes(spec.text_adapters))
            case "shared", ():
                return SharedProjection(network.dim)
            case "domain", (_,):
                return DomainExpert(network)
            case "attention", (_, _):
                return self._adapted(ATTENTION_NAMES, ADAPTED_ATTENTION)
            case "expert", (_, _, _):
                return self._adapted(EXPERT_NAMES, ADAPTED_EXPERT)
            case "head", (name,) if name in self.blueprint.heads:
                info, own = self.blueprint.heads[name], network.of_heads()
                head = TASK_TYPES[info.type].build_head(
                    HeadSizes(
                        own, info.classes, spec.embedding_dim, spec.vision_tokens, info.modality, spec.vision_lead
                    )
                )
                return head if own.dim == network.dim else NarrowHead(network.dim, own.dim, head)
        raise KeyError(str(key))

    def start(self, key: ComponentKey, module: nn.Module, seed: int) -> None:
        """Start a component. Blocks and experts of one stack start alike, as copies of one pretrained layer would."""
        if isinstance(module, FullWeights):
            module.copy_start(self._stack_start(key.names[0], seed))
        else:
            initialise(module, torch_generator(seed, "start", str(key)))

    def frozen_modules(self, seed: int, components: Mapping[ComponentKey, nn.Module]) -> nn.ModuleDict:
        """Return the towers' adapted layers, and the frozen layers of both stacks where they are adapted."""
        network = self.blueprint.network
        frozen = nn.ModuleDict()
        for part in ("image", "text"):
            encoder = components.get(ComponentKey("encoder", (part,)))
            if isinstance(encoder, Encoder) and self._backbone is not None:
                layers = (self._backbone.vision if part == "image" else self._backbone.text).adapted()
                if layers is not None:
                    layers.hold(dict(encoder.adapters.items()))
                    frozen[part] = layers
        if network.adaptation == "full":
            return frozen
        for stack in STACKS:
            generator = torch_generator(seed, "start", stack, "factors")
            factors = outer_factors(network, generator) if network.adaptation == "colora" else None
            frozen[stack] = FrozenLayers(self._stack_start(stack, seed), factors)
        return frozen

    def _adapted(self, names: Sequence[str], adapted: Sequence[str]) -> nn.Module:
        """Return what is trained of layers with these tensors, of which some are matrices that adapters adapt."""
        network = self.blueprint.network
        match network.adaptation:
            case "full":
                return FullWeights(names, network)
            case "lora":
                return LowRank(adapted, network)
            case "colora":
                return InnerFactors(adapted, network)
            case "dual" | "dual_near":
                return DualLowRank(adapted, network)

    def _stack_start(self, stack: str, seed: int) -> StackStart:
        count = self.blueprint.network.layers
        if self.blueprint.backbone.fusion is not None:
            assert self._backbone is not None
            assert self._backbone.fusion is not None
            first = STACKS.index(stack) * count
            return StackStart.of(self._backbone.fusion(first + count)[first:])
        generator = torch_generator(seed, "start", stack)
        silent = self.blueprint.network.adaptation == "full"  # frozen branches that start at zero would stay so
        return StackStart.of([seeded_layer(self.blueprint.network, generator, silent=silent) for _ in range(count)])

    def forward(
        self,
        batch: Batch,
        components: Mapping[ComponentKey, nn.Module],
        frozen: nn.ModuleDict,
        words: Words | None,
    ) -> Sequence[TaskOutput]:
        """Encode, fuse and head every task batch; parts of equal modality and family run through the fusion together.

        A domain that the model has no expert for (cross-client tests) goes without one.
        """
        layers = {name: module for name, module in frozen.items() if isinstance(module, FrozenLayers)}
        pretrained = self.blueprint.backbone.fusion
        fusion = Fusion(
            self.blueprint.network,
            components,
            layers,
            eps=1e-5 if pretrained is None else pretrained.eps,
            training=frozen.training,
        )
        groups: dict[tuple[Modality, str], list[tuple[int, TaskBatch, Tensor, Tensor]]] = {}
        for index, part in enumerate(batch):
            for modality in part.pair.streams(self.blueprint.network.fusion):
                tokens, mask = self._encode(part, modality, components, frozen)
                groups.setdefault((modality, part.pair.family), []).append((index, part, tokens, mask))
        fused: list[list[Fused]] = [[] for _ in batch]
        streams: list[list[Stream]] = [[] for _ in batch]
        for (modality, family), members in groups.items():
            routes = self.routes(modality, family)
            names = tuple(route.name for route in routes)
            results = _fuse(fusion, routes, members, components)
            for (index, _, tokens, own), (whole, apart) in zip(members, results, strict=True):
                fused[index].append(whole)
                seen = direction(tokens, own) if self.blueprint.network.dual else None
                streams[index].append(Stream(modality, names, apart, whole.mask, seen))
        outputs: list[TaskOutput] = []
        for part, held, apart_by_modality in zip(batch, fused, streams, strict=True):
            whole = held[0] if len(held) == 1 else _side_by_side(held)
            head = components[ComponentKey("head", (part.pair.head,))]
            if isinstance(head, NarrowHead):
                whole, head = Fused(head.narrow(whole.tokens), whole.mask), head.head
            output = TASK_TYPES[part.pair.type].run(head, whole, part.target, words)
            outputs.append(TaskOutput(head, whole, output, apart_by_modality))
        return outputs

    def _encode(
        self,
        part: TaskBatch,
        modality: Modality,
        components: Mapping[ComponentKey, nn.Module],
        frozen: nn.ModuleDict,
    ) -> tuple[Tensor, Tensor]:
        """Return tokens ``(n, tokens, dim)`` and their mask; the joint modality's are image tokens, then text tokens."""
        tokens: list[Tensor] = []
        masks: list[Tensor] = []
        for name, given, given_mask in (("image", part.image, None), ("text", part.text, part.text_mask)):
            if name in modality:
                assert given is not None
                features = frozen[name](given, given_mask) if name in frozen else given
                tokens.append(components[ComponentKey("encoder", (name,))](features))
                if given_mask is None:
                    given_mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
                masks.append(given_mask)
        return torch.cat(tokens, dim=1), torch.cat(masks, dim=1)


class NarrowHead(nn.Module):
    """A head that is narrower than the fusion, behind a linear map to its width."""

    def __init__(self, dim: int, width: int, head: nn.Module) -> None:
        super().__init__()
        self.narrow = nn.Linear(dim, width)
        self.head = head


def _shapes(adapters: Adapters | None) -> Mapping[str, tuple[int, int]] | None:
    return None if adapters is None else adapters.shapes()


def _fuse(
    fusion: Fusion,
    routes: Sequence[Route],
    members: Sequence[tuple[int, TaskBatch, Tensor, Tensor]],
    components: Mapping[ComponentKey, nn.Module],
) -> list[tuple[Fused, Tensor]]:
    """Fuse task batches of one modality and family as one batch, padded to the longest, and take them apart again.

    Returns for each the mean of its paths, and the paths themselves, ``(paths, n, tokens, dim)``.
    """
    longest = max(mask.shape[1] for *_, mask in members)
    x = torch.cat([nn.functional.pad(tokens, (0, 0, 0, longest - tokens.shape[1])) for _, _, tokens, _ in members])
    mask = torch.cat([nn.functional.pad(mask, (0, longest - mask.shape[1])) for *_, mask in members])
    domains = _domains(members, components, x.device)
    paths = fusion.paths(x, mask, routes, components.get(ComponentKey("shared")), domains)
    out = paths.mean(dim=0)
    if len(members) == 1:  # nothing to take apart, for any number of examples: an exported graph has no fixed one
        return [(Fused(out, mask), paths)]
    results: list[tuple[Fused, Tensor]] = []
    position = 0
    for _, part, _, own in members:
        rows_of_part, width = slice(position, position + len(part)), own.shape[1]
        results.append((Fused(out[rows_of_part, :width], own), paths[:, rows_of_part, :width]))
        position += len(part)
    return results


def _domains(
    members: Sequence[tuple[int, TaskBatch, Tensor, Tensor]],
    components: Mapping[ComponentKey, nn.Module],
    device: torch.device,
) -> list[tuple[DomainExpert | None, Tensor]]:
    """Return the domain experts of these task batches, laid one behind another, and which examples are whose."""
    if len(members) == 1:
        rows = {members[0][1].pair.domain: members[0][1].rows}
    else:
        places: dict[str, list[int]] = {}
        position = 0
        for _, part, *_ in members:
            places.setdefault(part.pair.domain, []).extend(range(position, position + len(part)))
            position += len(part)
        rows = {domain: torch.tensor(found, device=device) for domain, found in places.items()}
    domains: list[tuple[DomainExpert | None, Tensor]] = []
    for domain in sorted(rows):
        expert = components.get(ComponentKey("domain", (domain,)))
        assert expert is None or isinstance(expert, DomainExpert)
        domains.append((expert, rows[domain]))
    return domains


def _side_by_side(streams: Sequence[Fused]) -> Fused:
    """Join the additive paths of one example: their token sequences laid side by side."""
    return Fused(torch.cat([f.tokens for f in streams], dim=1), torch.cat([f.mask for f in streams], dim=1))
