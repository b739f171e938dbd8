"""What will come from the hub for a scenario: each repository at its commit, its files, how many bytes of them are not here yet.

The hub is asked for what was never fetched, or where another commit is asked for; for the rest the record of the fetch is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fedtap.data.sources.hub.load import files_on_hub
from fedtap.fetching.needs import Need, needs_of
from fedtap.hub import record
from fedtap.hub.faults import told
from fedtap.hub.record import Fetched
from fedtap.hub.repository import Repository, look_up
from fedtap.hub.transfer import quiet
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import Scenario

CARDS = ("README.md", "dataset_infos.json", ".huggingface.yaml")
"""Where a data set says which columns and splits it has."""
FORMS = (".parquet", ".jsonl", ".json", ".csv", ".arrow")
"""Of data files: plain values. Archives may hold anything, pickles too, and are not taken."""
Parts = Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Item:
    """A repository that is needed.

    Attributes
    ----------
    need
        What of it.
    repository
        At the commit that is taken.
    paths
        Its files.
    parts
        Of a data set: the files of each split, by configuration.
    """

    need: Need
    repository: Repository
    paths: tuple[str, ...]
    parts: Parts = field(default_factory=dict)

    @property
    def size(self) -> int:
        """All bytes of its files."""
        return self.repository.size(self.paths)

    @property
    def to_come(self) -> int:
        """The bytes that are not here yet."""
        files, folder = self.repository.files, self.repository.folder
        return self.repository.size(path for path in self.paths if not files[path].fits(folder / path))

    @property
    def licence(self) -> str:
        """What it may be used for, as its source here states it, or else its card."""
        return self.need.licence or self.repository.licence or "not stated"

    def fetched(self) -> Fetched:
        """Return the record of it, with what was fetched of the same commit before."""
        repository = self.repository
        before = record.read(repository.kind, repository.name)
        same = before is not None and before.revision == repository.revision
        return Fetched(
            kind=repository.kind,
            name=repository.name,
            revision=repository.revision,
            licence=repository.licence,
            gated=repository.gated,
            files={
                **(before.files if before is not None and same else {}),
                **{path: repository.files[path] for path in self.paths},
            },
            parts={**(before.parts if before is not None and same else {}), **self.parts},
        )


def plan_of(
    scenario: Scenario, *, revisions: Mapping[str, str] | None = None, update: bool = False
) -> tuple[Item, ...]:
    """Return what will come for a scenario, and what is here already.

    Parameters
    ----------
    scenario
        Who needs it.
    revisions
        Commits, tags or branches by repository; by default what was fetched before, or else the newest of the main branch.
    update
        Whether to take the newest where something was fetched before.

    Raises
    ------
    UserError
        If the hub cannot be reached, has no such repository or revision, keeps it back, or it lacks what is needed.
    """
    asked = dict(revisions or {})
    needs = needs_of(scenario)
    for name in asked:
        if name not in {need.name for need in needs}:
            known = [need.name for need in needs]
            why = nearest(name, known) if known else "it needs nothing of the hub"
            raise UserError(f"--revision {name}: scenario '{scenario.name}' needs no such repository; {why}")
    return tuple(_item(need, asked.get(need.name), update) for need in needs)


def _item(need: Need, asked: str | None, update: bool) -> Item:
    before = record.read(need.kind, need.name)
    if before is not None and not update and asked in (None, before.revision):
        known = _of_record(need, before)
        if known is not None:
            return known
        asked = before.revision
    repository = look_up(need.kind, need.name, asked)
    return _model(need, repository) if need.kind == "model" else _data_set(need, repository)


def _of_record(need: Need, before: Fetched) -> Item | None:
    """Return the item as it was fetched, if all of what is needed was."""
    repository = before.repository
    if need.kind == "model":
        whole = all(repository.matching((pattern,)) for pattern in need.must)
        return Item(need, repository, repository.matching(need.patterns)) if whole else None
    if any(not set(splits) <= set(before.parts.get(config, {})) for config, splits in need.splits.items()):
        return None
    parts = {config: before.parts[config] for config in need.splits}
    return Item(need, repository, _paths(repository, parts), parts)


def _model(need: Need, repository: Repository) -> Item:
    for pattern in need.must:
        if not repository.matching((pattern,)):
            what = "weights in safetensors (others would have to be unpickled)" if "safetensors" in pattern else pattern
            raise UserError(
                f"{need.name}: has no {what} at {repository.revision[:12]}; give a revision that has: --revision "
                f"{need.name}=COMMIT (or =refs/pr/N, where somebody has offered them), or a local folder"
            )
    return Item(need, repository, repository.matching(need.patterns))


def _data_set(need: Need, repository: Repository) -> Item:
    parts: dict[str, dict[str, tuple[str, ...]]] = {}
    for config, splits in need.splits.items():
        whole = f"{need.name} ({config})" if config else need.name
        try:
            with quiet():
                there = files_on_hub(need.name, config or None, repository.revision)
        except UserError:
            raise
        except Exception as error:  # what `datasets` makes of a card is of many kinds
            raise told(error, "dataset", need.name, repository.revision) from error
        for split in splits:
            if split not in there:
                near = nearest(split, there) if there else "it has none"
                raise UserError(
                    f"{whole}: no split '{split}' at {repository.revision[:12]} ({near}); give an earlier revision: "
                    f"--revision {need.name}=COMMIT"
                )
            _check_files(there[split], whole, repository)
        parts[config] = {split: there[split] for split in splits}
    return Item(need, repository, _paths(repository, parts), parts)


def _check_files(paths: tuple[str, ...], whole: str, repository: Repository) -> None:
    for path in paths:
        if path not in repository.files or PurePosixPath(path).suffix not in FORMS:
            raise UserError(
                f"{whole}: its file '{path or 'elsewhere'}' is none of {', '.join(FORMS)} in its repository at "
                f"{repository.revision[:12]}, and is not taken; give an earlier revision: --revision {repository.name}=COMMIT"
            )


def _paths(repository: Repository, parts: Parts) -> tuple[str, ...]:
    files = {path for splits in parts.values() for paths in splits.values() for path in paths}
    return tuple(sorted(files | (set(CARDS) & set(repository.files))))
