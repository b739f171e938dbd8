"""The command ``fedtap``: it renders events and results, and decides nothing. One file a group of commands.

Importing it is quick: whatever needs torch is imported inside the command that needs it.
"""

from fedtap.cli.app import app, main

__all__ = ["app", "main"]
