"""Documents: put, get, search, delete."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lc_memory import values
from lc_memory.cli.app import app
from lc_memory.cli.running import (
    Filter,
    Id,
    Json,
    NotFound,
    Url,
    User,
    Yes,
    confirm,
    opened,
    printed,
    say,
    text_of,
)
from lc_memory.cli.tables import table_of
from lc_memory.errors import InvalidValue
from lc_memory.printable import printable

Name = Annotated[str, typer.Argument(metavar="NAME", help="The memory's name: a collection.")]


@app.command()
def put(
    name: Name,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="JSON: an object, or a list of them; @FILE reads a file, - the input.",
        ),
    ],
    id: Id = None,
    ttl: Annotated[float | None, typer.Option("--ttl", help="Minutes that it lives.")] = None,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Store a document, or all of a list or none.

    One of the same identity (id, user_id, ...) is replaced.
    """
    value = _lifted(json_of(_read(data), "DATA"))
    with opened(url, user, new=True) as memory:
        if isinstance(value, list):
            if id is not None or ttl is not None:
                raise InvalidValue("$", "--id and --ttl go with one document, not with a list")
            records = memory.batch_store((name, document) for document in value)
        else:
            records = [memory.store_memory(name, value, id=id, ttl=ttl)]
    if as_json:
        printed([{"id": record.key, "version": record.version} for record in records])
    else:
        say(f"Stored {len(records)}: " + ", ".join(record.key for record in records[:10]))


@app.command()
def get(
    name: Name,
    filter: Filter = None,
    id: Id = None,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Show the most recently stored document that matches."""
    with opened(url, user) as memory:
        found = memory.retrieve_memory(name, filter_of(filter), id=id)
    if found is None:
        raise NotFound(f"nothing in {name!r} matches")
    if as_json:
        printed(found)
    else:
        _pretty(found)


@app.command()
def search(
    name: Name,
    filter: Filter = None,
    order: Annotated[
        str | None, typer.Option("--order", help="A field to sort by; -field: descending.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="So many at most.")] = None,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """List the documents that match, the latest first."""
    with opened(url, user) as memory:
        found = memory.search_memory(name, filter_of(filter), order_by=order, limit=limit)
    if as_json:
        printed(found)
    elif not found:
        say("Nothing matches.", style="dim")
    else:
        table_of(found)


@app.command()
def delete(
    name: Name,
    filter: Filter = None,
    id: Id = None,
    yes: Yes = False,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Delete what matches, or a whole collection.

    The whole of it is meant where neither a filter nor an id is given.
    """
    if filter is None and id is None:
        confirm(f"Delete everything in {name!r}?", yes)
    with opened(url, user) as memory:
        count = memory.delete_memory(name, filter_of(filter), id=id)
    if as_json:
        printed({"deleted": count})
    elif count:
        say(f"Deleted {count}.")
    if not count:
        raise NotFound(f"nothing in {name!r} matches")


def json_of(text: str, place: str) -> Any:
    """JSON that was typed. Raises InvalidValue saying where it is broken."""
    try:
        return json.loads(text)  # not orjson: a model's lone surrogate may be escaped in it
    except (ValueError, RecursionError) as error:
        raise InvalidValue(place, f"not JSON: {error}") from None


def filter_of(text: str | None) -> Any:
    """A filter that was typed."""
    value = None if text is None else json_of(text, "--filter")
    if value is not None and not isinstance(value, dict):
        raise InvalidValue("--filter", "not an object")
    return value


def _read(data: str) -> str:
    if data == "-":
        return sys.stdin.read()
    return Path(data[1:]).read_text(encoding="utf-8") if data.startswith("@") else data


def _pretty(value: Any) -> None:
    from rich.console import Console
    from rich.json import JSON

    Console(soft_wrap=True).print(JSON(printable(text_of(value)), ensure_ascii=False))


def _lifted(value: Any) -> Any:
    """Bytes and times as `get --json` prints them."""
    try:
        return values.lift(value)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidValue("DATA", f"a tag that is not one of ours: {error}") from None
