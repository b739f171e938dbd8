"""Model cards: the README.md beside each saved model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtap.reporting.html.formatting import metric_name, number
from fedtap.reporting.run.standings import BASELINES
from fedtap.runtime.text import one_line

MODELS = {
    "federated": "the client's slice of the server's model after the last round",
    "finetuned": "the client's slice of the server's model, then fine-tuned on the client's data",
    "personal": "the client's personal model, trained on the client's data and never uploaded",
    "local": "a model trained on the client's data alone",
    "chosen": "no model of its own: for each task the one of the client's models that is best on its validation data",
}

_FOR_THE_HUB = "---\nlibrary_name: fedtap\ntags:\n- federated-learning\n- personalization\n---\n\n"


@dataclass(frozen=True, slots=True)
class CardTask:
    """A task of the client, as the card describes it; ``source`` is the data source's title, ``licence`` that of its data."""

    name: str
    type: str
    modality: str
    domain: str
    source: str
    licence: str


def model_card(
    *,
    client: str,
    model: str,
    method: str,
    scenario: str,
    seed: int,
    backbone: str,
    tasks: Sequence[CardTask],
    rows: Iterable[Mapping[str, Any]] = (),
    version: str = "",
    of_its_own: bool = False,
) -> str:
    """Return the README.md of ``clients/CLIENT/MODEL``, in Markdown.

    Parameters
    ----------
    backbone
        The frozen foundation model's name, in words.
    rows
        Rows of results.json; those of this client on its own test data are shown.
    version
        fedtap's version.
    of_its_own
        Whether it is the card of a folder that has left the run, as one shares it: it begins with what the hub reads.

    Examples
    --------
    >>> task = CardTask("digits", "classification", "image", "scans", "Optical digits", "CC BY 4.0")
    >>> card = model_card(
    ...     client="c0", model="personal", method="tap", scenario="demo", seed=0, backbone="towers", tasks=[task]
    ... )
    >>> print(card.splitlines()[0])
    # Model `personal` of client `c0`
    """
    return (
        (_FOR_THE_HUB if of_its_own else "")
        + "\n\n".join(
            part
            for part in (
                f"# Model `{_plain(model)}` of client `{_plain(client)}`",
                f"This is {MODELS.get(model, f'the model that the method calls {_plain(model)}')}. It comes from the scenario "
                f"`{_plain(scenario)}`, method `{_plain(method)}`, seed {seed}"
                + (f", trained with fedtap {_plain(version)}." if version else "."),
                f"It holds trained components only. The frozen foundation model ({_plain(backbone)}) is loaded beside it"
                + (" and is not in this folder." if not of_its_own else "; `config.json` names it, with its digest."),
                "## Tasks and data\n\n" + _tasks(tasks),
                _metrics(client, model, rows),
                "## Use\n\n" + (_usage_alone(tasks) if of_its_own else _usage(client, model, tasks)),
                "## Limits\n\nThe model knows the tasks and the domains above and nothing else; it was trained on few data of "
                "one client, and its scores say nothing about other data. A personal model may reveal something about the data "
                "it was trained on: share it as you would share them. Whoever uses it is bound by the licences above and by "
                "that of the foundation model.",
            )
            if part
        )
        + "\n"
    )


def _tasks(tasks: Sequence[CardTask]) -> str:
    rows = [(task.name, task.type, task.modality, task.domain, task.source, task.licence) for task in tasks]
    return _table(("task", "type", "modality", "domain", "data", "licence"), rows)


def _metrics(client: str, model: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the scores of this model, with each trivial baseline of the same metric beside them."""
    own = [row for row in rows if row["client"] == client and row["split"] in ("test", "unseen")]
    baselines: dict[tuple[str, str], list[str]] = {}
    for row in own:
        if row["model"] in BASELINES:
            shown = f"{number(row['value'])} ({row['model'].replace('_', ' ')})"
            baselines.setdefault((row["task"], row["metric"]), []).append(shown)
    scores = [
        (
            row["task"],
            metric_name(row["metric"]),
            number(row["value"]),
            str(row.get("n") or ""),
            ", ".join(baselines.get((row["task"], row["metric"]), [])) or "–",
        )
        for row in own
        if row["model"] == model
    ]
    if not scores:
        return ""
    return "## Scores on the client's test data\n\n" + _table(
        ("task", "metric", "value", "n", "trivial baseline"), scores
    )


def _usage(client: str, model: str, tasks: Sequence[CardTask]) -> str:
    task = tasks[0] if tasks else CardTask("TASK", "", "text", "", "", "")
    parts = task.modality.split("+")
    given = (" --image FILE.png" if "image" in parts else "") + (" --text 'some text'" if "text" in parts else "")
    image = "Path('FILE.png')" if "image" in parts else "None"
    text = "'some text'" if "text" in parts else "None"
    return (
        "From the folder of the run:\n\n"
        f"```console\nfedtap predict RUN --client {client} --task {task.name} --model {model}{given}\n```\n\n"
        "```python\nfrom pathlib import Path\n\nfrom fedtap import predict\n\n"
        f'predict(Path("RUN"), client="{client}", task="{task.name}", image={image}, text={text}, model="{model}")\n```'
    )


def _usage_alone(tasks: Sequence[CardTask]) -> str:
    task = tasks[0] if tasks else CardTask("TASK", "", "text", "", "", "")
    parts = task.modality.split("+")
    shell = {"image": "--image FILE.png", "text": "--text 'some text'"}
    python = {"image": 'image="FILE.png"', "text": 'text="some text"'}
    return (
        f"```console\nfedtap predict FOLDER --task {task.name} {' '.join(shell[part] for part in parts)}\n```\n\n"
        "```python\nimport fedtap\n\n"
        'model = fedtap.PersonalModel.from_pretrained("FOLDER")\n'
        f'model.predict(task="{task.name}", {", ".join(python[part] for part in parts)})\n```'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return text that cannot break a table, a heading or a code span."""
    return one_line(text).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
