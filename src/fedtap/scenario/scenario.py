"""Scenarios: typed, frozen configuration from a YAML file and ``key=value`` overrides.

An unknown key is refused with the nearest known name. Everything here can be checked without data and without weights.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from fedtap.pairs import Fusion
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.folder_or_hub import means_folder
from fedtap.runtime.home import expanded
from fedtap.runtime.overrides import Overrides, lines_of
from fedtap.scenario.backbone import BackboneSettings as BackboneSettings
from fedtap.scenario.backbone import LoraSettings as LoraSettings
from fedtap.scenario.clients import ClientSettings as ClientSettings
from fedtap.scenario.clients import TaskSettings as TaskSettings
from fedtap.scenario.clients import require_distinct
from fedtap.scenario.data import DataSettings as DataSettings
from fedtap.scenario.evaluation import TEXT_METRICS as TEXT_METRICS
from fedtap.scenario.evaluation import EvaluationSettings as EvaluationSettings
from fedtap.scenario.explain import explain as explain
from fedtap.scenario.explain import location_of, whose
from fedtap.scenario.heads import ClassificationSettings, ReconstructionSettings, TextGenerationSettings
from fedtap.scenario.plain_yaml import NotYamlError, line_of, parse, read_parsed
from fedtap.scenario.population import expand_population
from fedtap.scenario.renamed import current, with_current_keys
from fedtap.scenario.report import ReportSettings, TrackingSettings
from fedtap.scenario.safety import DefenceSettings, PrivacySettings, Safety, Sampling, Weights, WireSettings
from fedtap.scenario.settings import (
    Depth,
    Float,
    Int,
    Many,
    Positive,
    Rate,
    Rounds,
    Settings,
    Width,
)
from fedtap.scenario.shipped import mend_of, scenario_file
from fedtap.scenario.theory import Theory
from fedtap.scenario.training import Precision as Precision
from fedtap.scenario.training import TrainingSettings as TrainingSettings

LocalEpochs = Annotated[Float, Field(gt=0, le=1_000)]


class NetworkSettings(Settings):
    """The network on top of the frozen foundation model.

    ``name`` is the architecture: ``experts`` (algorithm.md, section 5), ``plain`` (one fusion transformer that all share, no
    experts) or ``probe`` (a linear classifier on pooled features; classification only). A method may bring its own.
    ``adaptation`` is ``full`` (fusion layers trained from a seeded start), ``lora`` (frozen, with low-rank adapters), ``colora``
    (frozen, and so are the adapters' outer factors: of each only a square of the rank's size is trained and sent), ``dual``
    (frozen, with two adapters a matrix, mixed for each input by a learned gate) or ``dual_near`` (the same, mixed by how near the
    input is to what a client knows). The last three are what methods bring that need them.
    ``lora_rank`` and ``lora_alpha`` are those of all adapters of the fusion, but for the experts' where those are given;
    ``lora_dropout`` is theirs in training.
    ``answer_tokens`` bounds generated text. ``head_dim`` is the width of the heads where it is not ``dim``: a fusion as wide as a
    foundation model's would make them larger than all else that a client sends.
    """

    name: Literal["experts", "plain", "probe"] = "experts"
    dim: Width = 128
    heads: Width = 4
    layers: Depth = 1
    expert_dim: Width = 256
    domain_dim: Width = 32
    adaptation: Literal["full", "lora", "colora", "dual", "dual_near"] = "full"
    lora_rank: Width = 8
    lora_alpha: Rate = 16.0
    lora_dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.0
    expert_lora_rank: Width | None = None
    expert_lora_alpha: Rate | None = None
    fusion: Fusion = "joint"
    decoder_layers: Depth = 1
    head_dim: Width | None = None
    answer_tokens: Annotated[Int, Field(ge=2, le=512)] = 24
    classification: ClassificationSettings = ClassificationSettings()
    reconstruction: ReconstructionSettings = ReconstructionSettings()
    text_generation: TextGenerationSettings = TextGenerationSettings()

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        """Take ``network: plain`` as short for ``network: {name: plain}``."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> NetworkSettings:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        if self.head_dim is not None and self.head_dim % (self.dim // self.heads):
            raise ValueError(f"head_dim={self.head_dim} must be a multiple of dim / heads = {self.dim // self.heads}")
        return self

    def low_rank(self, matrix: str) -> tuple[int, float]:
        """Return rank and alpha of the adapter of a fusion matrix: ``q_w``, ``v_w``, or an expert's ``up_w``, ``down_w``."""
        if matrix in ("up_w", "down_w"):
            return self.expert_lora_rank or self.lora_rank, self.expert_lora_alpha or self.lora_alpha
        return self.lora_rank, self.lora_alpha

    @property
    def dual(self) -> bool:
        """Whether each adapted matrix has two adapters and a gate."""
        return self.adaptation in ("dual", "dual_near")

    def of_heads(self) -> NetworkSettings:
        """Return the settings that heads are built from: those of their own width, with attention heads of the same size."""
        if self.head_dim is None:
            return self
        heads = self.head_dim // (self.dim // self.heads)
        return self.model_copy(update={"dim": self.head_dim, "heads": heads, "head_dim": None})


class Scenario(Settings):
    """A federation: its clients, data, models and schedule.

    ``population`` spreads the listed clients over so many that train, ``tasks_per_client`` deals each no more than so many of
    the tasks that it lists; neither changes the examples of a task in all (:mod:`fedtap.scenario.population`). ``clients`` are
    those that come out. ``folder`` is where relative paths start, of data and of models. ``round_timeout`` is how many seconds a
    client has to answer (None: as long as it takes; in one process nobody is waited for), and a round with fewer sound replies
    than ``min_replies`` changes nothing. ``weights`` is what a holder of a component weighs in its mean: its training examples
    whose path uses it (``component``), all its examples (``client``), or as much as any other (``uniform``). ``sampling`` is
    how a round's clients are chosen: ``dealt`` like cards, everybody once before anybody twice; ``uniform``, all sets alike;
    ``coverage``, the more often the fewer hold the rarest of a client's components, and weighed the less for it.
    ``local_epochs`` goes before ``local_steps``: a client takes, in a round, as many steps as that many passes over its training
    examples have batches, so that who has more takes more.
    """

    name: str
    about: str = ""
    folder: Path = Field(default=Path(), exclude=True)
    rounds: Rounds = 15
    clients_per_round: Positive = 4
    round_timeout: Rate | None = None
    min_replies: Positive = 1
    local_steps: Positive = 10
    local_epochs: LocalEpochs | None = None
    batch_size: Positive = 32
    backbone: BackboneSettings = Field(default=BackboneSettings(), validate_default=True)
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    method: Mapping[str, Any] = {"name": "tap"}
    data: DataSettings = DataSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    report: ReportSettings = ReportSettings()
    tracking: TrackingSettings = TrackingSettings()
    defence: DefenceSettings = DefenceSettings()
    wire: WireSettings = WireSettings()
    privacy: PrivacySettings = PrivacySettings()
    theory: Theory = None
    weights: Weights = "component"
    sampling: Sampling = "dealt"
    population: Many | None = None
    tasks_per_client: Positive | None = None
    clients: tuple[ClientSettings, ...]

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not value.strip() or not value.isprintable() or "/" in value:
            raise ValueError("must be one line without '/', since it names the run's folder")
        return value

    @field_validator("backbone")
    @classmethod
    def _starts_here(cls, value: BackboneSettings, info: ValidationInfo) -> BackboneSettings:
        return value.at(info.data.get("folder", Path()))

    @field_validator("clients")
    @classmethod
    def _spread(cls, value: tuple[ClientSettings, ...], info: ValidationInfo) -> tuple[ClientSettings, ...]:
        given = info.data
        if not {"data", "population", "tasks_per_client"} <= given.keys():
            return value  # one of those is wrong, which is the fault to tell
        keys = {key: given[key] for key in ("population", "tasks_per_client")}
        clients = expand_population(value, size=given["data"].size, **keys)
        require_distinct(clients)
        if all(client.unseen for client in clients):
            raise ValueError("no client takes part in training; at least one must not be unseen")
        return clients

    @model_validator(mode="after")
    def _agree(self) -> Scenario:
        if self.min_replies > self.clients_per_round:
            raise ValueError(
                f"min_replies={self.min_replies} is more than clients_per_round={self.clients_per_round}; lower it"
            )
        clash = self.safety.clash() or (None if self.theory is None else self.theory.clash(self.privacy))
        if clash is not None:
            raise ValueError(clash)
        self._epochs_clash()
        if self.evaluation.validation_every and self.privacy != PrivacySettings():
            raise ValueError(
                "evaluation.validation_every and the section privacy do not go together: what models score on a client's "
                "validation data, and on how many, would leave the client in the rounds; remove one of the two"
            )
        heads: dict[str, tuple[str, str, str]] = {}
        for client in self.clients:
            for task in client.tasks:
                means = task.means
                known = heads.setdefault(task.pair.head, means)
                if known != means:
                    raise ValueError(
                        f"client '{client.id}', task '{task.name}': head '{task.pair.head}' is {known} elsewhere and {means} "
                        "here; give one of them another name or `head`"
                    )
        return self

    def _epochs_clash(self) -> None:
        if self.local_epochs is None:
            return
        for key, why in (
            ("theory", None if self.theory is None else "the theorem has one number of steps for all"),
            (
                "privacy.local",
                None if self.privacy.local is None else "private steps are paid for before they are counted",
            ),
        ):
            if why is not None:
                raise ValueError(f"local_epochs and {key} do not go together: {why}; give local_steps instead")

    def paced(self, sizes: Iterable[int]) -> Scenario:
        """Return it as a client with training sets of these sizes, one a task, has it: with its own ``local_steps``.

        Where they count in epochs, there is one more where batches do not come out even, and one at the least.
        """
        if self.local_epochs is None:
            return self
        examples = sum(sizes)
        batches = examples / max(1, min(self.batch_size, examples))
        steps = math.ceil(self.local_epochs * batches - 1e-9)  # what is even but for rounding is even
        return self.model_copy(update={"local_steps": max(1, steps)})

    @property
    def safety(self) -> Safety:
        """The sections on what becomes of updates."""
        keys = ("defence", "wire", "privacy", "weights", "sampling")
        return Safety(**{key: getattr(self, key) for key in keys})

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
        found = self.by_id.get(client)
        if found is None:
            raise UserError(f"client '{client}': the scenario has none; {nearest(client, list(self.by_id))}")
        return found

    @cached_property
    def by_id(self) -> Mapping[str, ClientSettings]:
        """The clients by their ids."""
        return {client.id: client for client in self.clients}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Scenario:
        """Return a copy with some values changed, unchecked."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("by_id", None)  # other clients, perhaps
        return copied

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as JSON-ready values, without ``tracking``: who hears of a run is no part of what it is."""
        return self.model_dump(mode="json", exclude={"tracking"})


def load_scenario(path: str | Path, overrides: Overrides = (), folder: Path | None = None) -> Scenario:
    """Read a scenario from YAML and apply overrides of the form ``section.key=value``, or a mapping of them.

    Parameters
    ----------
    path
        A YAML file, or the name of a federation that comes with fedtap (:mod:`fedtap.scenario.shipped`).
    folder
        Where relative paths start, if not at the file's own folder.
    overrides
        Values are read as YAML, so ``rounds=3`` is a number and ``method.distil=off`` a boolean. A relative folder of a model is
        one where the command runs if it is there, and otherwise starts at the scenario's own. A key that is no key of the
        scenario is taken as a parameter of the method (``gate=paired`` is short for ``method.gate=paired``), unless it looks
        like a slip in one of the scenario's (``roundz``).

    Raises
    ------
    UserError
        One line that names the file, the key and the mend.
    """
    path = scenario_file(path)
    try:
        text, raw = read_parsed(path, str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such scenario; {mend_of(path)}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a scenario is a mapping of keys such as 'rounds' and 'clients'")
    raw = with_current_keys(raw, str(path))
    raw.setdefault("name", path.stem)
    lines = lines_of(overrides)
    for line in lines:
        apply_override(raw, line)
    if "folder" in raw:
        raise UserError(
            f"{path}: unknown key 'folder'; relative paths start at the scenario's own folder, move the file there"
        )
    given = [line.partition("=")[0].strip() for line in lines]
    folder = (path.parent if folder is None else folder).resolve()
    return build_scenario(raw, place=str(path), folder=folder, text=text, overridden=given)


def build_scenario(
    raw: Mapping[str, Any], *, place: str, folder: Path, text: str = "", overridden: Sequence[str] = ()
) -> Scenario:
    """Validate a scenario given as plain values; ``place`` names it in errors, with the line where there is a YAML ``text``."""
    raw = with_current_keys(raw, place)
    try:
        return Scenario.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        location = location_of(error)
        key = ".".join(map(str, location))
        setting = next((name for name in overridden if f"{key}.".startswith(f"{name}.")), None)
        if setting is not None:
            where = f"--set {setting}"
        else:
            line = line_of(text, location)
            where = place if line is None else f"{place}:{line}"
        raise UserError(f"{where}: {whose(location, raw)}{explain(error, Scenario)}") from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in a nested mapping, in place."""
    key, equals, value = override.partition("=")
    shown = " ".join(override.split())
    if not equals or not key.strip():
        raise UserError(f"--set {shown}: give key=value, for example --set rounds=3")
    names = current(key.strip(), f"--set {shown}").split(".")
    known = [name for name, field in Scenario.model_fields.items() if not field.exclude]
    try:
        parsed = parse(value)
    except NotYamlError as error:
        raise UserError(f"--set {shown}: the value is not valid YAML; put quotes around it") from error
    if names == ["weights"] and not isinstance(parsed, str):  # a method's, by task family; the scenario's is a word
        names = ["method", *names]
    if len(names) == 1 and names[0] not in known:
        # What the methods' parameters are called is not known on this floor, so only a near miss is taken for a slip.
        slips = [name for name in known if name != "weights"]  # a method's own `weight` is none
        if difflib.get_close_matches(names[0], slips, n=1, cutoff=0.8):
            raise UserError(f"--set {shown}: unknown key '{names[0]}'; {nearest(names[0], known)}")
        names = ["method", names[0]]
    here = raw
    for name in names[:-1]:
        below = here.setdefault(name, {})
        if name == "network" and isinstance(below, str):  # `network: plain` is short for its name
            below = here[name] = {"name": below}
        if not isinstance(below, dict):
            raise UserError(f"--set {shown}: '{name}' has no keys below it; set it as a whole")
        here = below
    here[names[-1]] = _where_the_command_runs(".".join(names), parsed)


FOLDERS = ("backbone.path", "backbone.vision", "backbone.text", "evaluation.bertscore_encoder")
"""Keys that may name a folder."""


def _where_the_command_runs(key: str, value: Any) -> Any:
    """Return a value of the command line whole, where it names a folder: there, unlike in a file, paths start where one is."""
    if key not in FOLDERS or not isinstance(value, str):
        return value
    folder = expanded(value)
    tower = key in ("backbone.vision", "backbone.text")
    return str(folder.resolve()) if folder.is_dir() and (not tower or means_folder(value, folder)) else value
