"""A worker on another machine reads the data there: they must be those of the run, and so must what its numbers come from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from fedtap.data.partition import Partition, fingerprints, partition
from fedtap.experiment.provenance import versions
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario


def read_here(scenario: Scenario, job: Mapping[str, Any]) -> Partition:
    """Return who holds which examples, read on this machine.

    Parameters
    ----------
    scenario
        The federation.
    job
        What the worker was told: ``seed``; ``versions`` and ``data``, what the run has on its own machine.

    Raises
    ------
    UserError
        If a client's examples, or the version of a library, are others here.
    """
    here = platform.node()
    for package, found in versions().items():
        if job["versions"][package] != found:
            raise UserError(
                f"machine '{here}' has {package} {found}, and the run {job['versions'][package]}; install that version there"
            )
    shares = partition(scenario, job["seed"])
    for client, found in fingerprints(shares).items():
        if job["data"][client] != found:
            raise UserError(
                f"machine '{here}' has other data of client '{client}' than the run's own; put the same there, at the same place"
            )
    return shares
