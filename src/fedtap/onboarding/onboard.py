"""``fedtap.onboard``: a new site's personal model from a finished run, in a folder of its own, and what it gains by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedtap import __version__
from fedtap.algorithms.base import Algorithm, ByTask
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.data.partition import fingerprints, partition
from fedtap.data.reading import remembering
from fedtap.data.site_data import SiteData
from fedtap.evaluation.evaluate import Row
from fedtap.experiment.planning import architecture_name, network_of
from fedtap.models.folder import empty_folder
from fedtap.models.personal_model import PersonalModel
from fedtap.models.saved_model import ModelTask, SavedModel
from fedtap.onboarding.federation import Joining, read_joining
from fedtap.onboarding.gain import TaskGain, gain_on
from fedtap.onboarding.joining import Joined, join
from fedtap.reporting.cards import CardTask, model_card
from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded
from fedtap.runtime.overrides import Overrides, lines_of
from fedtap.runtime.storage import write_json

RESULT = "onboarding.json"
SCHEMA = 1
_ALONE = "local"
"""The method of training alone, which other methods are measured against."""


@dataclass(frozen=True, slots=True)
class Onboarded:
    """What came of onboarding a site.

    Parameters
    ----------
    model
        Its personal model.
    rows
        The test of all its models, as rows of results.json.
    gains
        By task, what the personal model gains over training alone.
    steps
        How many steps of training the site took to join, and how many alone.
    fresh
        The components that the run had never trained.
    notes
        What else is to be known.
    """

    model: PersonalModel
    rows: Sequence[Row]
    gains: Sequence[TaskGain]
    steps: Mapping[str, int]
    fresh: Sequence[str]
    notes: Sequence[str]


def onboard(
    run: str | Path,
    *,
    client: str | Path,
    to: str | Path,
    method: str | None = None,
    overrides: Overrides = (),
    device: str = "auto",
    with_backbone: bool = False,
    observers: Sequence[Callable[[dict[str, Any]], None]] = (),
) -> Onboarded:
    """Give a site that never took part in a finished run its personal model, and write it into a folder.

    The site gets its slice of the server's last model, with heads and other components of its own where the run has none, and
    does what the run's method has a client do after the last round. Beside it the site trains alone, as the method ``local`` has
    a client do that never took part: for as many steps as a participant took on average.

    Parameters
    ----------
    run
        The run's folder.
    client
        A YAML file: ``id`` and ``tasks`` as a scenario lists a client, or a scenario with one client. Relative paths start there.
    to
        A new folder, or an empty one; :meth:`PersonalModel.from_pretrained` reads it. ``onboarding.json`` in it has the rows and
        the gains.
    method
        Where the run's method is a file of one's own: that file.
    overrides
        Settings for what the site does, such as ``{"training.finetune_steps": 100}`` or ``["training.finetune_steps=100"]``.
    device
        ``auto``, ``cpu``, ``cuda`` or any torch device.
    with_backbone
        Carry the frozen weights along.
    observers
        Called with events on the data and on the progress.

    Raises
    ------
    UserError
        If anything given is wrong.
    """

    def tell(event: dict[str, Any]) -> None:
        for observer in observers:
            observer(event)

    place = expanded(to)
    joining = read_joining(expanded(run), expanded(client), lines_of(overrides))
    scenario, newcomer, seed = joining.scenario, joining.client, int(joining.record["seed"])
    algorithm = _algorithm(joining, method)
    empty_folder(place)
    remarks: list[dict[str, Any]] = []
    here = SiteData(newcomer.id, scenario.folder, whole=joining.was_there)
    shares = partition(scenario, seed, here, tell=remembering(remarks, tell))
    for remark in remarks:
        tell(remark)
    notes = [*joining.notes, *_other_data(joining, fingerprints(shares)[newcomer.id])]
    options: dict[str, Any] = {"seed": seed, "device": device, "shares": shares, "tell": tell}
    tell({"event": "joining", "client": newcomer.id, "method": algorithm.name})
    joined = join(scenario, algorithm, newcomer, joining.server, **options)
    control = make(scenario.method, _ALONE)
    tell({"event": "joining", "client": newcomer.id, "method": control.name})
    alone = join(scenario, control, newcomer, joining.server, **options)
    splits = shares[newcomer.id]
    gains = [
        gain_on(pair, splits[pair.task], (joined, algorithm.deployed), (alone, control.deployed))
        for pair in newcomer.pairs
    ]
    model = _personal_model(joining, algorithm, joined, device)
    model.save_pretrained(place, with_backbone=with_backbone)
    done = Onboarded(
        model=model,
        rows=joined.rows,
        gains=gains,
        steps={"joining": joined.steps, "alone": alone.steps},
        fresh=[str(key) for key in sorted(joined.fresh)],
        notes=notes,
    )
    write_json(place / RESULT, _told(joining, algorithm, done, alone))
    return done


def _algorithm(joining: Joining, method: str | None) -> Algorithm:
    """Return the run's method, with its parameters; a file of one's own must be the one that the run had."""
    name = joining.record["method"]
    found = make(joining.scenario.method, method, place=f"method of run {joining.run[:8]}")
    if found.name != name:
        raise UserError(
            f"--method {method}: is '{found.name}', and the run's is '{name}'; give the run's, or leave it out"
        )
    return found


def _other_data(joining: Joining, found: str) -> list[str]:
    """Return a line if the run has tested this client on other data."""
    told = (joining.record.get("data") or {}).get(joining.client.id)
    if told is None or told == found:
        return []
    return [
        f"client '{joining.client.id}': the run has tested it on other data; its results there are no measure of these"
    ]


def _personal_model(joining: Joining, algorithm: Algorithm, joined: Joined, device: str) -> PersonalModel:
    scenario, client = joining.scenario, joining.client
    held = joined.models[algorithm.deployed]

    def saved(name: str, state: ComponentState) -> SavedModel:
        return SavedModel(
            name=name,
            client=client.id,
            method=algorithm.name,
            seed=int(joining.record["seed"]),
            kind=joining.record["kind"],
            tasks=ModelTask.of_client(client),
            backbone=scenario.backbone.whole(),
            network=network_of(scenario, algorithm),
            architecture=architecture_name(scenario, algorithm),
            state=state,
        )

    if isinstance(held, ByTask):
        states = {name: joined.models[name] for name in sorted(set(held.models.values()))}
        others = {name: saved(name, state) for name, state in states.items() if isinstance(state, ComponentState)}
        by_task = {task: others[name] for task, name in held.models.items()}
        whole = replace(others[min(others)], name=algorithm.deployed, by_task=by_task)
    else:
        whole = saved(algorithm.deployed, held)
    card = model_card(
        client=client.id,
        model=whole.name,
        method=algorithm.name,
        scenario=scenario.name,
        seed=whole.seed,
        backbone=f"{scenario.backbone.name}: {Path(scenario.backbone.vision).name} + {Path(scenario.backbone.text).name}",
        tasks=[
            CardTask(task.name, task.type, task.modality, task.domain, task.data, task.licence) for task in whole.tasks
        ],
        rows=joined.rows,
        version=__version__,
        of_its_own=True,
    )
    return PersonalModel(whole, lambda: card, device=device)


def _told(joining: Joining, algorithm: Algorithm, done: Onboarded, alone: Joined) -> dict[str, Any]:
    """Return what onboarding.json holds: nothing of this machine, and nothing that varies from one time to the next."""
    return {
        "schema": SCHEMA,
        "fedtap": __version__,
        "scenario": joining.scenario.name,
        "method": algorithm.name,
        "seed": int(joining.record["seed"]),
        "client": joining.client.id,
        "rows": list(done.rows),
        "alone": alone.rows,
        "gains": [gain.to_json() for gain in done.gains],
        "steps": dict(done.steps),
        "untrained": list(done.fresh),
        "notes": list(done.notes),
    }
