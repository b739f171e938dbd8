"""The methods by name. A new method of the package is one file and one line here; one of a user's own needs no line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from fedtap.algorithms import outside
from fedtap.algorithms.apfl import Apfl
from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.choice import Choice
from fedtap.algorithms.clustered import Clustered
from fedtap.algorithms.colora import CoLora
from fedtap.algorithms.disentafl import DisentAfl
from fedtap.algorithms.disentafl_ft import DisentAflFineTuning
from fedtap.algorithms.ditto import Ditto
from fedtap.algorithms.fedala import FedAla
from fedtap.algorithms.fedalt import FedAlt
from fedtap.algorithms.fedavg import FedAvg
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning
from fedtap.algorithms.fedavg_grouped import FedAvgGrouped
from fedtap.algorithms.fedbn import FedBn
from fedtap.algorithms.feddat import FedDat
from fedtap.algorithms.feddpa_f import FedDpaF
from fedtap.algorithms.fedhca2 import FedHca2
from fedtap.algorithms.fedper import FedPer
from fedtap.algorithms.fedprox import FedProx
from fedtap.algorithms.fedrep import FedRep
from fedtap.algorithms.fedsa_lora import FedSaLora
from fedtap.algorithms.flow import Flow
from fedtap.algorithms.local import Local
from fedtap.algorithms.lp_ft import LpFt
from fedtap.algorithms.perfedavg import PerFedAvg
from fedtap.algorithms.pfedme import PFedMe
from fedtap.algorithms.probe import LinearProbe
from fedtap.algorithms.tap import Tap
from fedtap.algorithms.tap_best import TapBest
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.explain import explain

OneMethod = TypeVar("OneMethod", bound=Algorithm)

_METHODS: tuple[type[Algorithm], ...] = (
    Local,
    LinearProbe,
    FedAvg,
    FedAvgFineTuning,
    LpFt,
    Choice,
    FedProx,
    FedPer,
    FedRep,
    FedBn,
    FedSaLora,
    FedDpaF,
    FedAlt,
    Flow,
    Clustered,
    Ditto,
    PFedMe,
    PerFedAvg,
    Apfl,
    FedAla,
    DisentAfl,
    DisentAflFineTuning,
    FedDat,
    FedHca2,
    CoLora,
    Tap,
    TapBest,
)

_CONTROLS: tuple[type[Algorithm], ...] = (FedAvgGrouped,)
"""What studies set beside the methods; known by their names, and in no list of methods."""

_OWN: Mapping[str, type[Algorithm]] = {method.name: method for method in (*_METHODS, *_CONTROLS)}


def algorithms() -> Mapping[str, type[Algorithm]]:
    """Return every method by name but the controls, those from outside the package (:mod:`fedtap.algorithms.outside`) last.

    To list them is to load them all; :func:`make` loads no more than it is asked for.
    """
    known = outside.with_own(_OWN)
    return {name: method for name, method in known.items() if method not in _CONTROLS}


def is_at_hand(name: str) -> bool:
    """Tell whether a method is the package's own, or was made known by this process or its environment; loads no package."""
    return name in _OWN or name in outside.at_hand()


def register(method: type[OneMethod]) -> type[OneMethod]:
    """Make a method of one's own known by its name in this process, and return it, so that this can decorate the class.

    One that is registered again takes the place of the one before: in a notebook, cells are run twice.

    Raises
    ------
    UserError
        If the class lacks something that a method needs, or one of the package's methods has its name.
    """
    outside.hold(method, f"class {getattr(method, '__name__', method)!r}", _OWN)
    return method


def make(settings: Mapping[str, Any], method: str | None = None, place: str = "method") -> Algorithm:
    """Return a method from a scenario's ``method`` section, or the method named instead of it.

    Parameters of the section that belong to the section's own method are left out where another method is named in its place;
    a parameter that no method has is refused in any case. ``method`` may be a file with a method in it; a section names none.

    Raises
    ------
    UserError
        If the method or one of its parameters is unknown, or a value is wrong.
    """
    given = dict(settings)
    scenario_method = str(given.pop("name", "tap"))
    name = method or scenario_method
    if method is not None and outside.is_file(method):
        name = outside.hold(outside.load_file(method), method, _OWN).name
    elif outside.is_file(name):
        raise UserError(f"{place}: a scenario runs no file; set FEDTAP_METHODS={name} and give the method's name here")
    known = outside.with_named(name, _OWN)
    if name not in known:
        raise UserError(f"{place}: no method '{name}'; {nearest(name, {*known, *outside.installed_names()})}")
    kind = known[name]
    if name != scenario_method:
        if given:
            known = {**known, **outside.with_named(scenario_method, _OWN)}
        every = {field for other in known.values() for field in other.Params.model_fields}
        for key in given:
            if key not in every:
                raise UserError(f"{place}: unknown key '{key}'; {nearest(key, every)}")
        given = {key: value for key, value in given.items() if key in kind.Params.model_fields}
    try:
        return kind(kind.Params.model_validate(given))
    except ValidationError as error:
        raise UserError(f"{place} '{name}': {explain(error, kind.Params)}") from error
