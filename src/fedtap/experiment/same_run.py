"""Whether a run that is to be gone on with is the one described, and in what it is not. Not here: the folder (folder)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtap.experiment.provenance import versions
from fedtap.runtime.errors import UserError


def require_same_run(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    """Refuse to go on with a run under another description; what the machine is called, and the place, does not matter."""
    for key in ("fedtap", "method", "seed", "config"):
        if old.get(key) != new[key]:
            if key == "config":
                _refuse_new_clients(old.get("config") or {}, new["config"], place)
            what = key if key != "config" else f"config.{_first_difference(old.get('config') or {}, new['config'])}"
            raise UserError(f"{place}: holds a run with another {what}; give that one's settings, or another --out")
    if old.get("code") != new["code"]:
        raise UserError(
            f"{place}: holds a run of another version of the method's file; put that one back, or give another --out"
        )
    before, now = old.get("environment") or {}, new["environment"]
    for package in versions():
        if before.get(package) != now[package]:
            raise UserError(
                f"{place}: holds a run made with {package} {before.get(package)}, and here is {now[package]}; use that "
                "version, or give another --out"
            )


def new_clients(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the clients of a resolved scenario that an older one has not; None if some of the older ones are others or gone."""
    before = {str(client.get("id")): client for client in old.get("clients") or ()}
    now = {str(client.get("id")): client for client in new.get("clients") or ()}
    if any(now.get(id) != client for id, client in before.items()):
        return None
    return [client for id, client in now.items() if id not in before]


def _refuse_new_clients(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    """Say who is new, if that is all in which two scenarios differ."""
    added = new_clients(old, new)
    if not added or {**old, "clients": new["clients"]} != new:
        return
    told = "; ".join(
        f"'{client['id']}' ({', '.join(task['name'] for task in client['tasks'])})" for client in added[:5]
    )
    more = f" and {len(added) - 5} more" if len(added) > 5 else ""
    raise UserError(
        f"{place}: holds a run without {told}{more}, which the scenario has now; to go on from it with them give "
        "--extend rounds=N, or another --out"
    )


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if a != b:
            return f"{key}.{_first_difference(a, b)}" if isinstance(a, dict) and isinstance(b, dict) else key
    return ""
