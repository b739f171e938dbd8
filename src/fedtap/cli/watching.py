"""How the commands of a study show its progress, what they say after Ctrl-C, and where everything is in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from fedtap.cli.screen import say, screen
from fedtap.reporting.progress.batch import BatchProgress


@contextmanager
def watching(out: Path) -> Iterator[BatchProgress]:
    """Show the progress of a study; after Ctrl-C say how to go on, and leave with 130."""
    with BatchProgress(screen(errors=True)) as watch:
        try:
            yield watch
        except KeyboardInterrupt:
            text = (
                f"fedtap: interrupted with {watch.done} of {watch.total} runs finished; the same command goes on from what is "
                f"in {out}"
            )
            screen(errors=True).print(text, markup=False, soft_wrap=True)
            raise typer.Exit(130) from None


def say_where(out: Path, name: str) -> None:
    """Say where a study's page, tables and numbers are."""
    say(f"Page: {out / name}.html")
    say(f"Tables: {out / name}.md; all numbers: {out / name}.json")
