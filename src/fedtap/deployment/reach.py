"""What a run that comes from elsewhere may reach on a node: which files it may read and which code of methods it may have run.

The scenario and the run's settings are the server's. A relative path of theirs stays within the node's folder, links resolved;
all else on the machine is read only where ``node.yaml`` itself names it. Code is run only as ``node.yaml`` pins it.
Not here: what a site asks of a run's privacy (policy).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from fedtap.algorithms import outside
from fedtap.algorithms.registry import is_at_hand, register
from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded
from fedtap.runtime.sealed import sha256_of
from fedtap.scenario.scenario import Scenario
from fedtap.scenario.settings import NAME, Settings


class AllowedMethod(Settings):
    """A method that is not the package's own and may be run: a file here, with its digest, or an installed one's name."""

    path: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> AllowedMethod:
        if (self.path is None) == (self.name is None) or (self.path is None) != (self.sha256 is None):
            raise ValueError("give a file's path and sha256, or the name of a method of an installed package")
        if self.name is not None and (not NAME.fullmatch(self.name) or outside.is_file(self.name)):
            raise ValueError(f"'{self.name}' is no method's name; a file is given by path and sha256")
        return self


def allowed_now(given: str) -> AllowedMethod:
    """Return the entry of ``allow_methods`` for a file, with the digest that it has now, or for an installed method's name.

    Raises
    ------
    UserError
        If there is no such file, or it is no name.
    """
    try:
        if not outside.is_file(given):
            return AllowedMethod(name=given)
        path = expanded(given).resolve()
        return AllowedMethod(path=str(path), sha256=sha256_of(path))
    except OSError as error:
        raise UserError(
            f"--allow-method {given}: cannot be read ({error.strerror}); give a Python file that is here"
        ) from error
    except ValueError as error:  # pydantic's is one
        raise UserError(
            f"--allow-method {given}: is neither a Python file nor a method's name; give one of them"
        ) from error


def method_name(wanted: str, scenario: Scenario, allowed: Sequence[AllowedMethod], folder: Path) -> str | None:
    """Return what to take for the ``method`` of a run's settings at a node: a method's name, or None for the scenario's.

    A file that the settings name is never opened. Where ``node.yaml`` allows one of that file name, the node's own file is run,
    if its content has the digest that stands there.

    Parameters
    ----------
    wanted
        As the run's settings say; empty: the scenario's own.
    allowed, folder
        ``allow_methods`` of node.yaml, and where its relative paths start.

    Raises
    ------
    UserError
        If node.yaml does not allow it.
    """
    name = wanted or str(scenario.method.get("name", ""))
    if not name:
        return None
    mend = "if you trust it, allow it there in allow_methods"
    if wanted and outside.is_file(wanted):
        file, colon, kind = wanted.rpartition(".py:")
        base = Path(f"{file}.py" if colon else wanted).name
        for each in allowed:
            if each.path is not None and Path(each.path).name == base:
                path = folder / expanded(each.path)
                return register(outside.load_file(f"{path}:{kind}" if colon else str(path), each.sha256)).name
        raise UserError(
            f"{folder / 'node.yaml'}: allows no method file '{base}', which the run's settings name; {mend} (path of a copy on "
            "this machine, sha256)"
        )
    if not outside.is_file(name) and not is_at_hand(name) and name not in {each.name for each in allowed}:
        raise UserError(
            f"{folder / 'node.yaml'}: does not allow the method '{name}', which is not fedtap's own; {mend}"
        )
    return wanted or None


def check_data_path(path: str, folder: Path, own: Sequence[Path], place: str) -> None:
    """Refuse, with a UserError, a scenario's path of data that leads out of a node's folder or to the node's ``own`` files."""
    mend = f"name the place in {folder / 'node.yaml'}, under data"
    if Path(path).is_absolute() or path.startswith("~"):
        raise UserError(f"{place}: the scenario's path '{path}' is absolute; {mend}")
    _check_inside(path, folder, [folder], own, place, mend)


def check_models(scenario: Scenario, folder: Path, models: Sequence[str], own: Sequence[Path]) -> None:
    """Refuse, with a UserError, a scenario's folders of models that neither lie in the node's folder nor are in ``models``."""
    backbone = scenario.backbone
    named = {
        "backbone.path": backbone.path,
        "backbone.vision": backbone.vision,
        "backbone.text": backbone.text,
        "evaluation.bertscore_encoder": scenario.evaluation.bertscore_encoder,
    }
    allowed = [folder, *(folder / expanded(model) for model in models)]
    for key, name in named.items():
        if name is None:
            continue
        path = expanded(name)
        if key != "backbone.path" and not (path.is_absolute() or ".." in path.parts or (folder / path).exists()):
            continue  # the name of a model, not a place
        _check_inside(str(path), folder, allowed, own, key, f"allow the folder in {folder / 'node.yaml'}, under models")


def _check_inside(path: str, folder: Path, allowed: Sequence[Path], own: Sequence[Path], place: str, mend: str) -> None:
    real = (folder / path).resolve()
    if not any(real.is_relative_to(each.resolve()) for each in allowed):
        raise UserError(f"{place}: '{path}' leads out of the node's folder, to {real}; {mend}")
    if any(real.is_relative_to(each.resolve()) for each in own):
        raise UserError(f"{place}: '{path}' is the node's own, and no data; {mend}")
