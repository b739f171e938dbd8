"""Section ``report``: what a run's report shows beyond numbers. It changes no result, and a run may be resumed with another."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fedtap.scenario.settings import Int, Settings

MOST_EXAMPLES = 24


class ReportSettings(Settings):
    """How a run is told.

    ``examples`` is how many test examples of each client's task the report shows with what every model answered; 0: none. They
    are drawn by the run's seed. With any setting of the section ``privacy`` there are none, whatever stands here.
    """

    examples: Annotated[Int, Field(ge=0, le=MOST_EXAMPLES)] = 4
