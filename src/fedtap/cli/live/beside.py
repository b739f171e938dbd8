"""What ``fedtap run --live`` has beside the run: a process that serves its page. Not here: the process."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fedtap.cli.screen import note
from fedtap.runtime.errors import UserError

if TYPE_CHECKING:
    from fedtap.reporting.live.companion import Companion


def page_beside(folder: Path, *, live: bool, port: int | None) -> AbstractContextManager[Companion | None]:
    """Return what serves a run's page while the run goes on, or nothing if that is not asked for.

    Raises
    ------
    UserError
        If there is a port and no page, or the port is taken.
    """
    if not live:
        if port is not None:
            raise UserError(f"--port {port}: goes with --live; add that, or leave it out")
        return nullcontext()
    from fedtap.reporting.live.companion import Companion
    from fedtap.reporting.live.server import address, listen, new_secret

    listening, secret = listen(port or 0), new_secret()
    note(f"live report: {address(listening, secret)}")
    return Companion(folder, listening, secret, note)
