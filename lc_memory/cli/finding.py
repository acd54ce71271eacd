"""Finding: recall and reindex."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lc_memory import values
from lc_memory.cli.app import app
from lc_memory.cli.documents import filter_of
from lc_memory.cli.running import Filter, Json, NotFound, Url, User, opened, printed, say, time_of
from lc_memory.cli.tables import show
from lc_memory.errors import InvalidInput
from lc_memory.jobs.progress import shown
from lc_memory.printable import one_line
from lc_memory.search.asking import Hit
from lc_memory.search.recall import Recall


class Model(StrEnum):
    """The models of meaning that are had without a download."""

    minilm = "minilm"
    wordllama = "wordllama"


_COLLECTION = Recall().collection

Meaning = Annotated[
    Model | None,
    typer.Option("--meaning", help="By meaning too, with this model (extra recall or wordllama)."),
]
Vectors = Annotated[
    str | None,
    typer.Option(
        "--vectors",
        metavar="PLACE",
        help="Chroma's folder or URL, where vectors are kept between runs (the extra chroma).",
    ),
]
Collection = Annotated[
    str, typer.Option("--collection", help="Chroma's collection; each store has its own.")
]


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
    meaning: Meaning = None,
    vectors: Vectors = None,
    collection: Collection = _COLLECTION,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Find the memories that answer a question best, and say why.

    By words, and with --meaning by meaning too. Without --vectors each run makes all vectors
    anew: about 10 ms a text with minilm, much less with wordllama.
    """
    places = [tuple(place.split("/")) for place in where or []]
    by = _recall(meaning, vectors, collection)
    if vectors and "://" not in vectors and not Path(vectors).exists():
        raise NotFound(f"there are no vectors at {vectors}; make them with: lc-memory reindex")
    with opened(url, user, recall=by) as memory:
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
    meaning: Meaning = None,
    vectors: Vectors = None,
    collection: Collection = _COLLECTION,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make good what the indexes of recall are missing.

    Those are the index of words, and with --meaning the vectors. May be interrupted and called
    again. --anew makes all of it, for another model.
    """
    by = _recall(meaning, vectors, collection)
    if meaning and not vectors:
        raise InvalidInput("--meaning: say where the vectors are to be kept, with --vectors")
    with opened(url, recall=by) as memory, shown("Indexing") as progress:
        count = memory.reindex(progress, anew=anew)
    printed({"indexed": count}) if as_json else say(f"Indexed {count} records.")


def _recall(meaning: Model | None, vectors: str | None, collection: str) -> Recall:
    if vectors and not meaning:
        raise InvalidInput("--vectors: say which model made them, with --meaning")
    return Recall(
        embeddings=None if meaning is None else meaning.value, chroma=vectors, collection=collection
    )


def _told(hit: Hit) -> dict[str, Any]:
    return {
        "source": hit.source,
        "text": hit.text,
        "score": hit.score,
        "why": hit.why,
        "parts": dict(hit.parts),
        "at": None if hit.at is None else values.write_time(hit.at),
    }
