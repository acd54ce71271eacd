"""The command line: ``lc-memory``.

Each command is a few lines over :class:`~lc_memory.Memory`; see docs/cli.md. Exit codes: 0 done,
1 an error, 2 wrong usage or input, 3 not found, 4 denied, 5 the store cannot be reached,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lc_memory.errors import MissingExtra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        from lc_memory.cli.commands import app
        from lc_memory.cli.running import run
    except ImportError as error:
        missing = MissingExtra("The command line", "cli")
        print(error if isinstance(error, MissingExtra) else missing, file=sys.stderr)  # noqa: T201 - there is no Rich to say it with
        return 1
    return run(app, arguments)
