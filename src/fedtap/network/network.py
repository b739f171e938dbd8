"""The one network of a process: every component that it may need, held once; a client's model is a state swapped in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from fedtap.backbones.lora import AdaptedLayers
from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.network.architecture import Architecture, TaskOutput
from fedtap.pairs import ComponentKey
from fedtap.scenario.scenario import Precision
from fedtap.tasks.base import Words


class Network(nn.Module):
    """Components by key, and the architecture that runs batches through those of the model at hand.

    Parameters
    ----------
    architecture
        What the components are and how they are connected.
    keys
        The union of the components that any model in this process needs.
    seed
        The run's seed; the starts of all components follow from it.
    words
        The frozen word embeddings, where a task generates text.
    precision
        Of matrix products. With ``bf16`` they are bfloat16; parameters, and what the network gives, stay float32.
    recompute
        Whether adapted tower layers are computed again in the backward pass instead of being kept.
    """

    def __init__(
        self,
        architecture: Architecture,
        keys: Iterable[ComponentKey],
        *,
        seed: int,
        words: Words | None = None,
        precision: Precision = "fp32",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.words = words
        self._seed = seed
        self._components = {key: architecture.build(key) for key in sorted(keys)}
        self._modules_by_name = nn.ModuleDict({_name(key): module for key, module in self._components.items()})
        self._frozen = architecture.frozen_modules(seed, self._components)
        # walked once: a module's tree is deep, and models are swapped in and out many times a round
        self._parameters_of = {key: dict(module.named_parameters()) for key, module in self._components.items()}
        self._held: frozenset[ComponentKey] = frozenset()
        self.precision = precision
        for module in self._frozen.values():
            if isinstance(module, AdaptedLayers):
                module.recompute = recompute

    @property
    def held(self) -> frozenset[ComponentKey]:
        """The components of the model that is swapped in."""
        return self._held

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """What is adapted and stays frozen itself: a tower's layers by modality, the fusion's by stack."""
        return dict(self._frozen.items())

    @property
    def device(self) -> torch.device:
        """Where the components are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def initial_state(self, keys: Iterable[ComponentKey] | None = None) -> ComponentState:
        """Return the start of these components (default: all); it depends on the seed and each key alone."""
        wanted = self._components if keys is None else keys
        for key in wanted:
            self.architecture.start(key, self._components[key], self._seed)
        return self._read(wanted)

    def load(self, state: ComponentState) -> None:
        """Swap a model in: its components are copied into place, all others are out of reach until the next swap.

        Raises
        ------
        KeyError
            If a component or parameter is unknown, or one of a component's parameters is missing.
        """
        places: list[Tensor] = []
        values: list[Tensor] = []
        for key, named in state.items():
            parameters = self._parameters_of[key]
            if parameters.keys() != named.keys():
                raise KeyError(f"{key}: parameters {sorted(named)} given, {sorted(parameters)} expected")
            places += [parameters[name] for name in named]
            values += named.values()
        if places:
            with torch.no_grad():
                torch._foreach_copy_(places, values)  # one call: clients are many, and so are a model's small tensors
        self._held = frozenset(state)

    def state(self) -> ComponentState:
        """Return a copy of the model that is swapped in."""
        return self._read(self._held)

    def named(self) -> Iterator[tuple[ComponentKey, str, nn.Parameter]]:
        """Iterate over (key, parameter name, parameter) of the model that is swapped in, in sorted order of keys."""
        for key in sorted(self._held):
            for name, parameter in self._parameters_of[key].items():
                yield key, name, parameter

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters of the model that is swapped in, in sorted order of keys."""
        return [parameter for _, _, parameter in self.named()]

    def train(self, mode: bool = True) -> Network:
        """Set whether dropout is on; nothing is walked where it is set so already, as from one step to the next."""
        return super().train(mode) if self.training != mode else self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, as torch does, without walking the tree of modules at each step."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for parameters in self._parameters_of.values():
            for parameter in parameters.values():
                parameter.grad = None

    def forward(self, batch: Batch) -> Sequence[TaskOutput]:
        """Run a batch through the model that is swapped in."""
        held = {key: self._components[key] for key in self._held}
        if self.precision == "fp32":
            return self.architecture.forward(batch, held, self._frozen, self.words)
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.architecture.forward(batch, held, self._frozen, self.words)
        return [output.float() for output in outputs]

    def run_as(self, state: ComponentState, batch: Batch) -> Sequence[TaskOutput]:
        """Run a batch through another model with the same components, without swapping and without gradients (a teacher).

        A teacher speaks plainly: dropout is off, whatever mode the network is in.
        """
        values: dict[str, Tensor] = {
            f"_modules_by_name.{_name(key)}.{name}": tensor for key, name, tensor in state.tensors()
        }
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                outputs: Sequence[TaskOutput] = torch.func.functional_call(self, values, (batch,))
        finally:
            self.train(was_training)
        return outputs

    def _read(self, keys: Iterable[ComponentKey]) -> ComponentState:
        values: dict[ComponentKey, Mapping[str, Tensor]] = {
            key: {name: p.detach().cpu().clone() for name, p in self._parameters_of[key].items()} for key in keys
        }
        return ComponentState(values)


def _name(key: ComponentKey) -> str:
    """Return the key as a module name, in which torch allows no dot."""
    return str(key).replace(".", "%2E")
