"""What ``Memory`` offers of recall, spelled out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from lc_memory.documents import Filter
from lc_memory.errors import InvalidQuery, Unsupported
from lc_memory.filters import parse
from lc_memory.layers.indexed import indexed_in
from lc_memory.records import MOST, Namespace, check_namespace, check_time
from lc_memory.search.asking import EVERYTHING, Hit, Scope, Search
from lc_memory.search.texts import SEARCHED

if TYPE_CHECKING:
    from lc_memory.memory import Memory


def recall(
    memory: Memory,
    query: str,
    k: int,
    filter: Filter | None,
    since: datetime | None,
    until: datetime | None,
    namespaces: Sequence[Namespace | str] | None,
    as_of: datetime | None,
) -> list[Hit]:
    search = Search(
        checked_text(query),
        Scope(_prefixes(memory.scope, namespaces)),
        checked_limit(k),
        parse(filter) if filter else None,
        check_time(since, "since"),
        check_time(until, "until"),
        check_time(as_of, "as_of"),
    )
    return memory.backend.search(search)


def checked_text(query: object) -> str:
    if not isinstance(query, str) or not query.strip():
        raise InvalidQuery("query: empty; say what to recall")
    return query


def checked_limit(limit: object, name: str = "k") -> int:
    if type(limit) is not int or not 0 < limit <= MOST:
        raise InvalidQuery(f"{name}: {limit!r} is not a whole number from 1 up")
    return limit


def _prefixes(
    scope: Namespace, namespaces: Sequence[Namespace | str] | None
) -> tuple[Namespace, ...]:
    if namespaces is None:
        return (scope,) if scope else EVERYTHING
    if isinstance(namespaces, str):
        raise InvalidQuery(f"namespaces: {namespaces!r} is a string; give a list of them")
    prefixes: list[Namespace] = []
    for given in namespaces:
        labels = (given,) if isinstance(given, str) else tuple(given)
        if not labels or labels[0] not in (*SEARCHED, "users"):
            raise InvalidQuery(
                f"namespaces: nothing under {labels!r} is searched; they begin with one of "
                + ", ".join(SEARCHED)
            )
        prefixes.append(check_namespace((*scope, *labels)))
    return tuple(prefixes)


def reindex(memory: Memory, progress: Callable[[int, int], None] | None, anew: bool) -> int:
    memory._layers.require(memory.principal, "admin", ())
    layer = indexed_in(memory.backend)
    if layer is None:
        raise Unsupported("there are no indexes; open the memory with recall=True")
    memory._layers.tell(memory.principal, "reindex")
    return layer.reindex(progress, anew=anew)
