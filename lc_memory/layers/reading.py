"""Going on where a record cannot be opened: for work that is about everything there is.

What one user can bring into an encrypted store must not end the work that is for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from lc_memory.errors import CorruptStore, WrongKey
from lc_memory.layers.base import Layer
from lc_memory.records import Id, Query, Record
from lc_memory.store import Store

#: What a layer raises that cannot open a record.
UNREADABLE: Final = (CorruptStore, WrongKey)

#: A record, and the error of the layer that could not open it: then it comes as the store itself
#: has it, with its value sealed.
Met: TypeAlias = tuple[Record, CorruptStore | WrongKey | None]


def readable(store: Store, query: Query, size: int = 500) -> Iterator[Met]:
    """Every record of a query that has no filter."""
    query = replace(query, limit=size)
    while True:
        try:
            page = store.find(query)
            met: Iterable[Met] = [(record, None) for record in page.records]
        except UNREADABLE:
            page = innermost(store).find(query)
            met = _one_by_one(store, page.records, query.expired)
        yield from met
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)


def held(store: Store, ids: Sequence[Id], *, expired: bool = False) -> Iterator[Met]:
    """Those of the records that are there."""
    if not ids:
        return
    try:
        found = store.read(ids, expired=expired)
    except UNREADABLE:
        there = innermost(store).read(ids, expired=expired)
        yield from _one_by_one(store, (r for r in there if r is not None), expired)
    else:
        yield from ((record, None) for record in found if record is not None)


def innermost(store: Store) -> Store:
    """The store itself, without its layers."""
    while isinstance(store, Layer):
        store = store.inner
    return store


def _one_by_one(store: Store, records: Iterable[Record], expired: bool) -> Iterator[Met]:
    for record in records:
        try:
            (opened,) = store.read([record.id], expired=expired)
        except UNREADABLE as error:
            yield record, error
        else:
            if opened is not None:
                yield opened, None
