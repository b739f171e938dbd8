"""What happened in a run, in a few plain sentences and key figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fedtap.reporting.html.formatting import human_bytes, human_seconds, listed, plural
from fedtap.reporting.remarks import clients_short
from fedtap.reporting.run.decisions import changed, endings, is_weighed
from fedtap.reporting.run.gains import marks
from fedtap.reporting.run.record import RunRecord
from fedtap.reporting.run.series import traffic
from fedtap.reporting.run.standings import Standing, better, model_order, standings


def sentences(record: RunRecord) -> list[str]:
    """Return the summary of a run: who took part, what was decided, how it came out, what it cost."""
    told = [
        _took_part(record),
        *_extended(record),
        _decided(record),
        *_ended(record),
        _came_out(record),
        _short(record),
        _lost(record),
        _cost(record),
    ]
    return [sentence for sentence in told if sentence]


def _extended(record: RunRecord) -> list[str]:
    """Return a sentence for each time that the run, having ended, was given more rounds."""
    told = []
    for step in record.run.get("extended") or ():
        names = listed([str(name) for name in step.get("clients") or ()])
        new = f", with {names} new from then on" if names else ""
        plan = (
            ""
            if step.get("same_schedule", True)
            else f": rounds 1 to {step['from']} along the schedule of {step['from']} rounds, the rest along that of {step['to']}"
        )
        told.append(
            f"It had ended after {plural(step['from'], 'round')} and was then extended to {step['to']}{new}{plan}."
        )
    return told


def key_figures(record: RunRecord) -> list[tuple[str, str]]:
    """Return (figure, what it is) for the head of the report."""
    figures = [
        (str(len(trained_clients(record))), "clients"),
        (f"{finished_rounds(record)} / {record.config.get('rounds', '?')}", "rounds done"),
    ]
    weighed = _weighed(record)
    if weighed:
        figures.append((f"{sum(changed(decision) for decision in weighed)} / {len(weighed)}", "task paths replaced"))
    cost = record.cost or {}
    moved = traffic(record.events)
    down = cost.get("bytes_down", sum(t.down for t in moved.values()))
    up = cost.get("bytes_up", sum(t.up for t in moved.values()))
    if down or up:
        figures.append((f"{human_bytes(down)} / {human_bytes(up)}", "down / up"))
    if cost.get("seconds") is not None:
        figures.append((human_seconds(cost["seconds"]), "wall-clock time"))
    if cost.get("peak_rss_bytes"):
        figures.append((human_bytes(cost["peak_rss_bytes"]), "peak memory"))
    return figures


def finished_rounds(record: RunRecord) -> int:
    """Return the number of rounds that were finished."""
    return len({event["round"] for event in record.events_of("round_finished")})


def trained_clients(record: RunRecord) -> list[str]:
    """Return the ids of the clients that are not held out of training."""
    return [client["id"] for client in record.clients if not client.get("unseen")]


def _took_part(record: RunRecord) -> str:
    clients = len(trained_clients(record))
    unseen = len(record.clients) - clients
    rounds = record.config.get("rounds", 0)
    per_round = min(clients, record.config.get("clients_per_round", 0))
    done = finished_rounds(record)
    held_out = f", with {plural(unseen, 'more client')} held out" if unseen else ""
    progress = (
        "" if done >= rounds else f" So far {done} of {plural(rounds, 'round')} {'is' if done == 1 else 'are'} done."
    )
    return (
        f"{plural(clients, 'client')} trained with the method {record.run.get('method', '?')}, {per_round} taking part in "
        f"each of {plural(rounds, 'round')}{held_out}.{progress}"
    )


def _decided(record: RunRecord) -> str:
    weighed = _weighed(record)
    if not weighed:
        return ""
    replaced = sum(changed(decision) for decision in weighed)
    return (
        f"After a client's first participation, which always adopts the federated model, a task's path of the personal model "
        f"was replaced by the federated one in {replaced} of {plural(len(weighed), 'decision')} and kept in the other "
        f"{len(weighed) - replaced}."
    )


def _weighed(record: RunRecord) -> list[Mapping[str, Any]]:
    return [event for event in record.events if is_weighed(event)]


def _ended(record: RunRecord) -> list[str]:
    wording = {
        "distil": (
            "After the last round, distillation from the fine-tuned federated model was kept for {share}{undone}.",
            ", and undone for the others because a task became worse on validation data",
        ),
        "mix": (
            "After the last round, the fine-tuned model moved back towards the client's personal one for {share}{undone}.",
            ", and stayed as it was for the others because validation was not better for it",
        ),
        "refit": (
            "Heads were refitted to the client's own data in closed form for {share}{undone}.",
            ", and left as they were for the others because validation was not better for it",
        ),
        "choice": (
            "The personal model, which never left the client, was chosen for {share}{undone}.",
            ", and a model made of the federated one for the others, which was as good or better on validation data",
        ),
    }
    told: list[str] = []
    for end, (sentence, otherwise) in wording.items():
        made = endings(record.events, end)
        if made:
            kept = sum(changed(decision) for decision in made)
            share = f"{kept} of {plural(len(made), 'client task')}"
            told.append(sentence.format(share=share, undone="" if kept == len(made) else otherwise))
    return told


def _came_out(record: RunRecord) -> str:
    table = standings(record.rows or [], record.config)
    found = [marks(standing, record.outcomes) for standing in table]
    known = [each for each in found if each is not None]
    told = []
    if known:
        best = Counter(each.best for each in known if each.best is not None)
        wins = ", ".join(f"{model} on {count}" for model, count in best.most_common())
        told.append(
            f"On the clients' own test data, of {plural(len(known), 'client task')} a single model is the best beyond noise on "
            f"{best.total()}{f' ({wins})' if wins else ''}; on the other {len(known) - best.total()} none can be told from the "
            "next."
        )
    measured = [standing for standing in table if standing.baseline and standing.values]
    if measured:
        names = model_order(name for standing in measured for name in standing.values)
        beaten = ", ".join(f"{name} on {sum(_beats(standing, name) for standing in measured)}" for name in names)
        told.append(f"Better than the strongest trivial baseline: {beaten} of {plural(len(measured), 'client task')}.")
    return " ".join(told)


def _beats(standing: Standing, model: str) -> bool:
    value, baseline = standing.values.get(model), standing.baseline
    return value is not None and baseline is not None and better(standing.metric, value, baseline[1])


def _short(record: RunRecord) -> str:
    short = clients_short(record.events)
    if not short:
        return ""
    return f"The data of {plural(len(short), 'client')} fall short in some way; what of them, a section below says."


def _lost(record: RunRecord) -> str:
    rejected, failed = len(record.events_of("rejected")), len(record.events_of("failed"))
    if not rejected and not failed:
        return ""
    return (
        f"{plural(rejected, 'reply was', 'replies were')} rejected and {plural(failed, 'participation')} failed; "
        "the averages are those of the other clients."
    )


def _cost(record: RunRecord) -> str:
    cost = record.cost
    if not cost:
        return ""
    return (
        f"The run took {human_seconds(cost.get('seconds') or 0)} and "
        f"{plural(int(cost.get('steps_total') or 0), 'optimizer step')}; "
        f"{human_bytes(cost.get('bytes_down') or 0)} went down to the clients and "
        f"{human_bytes(cost.get('bytes_up') or 0)} came up."
    )
