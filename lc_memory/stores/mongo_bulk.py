"""Whole MongoDB collections: read as of one moment, and replaced in one step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from lc_memory import values
from lc_memory.errors import SnapshotLost
from lc_memory.records import Record
from lc_memory.rows import Row
from lc_memory.stores.mongo_client import MongoConnection, Session
from lc_memory.stores.mongo_documents import Document, check_size, document_of
from lc_memory.stores.names import namespace_range

_CHUNK: Final = 1000
_DRAFT: Final = "lc_memory_restoring_"
#: A draft that old belongs to a process that is gone.
_ABANDONED: Final = timedelta(days=1)

#: What of a document changes whenever its record does.
_STATE: Final = ("_id", "version", "created_at", "updated_at", "expires_at")


class InSession:
    """A collection that is read in one session."""

    def __init__(self, records: Collection[Document], session: Session | None) -> None:
        self._records = records
        self._session = session

    def find(self, *args: Any, **options: Any) -> Any:
        return self._records.find(*args, **{**options, "session": self._session})

    def find_one(self, *args: Any, **options: Any) -> Any:
        return self._records.find_one(*args, **{**options, "session": self._session})

    def count_documents(self, *args: Any, **options: Any) -> int:
        return self._records.count_documents(*args, **{**options, "session": self._session})

    def aggregate(self, *args: Any, **options: Any) -> Any:
        return self._records.aggregate(*args, **{**options, "session": self._session})


@contextlib.contextmanager
def reading(server: MongoConnection) -> Iterator[InSession]:
    """The records, as they are at one moment.

    A server that stands alone cannot keep one: there it is seen afterwards whether somebody
    wrote meanwhile, and SnapshotLost raised.
    """
    if server.transactional:
        with server.snapshot() as session:
            yield InSession(server.records, session)
        return
    before = _state(server)
    yield InSession(server.records, None)
    if _state(server) != before:
        raise SnapshotLost(
            "MongoDB: others wrote while the records were read, and a server that stands alone "
            "cannot show them as of one moment; try again when it is quiet, or make it a replica "
            "set (--replSet rs0, and rs.initiate() once)"
        )


def _state(server: MongoConnection) -> str:
    digest = hashlib.sha256()
    first, end = namespace_range(("lc_memory", "backups")) or ("", "")  # whose lock is renewed
    others = {"$or": [{"_id": {"$lt": first}}, {"_id": {"$gte": end}}]}
    with server.errors():
        for document in server.records.find(others, dict.fromkeys(_STATE, 1), sort=[("_id", 1)]):
            digest.update(repr([document.get(name) for name in _STATE]).encode())
    return digest.hexdigest()


def replace_all(server: MongoConnection, records: Iterable[Record]) -> None:
    """Put these records in the place of all there are, in one step.

    They are written to a draft, which then takes the collection's name: whoever reads sees the
    old ones or the new, and a process that is killed leaves a draft behind at most.
    """
    database = server.database
    _sweep_drafts(server)
    draft = database.create_collection(f"{_DRAFT}{ObjectId()}")
    try:
        remaining = iter(records)
        while documents := [_document(record) for record in islice(remaining, _CHUNK)]:
            draft.insert_many(documents, ordered=False)
        for name, index in server.records.index_information().items():
            if name != "_id_":
                kept = {k: v for k, v in index.items() if k not in ("v", "key", "ns")}
                draft.create_index(index["key"], name=name, **kept)
        draft.rename(server.records.name, dropTarget=True)
    except BaseException:
        with contextlib.suppress(PyMongoError):
            draft.drop()
        raise


def in_chunks(make: Callable[[], Iterable[Record]]) -> Iterator[Sequence[Record]]:
    remaining = iter(make())
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _document(record: Record) -> Document:
    row = Row.of(record, values.encode(record.value))
    check_size(row.text)
    return document_of(row)


def _sweep_drafts(server: MongoConnection) -> None:
    for name in server.database.list_collection_names():
        with contextlib.suppress(InvalidId):
            if name.startswith(_DRAFT):
                made = ObjectId(name.removeprefix(_DRAFT)).generation_time
                if made < datetime.now(UTC) - _ABANDONED:
                    server.database.drop_collection(name)
