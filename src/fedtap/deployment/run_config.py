"""The settings of a run across machines, as Flower hands them to the server and to every node: the keys of an app's pyproject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded

SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What ``[tool.flwr.app.config]`` and ``flwr run --run-config`` say.

    Parameters
    ----------
    method
        Instead of the scenario's own; empty: that one.
    seed
        Of the run.
    overrides
        Settings of the scenario, ``key=value`` (one text, with semicolons between them).
    out
        The run's folder on the server; empty: below ``runs``, where the SuperLink was started.
    resume
        Go on from the last complete round in ``out``, if there is one.
    keys
        The folder of the nodes' public keys on the server.
    insecure
        Whether nodes may connect without keys, so that any of them may say that it is any client.
    patience
        Seconds to wait for nodes: for all of the first round's, and later for as many as a round needs.
    at_once
        The most clients that work at a time; 0: no limit.
    device
        Of the server, which only makes the start of the model with it.
    fault
        A file to leave one line in if the server cannot go on; empty: none.
    """

    method: str = ""
    seed: int = 0
    overrides: tuple[str, ...] = ()
    out: str = ""
    resume: bool = True
    keys: str = ""
    insecure: bool = False
    patience: float = 600.0
    at_once: int = 0
    device: str = "cpu"
    fault: str = ""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> RunConfig:
        """Return the settings of a run; raises :class:`UserError` if one is of a wrong kind or out of range."""
        overrides = setting(config, "set", str, "")
        read = cls(
            method=setting(config, "method", str, ""),
            seed=setting(config, "seed", int, 0),
            overrides=tuple(part.strip() for part in overrides.split(SEPARATOR) if part.strip()),
            out=setting(config, "out", str, ""),
            resume=setting(config, "resume", bool, True),
            keys=setting(config, "keys", str, ""),
            insecure=setting(config, "insecure", bool, False),
            patience=float(setting(config, "patience", float, 600.0)),
            at_once=setting(config, "at-once", int, 0),
            device=setting(config, "device", str, "cpu"),
            fault=setting(config, "fault", str, ""),
        )
        for name, value in (("patience", read.patience), ("at-once", read.at_once)):
            if not 0 <= value < float("inf"):
                raise UserError(
                    f"run-config '{name}': {value} is no number from 0; mend it in the app's pyproject.toml"
                )
        return read

    def public_keys(self) -> Path | None:
        """Return the folder of the nodes' public keys, or None where the run is to go without.

        Raises
        ------
        UserError
            If neither is said.
        """
        if self.keys and self.insecure:
            raise UserError("run-config: 'keys' and 'insecure' exclude each other; leave one out")
        if not self.keys and not self.insecure:
            raise UserError(
                "run-config: 'keys' is missing; give the folder of the nodes' public keys, or, where any node may say that it is "
                "any client, insecure=true"
            )
        return None if self.insecure else expanded(self.keys)


def setting(config: Mapping[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    """Return one setting, or the default where it is not set; a whole number passes for a float.

    Raises
    ------
    UserError
        If it is of another kind.
    """
    value = config.get(name, default)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise UserError(f"run-config '{name}': {value!r} is no {kind.__name__}; mend it in the app's pyproject.toml")
    return value
