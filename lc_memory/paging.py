"""Sorting, cursors and pages: what every store does to the candidates it has found."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from heapq import nsmallest
from typing import Any, TypeAlias

import orjson

from lc_memory import values
from lc_memory.errors import InvalidKey, InvalidQuery
from lc_memory.filters import MISSING, straight
from lc_memory.records import Order, Page, Query, Record, check_id

#: A record's place in an order. The namespace and key break ties, so that no two are equal.
Position: TypeAlias = "tuple[Any, tuple[str, ...], str]"


def position(record: Record, order: Order) -> Position:
    """Where the record stands in the (ascending) order."""
    if order.attribute == "key":
        first: Any = 0
    elif order.attribute == "created_at":
        first = values.micros(record.created_at)
    elif order.attribute == "updated_at":
        first = values.micros(record.updated_at)
    else:
        value = straight(record.value, order.path)
        first = b"" if value is MISSING else values.sort_key(value)
    return first, record.namespace, record.key


def write_cursor(order: Order, place: Position) -> str:
    """An opaque text that says: after this position of this order."""
    first, namespace, key = place
    if isinstance(first, bytes):
        first = base64.b64encode(first).decode()
    data = orjson.dumps([str(order), first, list(namespace), key])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(order: Order, cursor: str) -> Position:
    """The position in a cursor. Raises InvalidQuery if it is not one of this order's."""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        name, first, namespace, key = orjson.loads(data)
        if name != str(order):
            raise InvalidQuery(f"cursor: it belongs to the order {name!r}, not {str(order)!r}")
        check_id((tuple(namespace), key))
        if order.path:
            first = base64.b64decode(first, validate=True)
        elif type(first) is not int or not -(2**63) <= first < 2**63:
            raise ValueError("not a position")
        return first, tuple(namespace), key
    except InvalidQuery:
        raise
    except (InvalidKey, ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidQuery("cursor: not one that a page gave") from None


def page_of(candidates: Iterable[Record], query: Query) -> Page:
    """The page of a query, from all candidates in any order: filtered, sorted and cut."""
    order = query.sort
    node = query.node
    after = None if query.cursor is None else read_cursor(order, query.cursor)
    placed: list[tuple[Position, Record]] = []
    for record in candidates:
        if node is not None and not node.matches(record.value):
            continue
        place = position(record, order)
        if after is not None and not (place < after if order.descending else place > after):
            continue
        placed.append((place, record))
    if query.limit is not None and not order.descending:
        placed = nsmallest(query.offset + query.limit + 1, placed, key=lambda pair: pair[0])
    else:
        placed.sort(key=lambda pair: pair[0], reverse=order.descending)
    return cut([record for _, record in placed[query.offset :]], query)


def cut(records: list[Record], query: Query) -> Page:
    """A page of the first ``limit`` of the sorted records, with a cursor if there are more."""
    if query.limit is None or len(records) <= query.limit:
        return Page(records)
    return page_before_more(records[: query.limit], query)


def page_before_more(records: list[Record], query: Query) -> Page:
    """A full page, with the cursor of the next one."""
    if not records:
        return Page([])
    last, order = records[-1], query.sort
    if order.attribute is None:  # the value is the caller's, who may change it
        return Page(records, write_cursor(order, position(last, order)))
    return Page(records, lambda: write_cursor(order, position(last, order)))
