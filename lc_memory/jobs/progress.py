"""Progress of long work, for a person who is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Told how much is done, and of how much.
Progress = Callable[[int, int], None]


@contextmanager
def shown(title: str) -> Iterator[Progress]:
    """A progress bar, where there is a terminal to show it on (and Rich to draw it)."""
    bar = None
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress as Bar
        except ImportError:
            pass
        else:
            bar = Bar(console=Console(stderr=True), transient=True)
    if bar is None:
        yield lambda done, total: None
        return
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def silent(done: int, total: int) -> None:
    """Nobody is watching."""
