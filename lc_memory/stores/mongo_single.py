"""One record put by one message to MongoDB, without reading it first.

The write is guarded: it happens only if what it was made from is so. If not, the store reads the
record and tries again. This is the one place beside :mod:`lc_memory.rows` and :mod:`sql_single`
that says what a Put does to a row.
"""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from lc_memory.records import Put, Record
from lc_memory.rows import Row, Step, settle
from lc_memory.store import Clock
from lc_memory.stores.mongo_client import is_collision
from lc_memory.stores.mongo_documents import Document, document_of, name_of
from lc_memory.stores.mongo_filters import alive

_TOLD = dict.fromkeys(("version", "created_at", "updated_at", "owner"), 1)


def put(records: Collection[Document], step: Step, clock: Clock) -> Record | None:
    """Carry out a Put; None if the record must be read for it."""
    assert isinstance(step.op, Put)
    seen = step.op.replacing
    if seen is None and step.op.seal is not None:  # which must know the version
        return None
    held = None
    if isinstance(seen, Record):  # what it was then, if it is so still, need not be read
        held = Row.of(seen, "")._replace(expires=None)
    now = clock.now()
    row, record = settle(step, held, clock.ticks(1), now)
    assert row is not None
    try:
        if seen is None:
            return _upserted(records, row, now).record(step.value)
        if held is None:
            records.insert_one(document_of(row))
            return record
        asked = {
            "_id": name_of(step.id),
            "version": held.version,
            "created_at": held.created,
            "updated_at": held.updated,
            "owner": held.owner,
            **alive(now),
        }
        return record if records.replace_one(asked, document_of(row)).matched_count else None
    except OperationFailure as error:
        if is_collision(error):
            return None
        raise


def _upserted(records: Collection[Document], row: Row, now: int) -> Row:
    """Write what the row is if there is none yet; give what became of the one there. One that has
    expired is not found, and not replaced: it collides."""
    document = document_of(row)
    name = document.pop("_id")
    made = {field: document.pop(field) for field in ("namespace", "key", "created_at")}
    update: dict[str, Any] = {
        "$setOnInsert": made,
        "$inc": {"version": document.pop("version")},
        "$max": {"updated_at": document.pop("updated_at")},
        "$set": document,
    }
    if gone := {field: "" for field in ("text", "expires_at") if field not in document}:
        update["$unset"] = gone
    found: Any = records.find_one_and_update(
        {"_id": name, **alive(now)},
        update,
        projection=_TOLD,
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return row._replace(
        version=found["version"],
        created=found["created_at"],
        updated=found["updated_at"],
        owner=found.get("owner"),
    )
