"""What a report tells of defence and privacy: bounded updates, how often a robust mean was one, and what the noise is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import Section, section
from fedtap.reporting.html.tables import table
from fedtap.reporting.html.templating import piece

UNITS = {
    "central": "A client's whole part in training, against whoever sees the federated model and trusts the server.",
    "local": "Each training example of a client, against everybody else; of what the client uploads, not of its personal model.",
}


def bounded_section(events: Sequence[Mapping[str, Any]]) -> Section | None:
    """Return whose changes exceeded a bound, a row a client; nothing where nobody's did."""
    counts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        if event["event"] in ("clipped", "left_out"):
            counts.setdefault((str(event["client"]), str(event["event"])), []).append(event)
    if not counts:
        return None
    rows = []
    for (client, what), its in sorted(counts.items()):
        worst = max(its, key=lambda event: event["norm"] / event["bound"] if event["bound"] else 0.0)
        shown = f"{worst['norm']:.3g} of {worst['bound']:.3g} ({worst['worst']})"
        rows.append(
            (client, what.replace("_", " "), str(len(its)), str(sum(event["components"] for event in its)), shown)
        )
    inner = table(
        ("client", "what", "rounds", "components", "worst norm"), rows, "Changes beyond a bound", numeric=(2, 3)
    )
    return section("Bounded updates", inner)


def robust_section(events: Sequence[Mapping[str, Any]]) -> Section | None:
    """Return how often a robust mean could do its work, over all rounds and components; nothing where there is none."""
    its = [event for event in events if event["event"] == "robust_mean"]
    if not its:
        return None
    used, few, unproven = (
        sum(int(event.get(key, 0)) for event in its) for key in ("components", "too_few_holders", "unproven")
    )
    rows = [("three or more holders: the rule", str(used)), ("one or two holders: the plain mean", str(few))]
    if its[-1]["rule"] == "krum":
        rows.insert(1, ("of these fewer than 2 · attackers + 3: a rule of thumb, without Krum's proof", str(unproven)))
    name = str(its[-1]["rule"]).replace("_", " ")
    inner = table(("averaged from", "means of a component"), rows, f"Robust mean: {name}", numeric=(1,))
    return section("Robust means", inner)


def secure_section(events: Sequence[Mapping[str, Any]]) -> Section | None:
    """Return of how many components the server saw sums alone, over all rounds; nothing without secure aggregation."""
    its = [event for event in events if event["event"] == "secure"]
    if not its:
        return None
    summed, broken, few = (
        sum(int(event[key]) for event in its) for key in ("summed", "not_restored", "too_few_holders")
    )
    open_ones = "sent as they are" if its[-1]["few"] == "send" else "kept at the clients"
    rows = [
        ("the server saw the sum alone", str(summed)),
        ("masked, and not restored: too many were lost", str(broken)),
        (f"too few holders: {open_ones}", str(few)),
    ]
    inner = table(("a component in a round", "number"), rows, "What the server saw", numeric=(1,))
    return section("Secure aggregation", inner)


def privacy_section(privacy: Mapping[str, Any] | None) -> Section | None:
    """Return the epsilon of every client, of each kind of noise; nothing where there is none."""
    if not privacy:
        return None
    source = str(privacy["noise_source"])
    note = f"δ = {privacy['delta']:g}." + (
        ""
        if source == "secret"
        else " The noise follows from the run's seed: who knows the seed can take it away again."
    )
    parts: list[Markup] = [piece("note", note)]
    for kind in ("central", "local"):
        if kind in privacy:
            its = privacy[kind]
            rows = [(client, f"{value:.3g}") for client, value in its["epsilon"].items()]
            parts.append(piece("note", UNITS[kind]))
            title = f"{kind} noise: clipped to {its['clip']:g}, noise {its['noise']:g} times that"
            parts.append(table(("client", "ε"), rows, title, numeric=(1,)))
    return section("Differential privacy", *parts)
