"""Running a command: opening its memory, and telling what went wrong by exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.text import Text

from lc_memory import values
from lc_memory.errors import (
    AccessDenied,
    BackupKeyError,
    InvalidInput,
    LCMemoryError,
    MemoryNotFound,
    StoreUnavailable,
    UnknownStorage,
    Unsupported,
    WrongKey,
)
from lc_memory.memory import Memory
from lc_memory.printable import printable
from lc_memory.registry import DEFAULT_URL, URL_VARIABLE
from lc_memory.search.recall import Recall
from lc_memory.stores.urls import parse_url

OK, ERROR, USAGE, NOT_FOUND, DENIED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_CODES: Final[list[tuple[type[BaseException] | tuple[type[BaseException], ...], int]]] = [
    ((InvalidInput, UnknownStorage, Unsupported, FileExistsError), USAGE),
    ((MemoryNotFound, FileNotFoundError), NOT_FOUND),
    ((AccessDenied, WrongKey, BackupKeyError), DENIED),
    (StoreUnavailable, UNAVAILABLE),
]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar=URL_VARIABLE,
        show_default=False,
        help=f"The store; else {DEFAULT_URL}. A password is never shown.",
    ),
]
User = Annotated[str | None, typer.Option("--user", help="Only what belongs to this user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", "-f", metavar="JSON", help='A filter, such as {"level": {"$gte": 2}}'),
]
Id = Annotated[str | None, typer.Option("--id", help="The document's id.")]

#: A URL's user and password, wherever it stands in a text.
_SECRET: Final = re.compile(r"(?<=://)[^/\s@]*:[^\s]*@(?=[^@]*)")


class NotFound(LCMemoryError):
    """There is nothing of that name to show."""


@dataclass
class Caller:
    """Who runs the command: whose rights it has where access control is on."""

    name: str | None = None
    admin: bool = False


CALLER: Final = Caller()


@contextmanager
def opened(
    url: str | None,
    user: str | None = None,
    *,
    new: bool = False,
    recall: Recall | bool | None = None,
) -> Iterator[Memory]:
    """The memory that a command works on. Unless it may be ``new``, its file must be there:
    a command that only looks makes none."""
    if not new:
        _check_there(url)
    admins = [CALLER.name] if CALLER.admin and CALLER.name else []
    with Memory(url, admins=admins, recall=recall) as memory:
        acting = memory if CALLER.name is None else memory.acting_as(CALLER.name)
        yield acting if user is None else acting.as_user(user)


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, standalone_mode=False, prog_name="lc-memory")
        return code if isinstance(code, int) else OK
    except (KeyboardInterrupt, EOFError):
        return INTERRUPTED
    except BrokenPipeError:  # who reads us (head, say) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:  # noqa: BLE001 - whatever it is, no traceback shows a URL
        return _fail(error, given)


def _fail(error: Exception, given: Sequence[str]) -> int:
    if type(error).__name__ == "Abort":  # Typer's: a question that was not answered with yes
        return INTERRUPTED
    explain = getattr(error, "format_message", None)  # Typer's: wrong usage
    text = explain() if explain is not None else str(error)
    known = isinstance(error, LCMemoryError | OSError) or explain is not None
    if not known:
        text = f"{type(error).__name__}: {text}"
    elif isinstance(error, OSError) and not isinstance(error, LCMemoryError):
        text = f"{error.filename}: {error.strerror}" if error.strerror else text
    say(hidden(text, given), style="red", error=True)
    if explain is not None:
        of = getattr(getattr(error, "ctx", None), "command_path", "lc-memory")
        say(f"Try: {of} --help", style="dim", error=True)
        return USAGE
    if isinstance(error, NotFound):
        return NOT_FOUND
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ERROR)


def say(text: str, *, style: str = "", error: bool = False) -> None:
    """A line for the person at the terminal."""
    console = Console(stderr=error, soft_wrap=True, highlight=False)
    console.print(Text(printable(text), style=style))


def hidden(text: str, given: Sequence[str] = ()) -> str:
    """The text without the passwords of any URL that was given or is in it."""
    for url in (*given, os.environ.get(URL_VARIABLE, "")):
        url = url.removeprefix("--url=")
        if "://" not in url:
            continue
        try:
            password = parse_url(url).password
        except UnknownStorage:
            continue
        for secret in {
            str(password or ""),
            quote(str(password or ""), safe=""),
            quote_plus(str(password or "")),
        }:
            if secret:
                text = text.replace(secret, "***")
    return _SECRET.sub("***@", text)


def shown(url: str | None) -> str:
    """A URL to show: without its password, and its query, in which there may be one too."""
    parsed = parse_url(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).set(query={})
    return hidden(parsed.render_as_string(hide_password=True))


def time_of(text: str | None, option: str) -> datetime | None:
    """A time that was typed; one without a zone is UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} {text!r}: not a time such as 2026-01-31T12:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def confirm(question: str, yes: bool) -> None:
    """Ask before what cannot be taken back; raises InvalidInput where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} Say so with --yes")
    typer.confirm(question, abort=True)


def _check_there(url: str | None) -> None:
    parsed: sa.URL = parse_url(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL)
    in_a_file = parsed.get_backend_name() in ("sqlite", "json", "yaml", "csv", "pickle")
    path = parsed.database
    if in_a_file and path and path != ":memory:" and not Path(path).exists():
        raise NotFound(f"there is no memory at {path}; name another with --url, or put something")


def printed(value: Any) -> None:
    """JSON on standard output, as it is."""
    sys.stdout.write(text_of(value) + "\n")
    sys.stdout.flush()


def text_of(value: Any) -> str:
    """A value or a list of them as JSON; bytes and times are tagged, as in the store."""
    if isinstance(value, dict):
        return values.dump(values.lower(value))
    return "[" + ",\n".join(map(text_of, value)) + "]"
