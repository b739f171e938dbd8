"""What a run says of clients' data, in lines that begin alike: whose, of which task, what. Not here: what there is to say (data).

The events are ``data`` (where one client's data fall short), ``skipped`` (examples of a source that cannot be read) and ``note``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import listed, plural

KINDS = ("data", "skipped", "note")


def about_data(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an event says of clients' data: whose they are, and a line. A note on something else says nothing of them."""
    if event["event"] == "data":
        return [(str(event["client"]), str(line)) for line in event["lines"]]
    about: Sequence[Sequence[str]] = event.get("about") or ()
    if not about:
        return []
    clients, tasks = (list(dict.fromkeys(str(each[at]) for each in about)) for at in (0, 1))
    return [(listed(clients), f"{listed(tasks)}: {_what(event)}")]


def _what(event: Mapping[str, Any]) -> str:
    if event["event"] == "note":
        return str(event["text"])
    return f"{plural(event['examples'], 'example')} skipped that cannot be read, the first: {event['why'][0]}"


def clients_short(events: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the clients whose data fall short in some way, skipped examples included."""
    found = {str(event["client"]) for event in events if event["event"] == "data"}
    return found | {str(each[0]) for event in events if event["event"] == "skipped" for each in event["about"]}
