"""Methods that are not the package's own: from a file, from an installed package, or handed over in Python.

- ``--method FILE.py`` (or ``FILE.py:CLASS``) on the command line, and ``method="FILE.py"`` in Python;
- files named in the environment variable ``FEDTAP_METHODS``, with the system's path separator between them: these are known to
  every command, and to the processes that it starts;
- the entry points that installed packages give in the group ``fedtap.methods``;
- ``fedtap.register(CLASS)`` in Python.

A scenario names methods, never files: a scenario is data, and reading one that somebody sent must run nothing of theirs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from fedtap.algorithms.base import Algorithm
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.storage import digest
from fedtap.scenario.settings import NAME

GROUP = "fedtap.methods"
VARIABLE = "FEDTAP_METHODS"
_MODULE = "fedtap_method_"
"""How the modules begin that files are run as."""

Placed: TypeAlias = tuple[str, type[Algorithm]]
"""A method, and where it comes from."""

_held: dict[str, type[Algorithm]] = {}


def hold(method: type[Algorithm], place: str, own: Mapping[str, type[Algorithm]]) -> type[Algorithm]:
    """Make a method known by its name in this process, and return it; ``own`` are the package's, whose names are taken.

    Raises
    ------
    UserError
        If the class lacks something that a method needs, or has a name that is taken.
    """
    _held[_free(_checked(method, place), place, own).name] = method
    return method


def with_own(own: Mapping[str, type[Algorithm]]) -> Mapping[str, type[Algorithm]]:
    """Return the package's ``own`` methods by name, and all those from outside after them.

    Raises
    ------
    UserError
        If one cannot be loaded, or has a name that is taken.
    """
    return _with(own, _installed())


def with_named(name: str, own: Mapping[str, type[Algorithm]]) -> Mapping[str, type[Algorithm]]:
    """Return what :func:`with_own` does, but of the installed packages' methods the one of this name alone: only its code is run.

    An entry point is called as its method is; one that is not is found only by :func:`with_own`.

    Raises
    ------
    UserError
        As :func:`with_own`; also if the entry point of this name gives a method of another.
    """
    found = () if name in own else tuple(_load(entry) for entry in _entries() if entry.name == name)
    for place, method in found:
        if method.name != name:
            raise UserError(
                f"{place}: gives the method '{method.name}'; an entry point must be called as its method is"
            )
    return _with(own, found)


def installed_names() -> frozenset[str]:
    """Return the names of the methods that installed packages offer, without loading one."""
    return frozenset(entry.name for entry in _entries())


def _with(own: Mapping[str, type[Algorithm]], installed: Iterable[Placed]) -> Mapping[str, type[Algorithm]]:
    found: dict[str, type[Algorithm]] = {}
    for place, method in [*installed, *_from_files(), *((f"method '{name}'", kind) for name, kind in _held.items())]:
        if found.setdefault(_free(method, place, own).name, method) is not method:
            raise UserError(f"{place}: another method is called '{method.name}' too; give one of them another name")
    return {**own, **found}


def is_file(name: str) -> bool:
    """Tell whether what was given for a method is a file, and no name."""
    return name.endswith(".py") or ".py:" in name


def at_hand() -> frozenset[str]:
    """Return the names of the methods that this process, or its environment, chose: all from outside but installed packages'."""
    return frozenset(_held) | {method.name for _, method in _from_files()}


def load_file(name: str, sha256: str | None = None) -> type[Algorithm]:
    """Return the method in ``FILE.py``, or the one of its methods that ``FILE.py:CLASS`` names.

    With ``sha256`` only a file with exactly that content is run.

    Raises
    ------
    UserError
        If the file cannot be run, is another than it should be, or holds no method, or several and none was named.
    """
    file, colon, wanted = name.rpartition(".py:")
    path = Path(f"{file}.py" if colon else name)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a Python file with a method in it")
    try:
        module = _run(path.resolve(), sha256)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be run ({_line(error)}); mend the file") from error
    held = {
        kind.__name__: kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Algorithm) and kind.__module__ == module.__name__
        if not inspect.isabstract(kind)
    }
    if not held:
        raise UserError(f"{path}: defines no method; a method is a subclass of fedtap.algorithms.base.Algorithm")
    if colon and wanted not in held:
        raise UserError(f"{path}: defines no method '{wanted}'; {nearest(wanted, held)}")
    if not colon and len(held) > 1:
        raise UserError(f"{path}: defines {len(held)} methods; name one, for example {path}:{min(held)}")
    return _checked(held[wanted] if colon else next(iter(held.values())), str(path))


def source_of(method: type[Algorithm]) -> str | None:
    """Return where another process of this machine finds a method: ``FILE.py:CLASS``, "" if its name will do, None if nowhere."""
    if method.__module__.partition(".")[0] == "fedtap" or any(method is kind for _, kind in _installed()):
        return ""
    if method.__module__.startswith(_MODULE):
        return f"{sys.modules[method.__module__].__file__}:{method.__name__}"
    return None


def code_of(method: type[Algorithm]) -> str | None:
    """Return a digest of the file that a method from outside is written in; None for the package's own, and where there is none.

    What the file imports is not looked at.
    """
    if method.__module__.partition(".")[0] == "fedtap":
        return None
    file = getattr(sys.modules.get(method.__module__), "__file__", None)
    try:
        return None if file is None else digest(Path(file).read_bytes())
    except OSError:
        return None


def _from_files() -> list[tuple[str, type[Algorithm]]]:
    files = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [(file, load_file(file)) for file in files if file]


@cache
def _installed() -> tuple[Placed, ...]:
    return tuple(_load(entry) for entry in _entries())


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _load(entry: EntryPoint) -> Placed:
    place = f"entry point '{entry.name}' of {entry.dist.name if entry.dist else GROUP}"
    try:
        method = entry.load()
    except Exception as error:
        raise UserError(f"{place}: cannot be loaded ({_line(error)}); mend or uninstall that package") from error
    return place, _checked(method, place)


@cache
def _run(path: Path, sha256: str | None) -> ModuleType:
    """Run a file as a module of its own, once in a process: at every further look its classes would be others.

    What is run is what was read and compared, never a compiled copy that lies beside it.
    """
    code = path.read_bytes()
    if sha256 is not None and (found := hashlib.sha256(code).hexdigest()) != sha256:
        raise UserError(
            f"{path}: has the sha256 {found}, not {sha256}; read what changed, then mend allow_methods of node.yaml"
        )
    name = f"{_MODULE}{path.stem}_{digest(str(path))[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pydantic look for the names in annotations
    try:
        exec(compile(code, str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _checked(method: object, place: str) -> type[Algorithm]:
    """Return a method that has all that a method needs."""
    if not (inspect.isclass(method) and issubclass(method, Algorithm)):
        raise UserError(f"{place}: is no method; a method is a subclass of fedtap.algorithms.base.Algorithm")
    if inspect.isabstract(method):
        raise UserError(f"{place}: lacks {', '.join(sorted(method.__abstractmethods__))}; write what it is to do there")
    for attribute in ("name", "summary", "source", "deployed"):
        value = getattr(method, attribute, None)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise UserError(f"{place}: has no `{attribute}`; set it to a line of text")
    if not NAME.fullmatch(method.name) or is_file(method.name):
        raise UserError(f"{place}: the name '{method.name}' must be letters, digits, '_', '-' or '.', at most 64")
    return method


def _free(method: type[Algorithm], place: str, own: Mapping[str, type[Algorithm]]) -> type[Algorithm]:
    """Return a method whose name none of the package's own has."""
    if method.name in own:
        raise UserError(f"{place}: fedtap has a method called '{method.name}'; give yours another `name`")
    return method


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
