"""The collection ``facts``: what is believed about a user, since when, and what it replaced.

A fact is a document with an ``id`` and a ``text``. What was learned from messages also has
``subject``, ``kind`` (fact, preference or event), ``confidence``, ``sources`` (ids of messages)
and ``valid_from``. A fact that a newer one contradicts or refines is not deleted: it gets a
``valid_to`` and is ``superseded_by`` the other, and only ``as_of`` still answers with it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from lc_memory.documents import document_id
from lc_memory.records import ABSENT, NEWEST, Namespace, Put, Query, Record, Value
from lc_memory.store import Store

#: The facts, among other documents that somebody may have stored there: a text is at least "".
FACTS: Final[dict[str, Any]] = {"text": {"$gte": ""}}

#: The facts that are believed now.
BELIEVED: Final[dict[str, Any]] = {**FACTS, "valid_to": None}


def fact_id(text: str) -> str:
    """The same for the same fact, whatever its script, case, spacing or Unicode form."""
    plain = unicodedata.normalize("NFC", " ".join(text.casefold().split()))
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def believed(
    store: Store, namespace: Namespace, limit: int | None = None, as_of: datetime | None = None
) -> list[Record]:
    """The facts that are (or at a time were) believed, the most recently stored first."""
    query = Query(namespace, BELIEVED if as_of is None else FACTS, NEWEST, exact=True)
    if as_of is None:
        return store.find(replace(query, limit=limit)).records
    known = [record for record in store.find(query).records if _was_believed(record, as_of)]
    return known[:limit]


def fact_of(record: Record) -> Value:
    """A fact as it is told of: with the ``id`` that it is kept under, whatever it says itself."""
    return {**record.value, "id": document_id(record.key)}


def holds(value: Value) -> bool:
    """Whether a fact is believed now."""
    return value.get("valid_to") is None


def begins(record: Record) -> datetime:
    """Since when a fact is believed."""
    since = record.value.get("valid_from")
    return since if isinstance(since, datetime) else record.created_at


def place_for(store: Store, namespace: Namespace, text: str) -> tuple[str, Record | None]:
    """The id for a fact, and the record if it is believed already. A fact that was superseded
    and is believed again gets another id: the old one stays on record."""
    first = id = fact_id(text)
    number = 1
    while True:
        held = store.get(namespace, id)
        if held is None or holds(held.value):
            return id, held
        number += 1
        id = f"{first}-{number}"


def new_fact(namespace: Namespace, id: str, value: Value, owner: str | None) -> Put:
    return Put(namespace, id, {"id": id, **value}, replacing=ABSENT, owner=owner)


def ended(record: Record, until: datetime, by: str) -> Put:
    """The operation that ends a belief: it stays, with its times."""
    value = {**record.value, "valid_to": until, "superseded_by": by}
    return Put(record.namespace, record.key, value, record.expires_at, replacing=record)


def _was_believed(record: Record, moment: datetime) -> bool:
    until = record.value.get("valid_to")
    return begins(record) <= moment and (not isinstance(until, datetime) or moment < until)
