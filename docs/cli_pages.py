"""Writes docs/cli.md from the command line's own help: ``python docs/cli_pages.py``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
sys.path[:0] = [str(ROOT)]

INTRODUCTION = """\
# The command line

`pip install "lc-memory[cli]"` brings `lc-memory` (the chat needs the extras `agent` or `web` too).

```console
$ lc-memory put user_profile '{"user_id": "ada", "level": 2}'
$ lc-memory get user_profile --filter '{"level": {"$gte": 2}}' --json
$ lc-memory --install-completion
```

- Every command takes `--url`; without it the environment variable `LC_MEMORY_URL` names the store,
  else it is `sqlite:///agent_memory.db`. Prefer the variable for a URL with a password: what is
  typed is seen by others in the list of processes. No message shows a password.
- `--json` prints one JSON value on standard output and nothing else; messages and errors go to
  standard error. Bytes and times are tagged (`{"$bytes": …}`), and `put` reads them back.
- What cannot be taken back asks first; where nobody can answer, `--yes` must say so.
- A command that only looks makes no store where there is none.

| Exit code | means |
|---|---|
| 0 | done |
| 1 | an error |
| 2 | wrong usage or input; nothing was changed |
| 3 | not found: nothing matches, or there is no such file, session or store |
| 4 | denied: a right or a key is missing |
| 5 | the store cannot be reached |
| 130 | interrupted, or answered with no |
"""


def pages() -> str:
    """The whole text of docs/cli.md."""
    from lc_memory.cli.commands import app

    names = [
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    ]
    parts = [INTRODUCTION]
    parts += [f"## {name}\n\n```text\n{help_of(name.replace('_', '-'))}```\n" for name in names]
    return "\n".join(parts)


def help_of(*command: str) -> str:
    """What ``lc-memory COMMAND --help`` prints on a screen of 88 columns."""
    from lc_memory.cli import main

    plain = {"COLUMNS": "88", "TERMINAL_WIDTH": "88", "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, plain), contextlib.redirect_stdout(io.StringIO()) as printed:
        main([*command, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(pages(), encoding="utf-8")
