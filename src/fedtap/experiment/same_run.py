"""What makes two runs the same: which parts of run.json matter, and what is refused where they differ. Not here: the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtap.experiment.provenance import versions
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import digest


def kind_of(description: Mapping[str, Any]) -> str:
    """Return a digest of what makes equal runs equal."""
    parts = {key: description[key] for key in ("fedtap", "method", "seed", "config", "code")}
    parts["config"] = _that_matters(parts["config"])
    return digest(json.dumps(parts, sort_keys=True, ensure_ascii=True))


def _that_matters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what changes no result: how the run is told."""
    return {key: value for key, value in config.items() if key != "report"}


def from_here(value: Any, folder: Path) -> Any:
    """Return settings with paths below the scenario's folder relative to it: where a project lies is no setting."""
    if isinstance(value, dict):
        return {key: from_here(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [from_here(inner, folder) for inner in value]
    if isinstance(value, str) and Path(value).is_absolute():
        home = folder.resolve()
        return Path(value).relative_to(home).as_posix() if Path(value).is_relative_to(home) else value
    return value


def require_same_run(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    """Refuse to go on with a run under another description; what the machine is called, and the place, does not matter."""
    was, asked = ({**each, "config": _that_matters(each.get("config") or {})} for each in (old, new))
    for key in ("fedtap", "method", "seed", "config"):
        if was.get(key) != asked[key]:
            if key == "config":
                _refuse_new_clients(was["config"], asked["config"], place)
            what = key if key != "config" else f"config.{_first_difference(was['config'], asked['config'])}"
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


def require_same_commits(old: Mapping[str, Any], now: Mapping[str, str], place: Path) -> None:
    """Refuse to go on with a run beside another commit of a repository of the hub, where both are known."""
    for name, was in (old.get("hub") or {}).items():
        if now.get(name, was) != was:
            raise UserError(
                f"{place}: holds a run with {name} of the hub at {str(was)[:12]}, and here is {now[name][:12]}; bring that one "
                f"(fedtap fetch SCENARIO --revision {name}={was}), or give another --out"
            )
