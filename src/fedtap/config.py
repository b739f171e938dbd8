"""Scenarios: typed, frozen configuration from a YAML file and ``key=value`` overrides.

An unknown key is refused with the nearest known name. Everything here can be checked without data and without weights.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedtap.errors import UserError, nearest
from fedtap.explain import explain as explain
from fedtap.pairs import Fusion, Modality, Pair, TaskName
from fedtap.plain_yaml import NotYamlError, parse


def _no_switch(value: Any) -> Any:
    """Refuse ``true`` and ``yes`` where a number belongs; they would pass for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not on or off")
    return value


Int = Annotated[int, BeforeValidator(_no_switch)]
Float = Annotated[float, BeforeValidator(_no_switch), Field(allow_inf_nan=False)]
Positive = Annotated[Int, Field(gt=0)]
Count = Annotated[Int, Field(ge=0)]
Rate = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Settings(BaseModel):
    """A frozen section that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneSettings(Settings):
    """The frozen foundation model.

    ``path`` is a local folder with the weights where the backbone can take one; ``image_size`` is in pixels.
    """

    name: str = "towers"
    vision: str = "efficientnet-lite0"
    text: str = "minilm-l6"
    path: str | None = None
    image_size: Positive = 96
    text_tokens: Annotated[Int, Field(ge=4, le=512)] = 32


class ReconstructionSettings(Settings):
    """``grid`` decodes from the token sequence with position queries; ``pooled`` is the paper's head, from one vector."""

    head: Literal["grid", "pooled"] = "grid"


class ClassificationSettings(Settings):
    """``grid`` keeps where image tokens lie apart (at most 3 x 3 places); ``pooled`` is the paper's head, from their mean."""

    head: Literal["grid", "pooled"] = "grid"


class NetworkSettings(Settings):
    """The network on top of the frozen foundation model.

    ``name`` is the architecture: ``experts`` (algorithm.md, section 5), ``plain`` (one fusion transformer that all share, no
    experts) or ``probe`` (a linear classifier on pooled features; classification only). A method may bring its own.
    ``adaptation`` is ``full`` (fusion layers trained from a seeded start) or ``lora`` (frozen, with low-rank adapters);
    ``answer_tokens`` bounds generated text.
    """

    name: Literal["experts", "plain", "probe"] = "experts"
    dim: Positive = 128
    heads: Positive = 4
    layers: Positive = 1
    expert_dim: Positive = 256
    domain_dim: Positive = 32
    adaptation: Literal["full", "lora"] = "full"
    lora_rank: Positive = 8
    lora_alpha: Rate = 16.0
    fusion: Fusion = "joint"
    decoder_layers: Positive = 1
    answer_tokens: Annotated[Int, Field(ge=2, le=512)] = 24
    classification: ClassificationSettings = ClassificationSettings()
    reconstruction: ReconstructionSettings = ReconstructionSettings()

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        """Take ``network: plain`` as short for ``network: {name: plain}``."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> NetworkSettings:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        return self


class TrainingSettings(Settings):
    """The local training loop, the same for every method.

    ``optimizer`` is ``adamw``, or ``sgd`` without momentum. The rate rises linearly over ``warmup_rounds`` rounds to ``lr``, then
    falls along a cosine to ``final_ratio * lr`` in the last round. After it every personalising method takes ``finish_steps``
    steps at ``finish_lr`` and keeps, of the states seen every ``select_every`` steps, the best on the client's validation split.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Rate = 1e-3
    warmup_rounds: Count = 2
    final_ratio: Fraction = 0.2
    weight_decay: NonNegative = 0.01
    clip: Rate = 1.0
    finish_steps: Count = 20
    finish_lr: Rate = 3e-4
    select_every: Positive = 5


class DataSettings(Settings):
    """How sources are split and shared out.

    ``train``, ``validation`` and ``test`` are examples per client and task before quantity skew; ``split`` the share of a
    source that may serve each; ``dirichlet`` the concentration of label skew (large: none); ``quantity`` the standard
    deviation of the logarithm of training-set sizes (0: equal).
    """

    train: Positive = 128
    validation: Positive = 48
    test: Positive = 128
    split: tuple[Fraction, Fraction, Fraction] = (0.6, 0.15, 0.25)
    dirichlet: Rate = 1.0
    quantity: Annotated[NonNegative, Field(le=2)] = 0.15

    @field_validator("split")
    @classmethod
    def _sums_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6 or min(value) <= 0:
            raise ValueError("the three shares must be positive and sum to 1")
        return value


class EvaluationSettings(Settings):
    """``cross_examples`` bounds the cross-client test of a client's task; ``save`` says which models are written."""

    cross_examples: Positive = 256
    save: Literal["deployed", "all", "none"] = "deployed"


class TaskSettings(Settings):
    """One task of a client. ``path``, ``columns`` and ``classes`` belong to the sources ``folder``, ``csv`` and ``jsonl``."""

    name: str
    type: TaskName
    modality: Modality
    domain: str
    source: str
    head: str | None = None
    path: str | None = None
    columns: Mapping[str, str] = {}
    classes: tuple[str, ...] | Positive | None = None
    train: Positive | None = None
    validation: Positive | None = None
    test: Positive | None = None

    @field_validator("name", "domain", "head")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not NAME.fullmatch(value):
            raise ValueError(
                f"'{value}' must be letters, digits, '_', '-' or '.', at most 64, so that it can name a file"
            )
        return value

    @model_validator(mode="after")
    def _reconstruction_sees_images(self) -> TaskSettings:
        if self.type == "reconstruction" and self.modality != "image":
            raise ValueError(f"reconstruction needs modality 'image', not '{self.modality}'")
        return self

    @property
    def pair(self) -> Pair:
        """The pair that this task makes."""
        return Pair(self.name, self.type, self.modality, self.domain, self.head or self.name)


class ClientSettings(Settings):
    """A client. ``count`` makes that many alike (ids ``id-000`` ...); ``unseen`` holds it out of training."""

    id: str
    tasks: tuple[TaskSettings, ...]
    count: Positive = 1
    unseen: bool = False

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"'{value}' must be letters, digits, '_', '-' or '.', at most 64, since it names a folder")
        return value

    @field_validator("tasks")
    @classmethod
    def _distinct_tasks(cls, value: tuple[TaskSettings, ...]) -> tuple[TaskSettings, ...]:
        if not value:
            raise ValueError("a client needs at least one task")
        twice = [name for name, number in Counter(task.name for task in value).items() if number > 1]
        if twice:
            raise ValueError(f"task '{twice[0]}' is listed twice; a client lists a task once")
        return value

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The client's pairs, in the order of its tasks."""
        return tuple(task.pair for task in self.tasks)


class Scenario(Settings):
    """A federation: its clients, data, models and schedule. ``folder`` is where relative data paths start."""

    name: str
    about: str = ""
    rounds: Positive = 15
    clients_per_round: Positive = 4
    local_steps: Positive = 10
    batch_size: Positive = 32
    backbone: BackboneSettings = BackboneSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    method: Mapping[str, Any] = {"name": "tap"}
    data: DataSettings = DataSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    clients: tuple[ClientSettings, ...]
    folder: Path = Field(default=Path(), exclude=True)

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not value.strip() or not value.isprintable() or "/" in value:
            raise ValueError("must be one line without '/', since it names the run's folder")
        return value

    @field_validator("clients")
    @classmethod
    def _expand(cls, value: tuple[ClientSettings, ...]) -> tuple[ClientSettings, ...]:
        clients: list[ClientSettings] = []
        for client in value:
            if client.count == 1:
                clients.append(client)
            else:
                width = max(3, len(str(client.count - 1)))
                if not NAME.fullmatch(f"{client.id}-{0:0{width}d}"):
                    raise ValueError(
                        f"'{client.id}' is too long for an id with a number; at most {63 - width} characters"
                    )
                clients += [
                    client.model_copy(update={"id": f"{client.id}-{i:0{width}d}", "count": 1})
                    for i in range(client.count)
                ]
        twice = [name for name, number in Counter(client.id for client in clients).items() if number > 1]
        if twice:
            raise ValueError(f"client id '{twice[0]}' is used twice; ids must differ")
        if all(client.unseen for client in clients):
            raise ValueError("no client takes part in training; at least one must not be unseen")
        return tuple(clients)

    @model_validator(mode="after")
    def _agree(self) -> Scenario:
        heads: dict[str, tuple[str, str, str]] = {}
        for client in self.clients:
            for task in client.tasks:
                means = (task.type, task.modality, str(task.classes) if task.type == "classification" else "")
                known = heads.setdefault(task.pair.head, means)
                if known != means:
                    raise ValueError(
                        f"client '{client.id}', task '{task.name}': head '{task.pair.head}' is {known} elsewhere and {means} "
                        "here; give one of them another name or `head`"
                    )
        return self

    @property
    def participants(self) -> tuple[ClientSettings, ...]:
        """The clients that train."""
        return tuple(client for client in self.clients if not client.unseen)

    @property
    def unseen(self) -> tuple[ClientSettings, ...]:
        """The clients held out of training."""
        return tuple(client for client in self.clients if client.unseen)

    def client(self, client: str) -> ClientSettings:
        """Return a client by its id; raises UserError if there is none."""
        for settings in self.clients:
            if settings.id == client:
                return settings
        raise UserError(f"client '{client}': the scenario has none; {nearest(client, [c.id for c in self.clients])}")

    def resolved(self) -> dict[str, Any]:
        """Return the whole configuration as JSON-ready values."""
        return self.model_dump(mode="json")


def load_scenario(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario from YAML and apply overrides of the form ``section.key=value``.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        Values are read as YAML, so ``rounds=3`` is a number and ``method.distil=off`` a boolean. A key that is no key of the
        scenario is taken as a parameter of the method (``gate=paired`` is short for ``method.gate=paired``), unless it looks
        like a slip in one of the scenario's (``roundz``).

    Raises
    ------
    UserError
        One line that names the file, the key and the mend.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such scenario; `fedtap scenario list` shows those at hand") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file in UTF-8") from error
    try:
        raw = parse(text)
    except NotYamlError as error:
        line = f" line {error.line}" if error.line else ""
        raise UserError(f"{path}:{line} not valid YAML ({error}); mend that line") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a scenario is a mapping of keys such as 'rounds' and 'clients'")
    raw.setdefault("name", path.stem)
    for override in overrides:
        apply_override(raw, override)
    if "folder" in raw:
        raise UserError(
            f"{path}: unknown key 'folder'; relative paths start at the scenario's own folder, move the file there"
        )
    return build_scenario(raw, place=str(path), folder=path.resolve().parent)


def build_scenario(raw: Mapping[str, Any], *, place: str, folder: Path) -> Scenario:
    """Validate a scenario given as plain values; ``place`` names it in errors."""
    try:
        return Scenario.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        raise UserError(f"{place}: {explain(error, Scenario)}") from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in a nested mapping, in place."""
    key, equals, value = override.partition("=")
    shown = " ".join(override.split())
    if not equals or not key.strip():
        raise UserError(f"--set {shown}: give key=value, for example --set rounds=3")
    names = key.strip().split(".")
    known = [name for name, field in Scenario.model_fields.items() if not field.exclude]
    if len(names) == 1 and names[0] not in known:
        # What the methods' parameters are called is not known on this floor, so only a near miss is taken for a slip.
        if difflib.get_close_matches(names[0], known, n=1, cutoff=0.8):
            raise UserError(f"--set {shown}: unknown key '{names[0]}'; {nearest(names[0], known)}")
        names = ["method", names[0]]
    try:
        parsed = parse(value)
    except NotYamlError as error:
        raise UserError(f"--set {shown}: the value is not valid YAML; put quotes around it") from error
    here = raw
    for name in names[:-1]:
        below = here.setdefault(name, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {shown}: '{name}' has no keys below it; set it as a whole")
        here = below
    here[names[-1]] = parsed
