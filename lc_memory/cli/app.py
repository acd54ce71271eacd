"""The Typer application that the commands join."""

from __future__ import annotations

import typer

from lc_memory import __version__
from lc_memory.cli.running import CALLER
from lc_memory.errors import InvalidInput


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lc-memory {__version__}")
        raise typer.Exit


app = typer.Typer(
    help="Look into an agent's memory, change it, and keep it safe.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage or input, 3 not found, 4 denied, "
    "5 the store cannot be reached, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and leave."
    ),
    who: str | None = typer.Option(
        None, "--as", envvar="LC_MEMORY_AS", help="With this user's rights (access control)."
    ),
    admin: bool = typer.Option(False, "--admin", help="With all rights, in that user's name."),
) -> None:
    """Look into an agent's memory, change it, and keep it safe."""
    if admin and who is None:
        raise InvalidInput("--admin: say in whose name with --as; the audit log keeps it")
    CALLER.name, CALLER.admin = who, admin
