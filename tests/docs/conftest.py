"""The pages' commands run as those of whole runs do."""

from e2e.conftest import cache, fedtap, no_report, scenario

__all__ = ["cache", "fedtap", "no_report", "scenario"]
