"""Filters and places in an order, as queries of MongoDB.

What is compiled here lets every match through, and is asked again in Python: it may let more
through, never less. What MongoDB would compare otherwise is left out. Operands are scalars, so
that none can be taken for an operator.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from lc_memory.filters import And, Compare, Elements, Equal, Exists, In, Node, Or, Size, Test, Where
from lc_memory.paging import Position
from lc_memory.records import Limits, Namespace, Order
from lc_memory.stores.mongo_documents import SURROGATE, Document, name_of, names_in, nearest
from lc_memory.stores.names import namespace_range, write_namespace

#: A field name that a path of MongoDB takes literally. Digits could be a place in an array.
_LITERAL: Final = re.compile(r"(?![0-9]+\Z)[^\x00$.\ud800-\udfff]+")
_LONGEST_PATH: Final = 60

#: Stored surrogates have become U+FFFD, so from here on the order of strings may differ.
_UNORDERED: Final = re.compile("[\ud800-\U0010ffff]")

_NOTHING: Final[Document] = {"_id": {"$in": []}}
_THERE: Final[Document] = {"$exists": True}


def joined(conditions: list[Document]) -> Document:
    """All of the conditions as one."""
    names = [name for one in conditions for name in one]
    if len(set(names)) < len(names):
        return {"$and": conditions}
    return {name: asked for one in conditions for name, asked in one.items()}


def under(prefix: Namespace, exact: bool = False) -> list[Document]:
    """That a record's namespace begins with these labels, or is them."""
    if exact:
        first, end = names_in(prefix)
        return [{"namespace": write_namespace(prefix)}, {"_id": {"$gte": first, "$lt": end}}]
    bounds = namespace_range(prefix)
    return [] if bounds is None else [{"_id": {"$gte": bounds[0], "$lt": bounds[1]}}]


def allowed(limits: Limits) -> Document:
    """That a record is within the limits."""
    parts = [joined(under(prefix)) for prefix in limits.prefixes]
    if limits.ids:
        parts.append({"_id": {"$in": [name_of(id) for id in limits.ids]}})
    return {"$or": parts} if parts else _NOTHING


def just(value: int | str | None) -> Document:
    """That a field is this scalar, or is not there: to be asked beside an ``_id``.

    Not in the words of an equality: a server of the protocol may look for an index for each.
    """
    return {"$exists": False} if value is None else {"$all": [value]}


def alive(now: int) -> Document:
    """That a record has not expired at that time."""
    return {"expires_at": {"$not": {"$lte": now}}}


def after(order: Order, place: Position) -> Document:
    """That a record comes after a place in an order."""
    first, namespace, key = place
    sign = "$lt" if order.descending else "$gt"
    further = {"_id": {sign: name_of((namespace, key))}}
    if order.attribute == "key":
        return further
    assert order.attribute is not None
    return {
        order.attribute: {sign + "e": first},  # bounds the index
        "$or": [{order.attribute: {sign: first}}, {order.attribute: first, **further}],
    }


def sorting(order: Order) -> list[tuple[str, int]]:
    """The fields to sort by; none if Python sorts."""
    if order.attribute is None:
        return []
    fields = ["_id"] if order.attribute == "key" else [order.attribute, "_id"]
    return [(field, -1 if order.descending else 1) for field in fields]


def field_of(path: tuple[str, ...]) -> str | None:
    """The path into a document's value, if MongoDB can follow it as it is meant."""
    if len(path) > _LONGEST_PATH or not all(map(_LITERAL.fullmatch, path)):
        return None
    return ".".join(("value", *path)) if path else None


def condition(node: Node | None) -> Document | None:
    """A condition that holds for every match, or None if none can be said."""
    match node:
        case And(nodes):
            parts = [part for part in map(condition, nodes) if part is not None]
            return joined(parts) if parts else None
        case Or(nodes):
            branches = list(map(condition, nodes))
            known = [branch for branch in branches if branch is not None]
            if len(known) < len(branches):
                return None
            return {"$or": known} if known else _NOTHING
        case Where(path, test):
            field, asked = field_of(path), _asked(test)
            return None if field is None or asked is None else {field: asked}
    return None  # a negation lets most records through anyway


def _asked(test: Test) -> Any:
    match test:
        case Equal(None):
            return None
        case Equal(list() | dict()) | Exists() | Elements():
            return _THERE
        case Equal(operand):
            return _operand(operand)
        case In(operands):
            if any(operand is None or isinstance(operand, (list, dict)) for operand in operands):
                return None
            return {"$in": [_operand(operand) for operand in operands]}
        case Size(count):
            return {"$size": count} if count < 2**31 else None
        case Compare(operator, operand):
            if isinstance(operand, bytes):  # MongoDB puts the shorter one first
                return None
            if isinstance(operand, str) and _UNORDERED.search(operand):
                return None
            # Inclusive: two values may have the same nearest one.
            return {"$gte" if operator[0] == "g" else "$lte": _operand(operand)}
    return None


def _operand(operand: Any) -> bool | int | float | str | bytes | datetime:
    """What a stored value has become that equals the operand."""
    if type(operand) is int:
        return nearest(operand)
    if isinstance(operand, str):
        return SURROGATE.sub("\ufffd", operand)
    assert isinstance(operand, (bool, float, bytes, datetime))
    return operand
