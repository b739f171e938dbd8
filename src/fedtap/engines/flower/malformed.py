"""What a message is that was not written by a sound peer: one line on what is wrong with it."""

from __future__ import annotations


class MalformedError(Exception):
    """A message does not have the form that was agreed on. The text is one line; whoever sent the message may have chosen it."""
