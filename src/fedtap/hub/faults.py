"""What goes wrong between this machine and the hub, each in one line with its mend. Not here: what is wrong with what came."""

from __future__ import annotations

from collections.abc import Iterator

from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import is_full
from fedtap.runtime.text import one_line

_NO_WAY = ("ConnectError", "TimeoutException", "NetworkError", "ProtocolError", "ProxyError", "ConnectionError")
"""Of whichever HTTP library the hub's client was made with."""


def told(error: Exception, kind: str, name: str, revision: str | None = None) -> UserError:
    """Return an error of the hub's client, or of ``datasets``, as a line that says what to do.

    Parameters
    ----------
    error
        What was raised.
    kind, name, revision
        What was asked for.
    """
    from huggingface_hub import constants, errors

    chain = list(_chain(error))
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    for each in chain:
        if isinstance(each, OSError) and is_full(each):
            return UserError(
                f"{name}: no space left in {constants.HF_HOME}; free some, or set HF_HOME to a folder on another disk, then "
                "give the command again: files that have come whole are kept"
            )
        if isinstance(each, errors.GatedRepoError):
            return UserError(f"{name}: its owner asks for an agreement; {_entry(each, page)}")
        if isinstance(each, errors.RevisionNotFoundError):
            return UserError(
                f"{name}: the hub has no revision '{one_line(str(revision), 60)}' of it; give another: "
                f"--revision {name}=COMMIT, of those at {page}/commits/main"
            )
        if isinstance(each, errors.RepositoryNotFoundError):
            return UserError(
                f"{name}: the hub has no such {_words(kind)}, or not for this account; check the name at {page}, and log in "
                "with `hf auth login` if it is private"
            )
        if isinstance(each, errors.OfflineModeIsEnabled):
            return UserError(
                f"{name}: is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset that, or {_ELSEWHERE}"
            )
    for each in chain:
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return UserError(f"{name}: {_status(status)}, then give the command again: whole files are kept")
        if any(kin.__name__ in _NO_WAY for kin in type(each).__mro__):
            return UserError(
                f"{name}: {constants.ENDPOINT} cannot be reached ({type(each).__name__}); connect this machine and give the "
                f"command again: whole files are kept; or {_ELSEWHERE}"
            )
    why = one_line(str(error), 160) or type(error).__name__
    return UserError(f"{name}: cannot be fetched ({why}); give the command again: files that have come whole are kept")


_ELSEWHERE = "fetch it on another machine and bring that one's HF_HOME"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _entry(error: object, page: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 403:
        return f"this account may not have it yet: ask for it at {page}, then give the command again"
    return f"agree to it at {page}, log in with `hf auth login` (or set HF_TOKEN), then give the command again"


def _status(status: int) -> str:
    if status in (401, 403):
        return f"the hub refuses this account ({status}); log in with `hf auth login` (or set HF_TOKEN)"
    if status == 429:
        return "the hub asks to wait (429); wait some minutes"
    return f"the hub fails ({status}); wait a little"


def _words(kind: str) -> str:
    return "data set" if kind == "dataset" else kind
