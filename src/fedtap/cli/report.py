"""``fedtap report``: write a run's report again."""

from __future__ import annotations

from fedtap.cli.options import RunFolder
from fedtap.cli.screen import examples, note, say

EXAMPLES = examples("fedtap report runs/quickstart")


def report(run: RunFolder) -> None:
    """Write RUN/report.html from what the run left, and with more than 250 clients RUN/report-pages with their tables.

    The report is one file that needs no network. A run that is still going on, or was interrupted, gets one too, which says so.
    One whose files hold no digests is shown unchecked, and that is said.
    """
    from fedtap.reporting.run.report import write_report

    say(str(write_report(run, tell=note)))
