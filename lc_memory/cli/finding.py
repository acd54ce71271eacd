"""Finding: recall and reindex."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lc_memory import values
from lc_memory.cli.app import app
from lc_memory.cli.documents import filter_of
from lc_memory.cli.running import Filter, Json, NotFound, Url, User, opened, printed, say, time_of
from lc_memory.cli.tables import show
from lc_memory.jobs.progress import shown
from lc_memory.printable import one_line
from lc_memory.search.asking import Hit


@app.command()
def recall(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="In your own words.")],
    limit: Annotated[int, typer.Option("--limit", "-n", help="So many at most.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option("--in", help="messages, documents/notes ...; may be repeated."),
    ] = None,
    filter: Filter = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on (ISO)")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time (ISO).")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What was believed at this time (ISO).")
    ] = None,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Find the memories that answer a question best, and say why.

    It goes by words; what a program indexed by meaning is for that program.
    """
    places = [tuple(place.split("/")) for place in where or []]
    with opened(url, user, recall=True) as memory:
        hits = memory.recall(
            query,
            k=limit,
            filter=filter_of(filter),
            since=time_of(since, "--since"),
            until=time_of(until, "--until"),
            namespaces=places or None,
            as_of=time_of(as_of, "--as-of"),
        )
    if as_json:
        printed([_told(hit) for hit in hits])
    elif not hits:
        raise NotFound("nothing bears on that")
    else:
        show(
            ("text", "why", "source"),
            [(one_line(hit.text, 120), hit.why, one_line(hit.source, 60)) for hit in hits],
        )


@app.command()
def reindex(
    anew: Annotated[bool, typer.Option("--anew", help="From nothing.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make good what the index of words is missing. May be interrupted and called again."""
    with opened(url, recall=True) as memory, shown("Indexing") as progress:
        count = memory.reindex(progress, anew=anew)
    printed({"indexed": count}) if as_json else say(f"Indexed {count} records.")


def _told(hit: Hit) -> dict[str, Any]:
    return {
        "source": hit.source,
        "text": hit.text,
        "score": hit.score,
        "why": hit.why,
        "parts": dict(hit.parts),
        "at": None if hit.at is None else values.write_time(hit.at),
    }
