"""Test examples side by side: what goes in, what is right, what each model answers. Not here: which were drawn (evaluation)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import metric_name, number, plural
from fedtap.reporting.html.page import Section, section
from fedtap.reporting.html.templating import piece, render
from fedtap.reporting.run.gains import SHARES
from fedtap.reporting.run.outcomes import Kept, picture, values_of
from fedtap.reporting.run.record import RunRecord
from fedtap.reporting.run.standings import model_order

MOST_BLOCKS = 48
"""Client tasks whose examples a page shows; pictures would make it heavy."""
MOST_LETTERS = 500_000
"""Of pictures in base64 on a page."""
NOTE = (
    "Drawn by the run's seed from each client's own test data: half of them right, half wrong, as far as there are such, where "
    "an answer can be either; all alike where it cannot. They show what answers look like; how often they are right stands above "
    "each table."
)


def shown_tasks(record: RunRecord) -> dict[str, str]:
    """Return task -> what links call its examples, of the tasks that have some."""
    names = list(dict.fromkeys(task for _, task in record.pairs()))
    there = {task for kept in record.outcomes.values() for task, its in kept.items() if its["shown"]}
    return {task: f"examples-{number}-{_slug(task)}" for number, task in enumerate(names, start=1) if task in there}


def examples_section(record: RunRecord, deployed: str) -> Section | None:
    """Return examples of every task, of one client open and of others behind a line; None where none were kept.

    Of a task with many clients as many are shown as a page bears, and how many are not is said.
    """
    keys = shown_tasks(record)
    if not keys:
        return None
    room = max(1, MOST_BLOCKS // len(keys))
    letters = max(1, MOST_LETTERS // len(keys))
    tasks = []
    for task, key in keys.items():
        having = [client for client, name in record.pairs() if name == task and _shown(record, client, task)]
        blocks: list[dict[str, Any]] = []
        for client in having[:room]:
            block = _block(record, client, task, deployed)
            if blocks and sum(each["letters"] for each in blocks) + block["letters"] > letters:
                break
            blocks.append(block)
        left = len(having) - len(blocks)
        more = plural(len(blocks) - 1, "other client")
        about = f"examples of {plural(left, 'more client')} are kept and not shown" if left else ""
        tasks.append({"key": key, "name": task, "about": about, "blocks": blocks, "more": more})
    return section("Examples, side by side", piece("note", NOTE), render("examples.html", tasks=tasks))


def _shown(record: RunRecord, client: str, task: str) -> bool:
    return bool(record.outcomes.get(client, {}).get(task, {}).get("shown"))


def _block(record: RunRecord, client: str, task: str, deployed: str) -> dict[str, Any]:
    kept = record.outcomes[client][task]
    values = values_of(record.outcomes, client, task, kept["metric"])
    models = model_order(name for each in kept["shown"] for name in each["answers"])
    rows = [_row(kept, each, models, values) for each in kept["shown"]]
    drawn = [part["image"] for row in rows for part in (row["input"], row["truth"], *row["answers"])]
    return {
        "caption": f"{client}, {task}: {_how_often(kept, values, models, deployed)}",
        "models": models,
        "rows": rows,
        "letters": sum(map(len, drawn)),
    }


def _how_often(kept: Kept, values: Mapping[str, Sequence[float]], models: Sequence[str], deployed: str) -> str:
    """Return of how many examples the rows were drawn, and how many of those the models answer right."""
    total = int(kept["sizes"].get("test", 0))
    if kept["metric"] not in SHARES or deployed not in values:
        return f"{len(kept['shown'])} of {plural(total, 'test example')}; what counts is {metric_name(kept['metric'])}"
    right = ", ".join(f"{model} {sum(values[model]):.0f}" for model in models if model in values)
    return f"{len(kept['shown'])} of {plural(total, 'test example')}. Right, of all {total}: {right}"


def _row(
    kept: Kept, shown: Mapping[str, Any], models: Sequence[str], values: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    place, repeats = int(shown["place"]), shown["truth"].get("image") is not None
    given = _part({"text": shown.get("text"), "image": None if repeats else shown.get("image")}, "the input picture")
    if repeats and not given["text"]:
        given["text"] = f"test example {place + 1}, to be drawn again"
    truth = _part(shown["truth"], "the picture to be drawn")
    answers = []
    for model in models:
        answer = shown["answers"].get(model)
        if answer is None:
            answers.append(_part({"text": "–"}, ""))
            continue
        part = _part(answer, f"the picture that the model {model} drew")
        share = answer.get("share")
        part["note"] = "" if share is None else f"{share:.0%}"
        outcome = values[model][place] if model in values and place < len(values[model]) else None
        if outcome is not None and kept["metric"] in SHARES:
            part["verdict"] = "right" if outcome else "wrong"
        elif outcome is not None and part["image"]:
            part["note"] = f"{metric_name(kept['metric'])} {number(outcome)}"
        answers.append(part)
    return {"input": given, "truth": truth, "answers": answers}


def _part(told: Mapping[str, Any], alt: str) -> dict[str, Any]:
    image = told.get("image")
    return {
        "text": told.get("text") or "",
        "image": "" if image is None else picture(image),
        "alt": alt,
        "note": "",
        "verdict": "",
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
