r"""Records as documents of MongoDB.

    { _id: "users\tada\tdocuments\tnotes\t\x01n1",
      namespace: "users\tada\tdocuments\tnotes\t", key: "n1",
      value: { title: "Tea", tags: ["green"], at: ISODate("2026-01-01T10:00:00.123Z") },
      version: 1, created_at: 1767261600123456, updated_at: 1767261600123456, owner: "ada" }

A namespace is one text, each label ended by a tab (:mod:`names`), so that a prefix is a range;
``_id`` joins namespace and key, so that its order is the order of both. Times are microseconds
since 1970 (``new Date(created_at / 1000)`` shows one); ``expires_at`` and ``owner`` stand there
only if there are any.

``value`` is what people read and queries look at. Where BSON cannot hold the value without loss,
``text`` stands beside it and is the truth: the value as JSON (:mod:`lc_memory.values`). ``value``
then holds the nearest that BSON can say: dates without their microseconds, integers past 64 bits
as the nearest double, halves of surrogate pairs as U+FFFD; and it leaves out the fields whose
names BSON or MongoDB cannot carry (empty, beginning with ``$``, with NUL or surrogates).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import bson
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.int64 import Int64

from lc_memory import values
from lc_memory.errors import CorruptStore, InvalidValue
from lc_memory.records import Id, Namespace, Record
from lc_memory.rows import Row
from lc_memory.stores.names import read_namespace, write_namespace

Document: TypeAlias = dict[str, Any]

SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: In the JSON of a value: a tag or a name with ``$``, an escape, an empty name. Nothing else can
#: be what BSON would lose.
_SUSPECT: Final = re.compile(r'"\$|\\u|"":')
_UNNAMEABLE: Final = re.compile("^$|^[$]|[\x00\ud800-\udfff]")

#: Between namespace and key: it sorts before all that a further label could begin with.
_JOINT: Final = "\x01"
_AFTER_JOINT: Final = "\x02"

_MOST_BYTES: Final = 16 * 1024 * 1024
_NAMES_BYTES: Final = 8 * 1024  # for all the fields beside the value
_SAFE_LENGTH: Final = 1_000_000  # no JSON text of so few characters becomes too large


class _PlainInt(TypeDecoder):
    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


#: How documents are read: plain integers, times in UTC.
CODEC: Final[CodecOptions[Document]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, type_registry=TypeRegistry([_PlainInt()])
)


def name_of(id: Id) -> str:
    """The ``_id`` of a record's document."""
    return write_namespace(id[0]) + _JOINT + id[1]


def names_in(namespace: Namespace) -> tuple[str, str]:
    """From (inclusive) and to (exclusive) of the ``_id`` in just this namespace."""
    start = write_namespace(namespace)
    return start + _JOINT, start + _AFTER_JOINT


def document_of(row: Row) -> Document:
    """The document that keeps a row."""
    document: Document = {"_id": name_of(row[:2]), "namespace": write_namespace(row.namespace)}
    document.update(key=row.key, **_written(row.text))
    document["version"] = row.version
    document["created_at"] = row.created
    document["updated_at"] = row.updated
    if row.expires is not None:
        document["expires_at"] = row.expires
    if row.owner is not None:
        document["owner"] = row.owner
    return document


def record_of(document: Document) -> Record:
    """The record in a document. Raises CorruptStore."""
    value = document.get("value")
    if "text" in document:
        value = values.decode(document["text"])
    if type(value) is not dict:
        raise CorruptStore(f"MongoDB: the record {document.get('key')!r} has no value")
    return Record.told_by(_row(document, ""), value)


def row_of(document: Document) -> Row:
    """The row in a document; without a value if it was read without."""
    text = document.get("text")
    return _row(document, values.encode(document.get("value", {})) if text is None else text)


def check_size(text: str) -> None:
    """Raise InvalidValue if a value of this JSON text is more than a document holds."""
    if len(text) > _SAFE_LENGTH:
        size = len(bson.encode(_written(text))) + _NAMES_BYTES
        if size > _MOST_BYTES:
            raise InvalidValue(
                "$",
                f"takes {size / 2**20:.1f} MB, and MongoDB's documents hold 16; keep it in "
                "several records, or in a SQL or file store",
            )


def nearest(number: int) -> int | float:
    """The number as BSON has it: past 64 bits the nearest double, at the far ends infinity."""
    if -(2**63) <= number < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _row(document: Document, text: str) -> Row:
    try:
        return Row(
            read_namespace(document["namespace"]),
            document["key"],
            text,
            document["version"],
            document["created_at"],
            document["updated_at"],
            document.get("expires_at"),
            document.get("owner"),
        )
    except KeyError as error:
        raise CorruptStore(f"MongoDB: a document of the records has no {error}") from None


def _written(text: str) -> Document:
    value = values.decode(text)
    if not _SUSPECT.search(text):
        return {"value": value}
    form = _Form()
    readable = form.of(value)
    return {"value": readable, "text": text} if form.lost else {"value": readable}


class _Form:
    """Makes the nearest that BSON can say, and notes whether anything was lost."""

    def __init__(self) -> None:
        self.lost = False

    def of(self, value: Any) -> Any:
        if type(value) is dict:
            named = {name: item for name, item in value.items() if not _UNNAMEABLE.search(name)}
            self.lost |= len(named) < len(value)
            return {name: self.of(item) for name, item in named.items()}
        if type(value) is list:
            return [self.of(item) for item in value]
        if type(value) is str:
            seen = SURROGATE.sub("\ufffd", value)
            self.lost |= seen != value
            return seen
        if type(value) is int:
            number = nearest(value)
            self.lost |= type(number) is float
            return number
        if isinstance(value, datetime):
            self.lost |= value.microsecond % 1000 != 0  # the driver cuts them off
        return value
