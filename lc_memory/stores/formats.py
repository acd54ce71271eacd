"""The formats of the file stores: how records stand in a JSON, YAML, CSV or pickle file.

Every file carries a *seal*, a checksum of all its other bytes (with a key: a MAC), in its first
line, or after a pickle's end. It is compared before anything is parsed. Values stand in the files
as in :mod:`lc_memory.values`: plain, with tags such as ``{"$bytes": …}`` for what JSON lacks.
"""

from __future__ import annotations

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from lc_memory import __version__, values
from lc_memory.errors import CorruptStore, NewerFormat, newer
from lc_memory.records import check_name, check_namespace
from lc_memory.rows import Row
from lc_memory.stores.journal import Sealer

FORMAT: Final = "lc_memory records"
VERSION: Final = 1

_SEAL: Final = rb"((?:hmac-)?sha256:[0-9a-f]{64})"
_WRITER: Final = rb"(,lc_memory [\w.+!-]+ format \d+)?"
_COLUMNS: Final = (
    *("namespace", "key", "value", "version"),
    *("created_at", "updated_at", "expires_at", "owner"),
)


class Format(ABC):
    """``seal_line`` is where the seal stands (``%s``): the file's first line, or its last."""

    seal_line: bytes
    seal_last = False
    #: The body has no place for it: the version follows the seal.
    names_writer = False

    @abstractmethod
    def body(self, rows: Iterable[Row]) -> bytes:
        """The file without its seal line."""

    @abstractmethod
    def parse(self, data: bytes, sealed: bool) -> Iterable[Any]:
        """The records in a whole file; ``sealed``: it is to the byte what :meth:`body` wrote.

        Raises ValueError, TypeError, KeyError or IndexError for what is none, and NewerFormat.
        """

    def dump(self, rows: Iterable[Row], sealer: Sealer) -> tuple[bytes, str]:
        """A file of these rows, and its seal."""
        body = self.body(rows)
        writer = f",lc_memory {__version__} format {VERSION}".encode() if self.names_writer else b""
        seal = sealer.seal(writer + body)
        line = self.seal_line % (seal.encode() + writer)
        return (body + line if self.seal_last else line + body), seal

    def load(
        self, data: bytes, sealer: Sealer, accept_edits: bool = False
    ) -> tuple[list[Row], str | None]:
        """The rows of a file and its seal: None if it does not fit, which may be accepted.

        Raises CorruptStore, saying what is wrong with the file, or NewerFormat.
        """
        seal, body = self._split(data)
        sealed = sealer.fits(seal, body)
        if not sealed and (sealer.keyed or seal.startswith("hmac") or not accept_edits):
            raise CorruptStore(_broken(seal, sealer))
        try:
            row_of = _row_of if sealed else _row_of_a_person
            rows = [row_of(record) for record in self.parse(data, sealed)]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise CorruptStore(f"it does not hold records: {error}") from error
        if len({(row.namespace, row.key) for row in rows}) < len(rows):
            raise CorruptStore("it holds a record twice")
        return rows, seal if sealed else None

    def _split(self, data: bytes) -> tuple[str, bytes]:
        """The seal and what it seals; the seal is empty if there is none in its place."""
        line = re.escape(self.seal_line).replace(b"%s", _SEAL + self.names_writer * _WRITER)
        if self.seal_last:
            found = re.search(line + rb"\Z", data)
            return (found[1].decode(), data[: found.start()]) if found else ("", data)
        found = re.match(line, data)
        if found is None:
            return "", data
        writer = found[2] or b"" if self.names_writer else b""
        return found[1].decode(), writer + data[found.end() :]


class JSON(Format):
    seal_line = b'{"seal": "%s",\n'

    def body(self, rows: Iterable[Row]) -> bytes:
        rows = list(rows)
        head = '"format": "%s", "version": %d, "library": "%s", "count": %d, "records": [\n'
        out = io.BytesIO()  # lines of their own would each keep the room they were made in
        out.write((head % (FORMAT, VERSION, __version__, len(rows))).encode())
        for number, row in enumerate(rows):
            out.write(b",\n" if number else b"")
            out.write(orjson.dumps(_plain(row, orjson.Fragment(row.text))))
        out.write(b"\n]}\n")
        return out.getvalue()

    def parse(self, data: bytes, sealed: bool) -> Iterable[Any]:
        # Only Python's own reader keeps a person's integers past 64 bits.
        return records_in(load_json(data) if sealed else json.loads(data))


class CSV(Format):
    """One row a record. Namespace and value are JSON text; an absent owner or expiry is empty.

    A key or owner that a spreadsheet would take for a formula has an apostrophe before it, and
    so has one that is empty or begins with an apostrophe. The titles of the last two columns are
    the seal, and which release wrote which format (the first ones did not say); the columns
    themselves are empty.
    """

    seal_line = ",".join(_COLUMNS).encode() + b",%s\r\n"
    names_writer = True

    def body(self, rows: Iterable[Row]) -> bytes:
        text = io.StringIO(newline="")
        write = csv.writer(text).writerow
        for row in rows:
            record = _plain(row, row.text)
            record["namespace"] = orjson.dumps(row.namespace).decode()
            for name in ("key", "owner"):
                record[name] = _neutral(record[name])
            write(record.values())
        return text.getvalue().encode()

    def parse(self, data: bytes, sealed: bool) -> Iterable[Any]:
        csv.field_size_limit(2**31 - 1)  # one for all of Python; its default is 128 kB
        text = io.StringIO(data.decode("utf-8-sig"), newline="")  # spreadsheets add the mark
        titles, *lines = csv.reader(text, strict=True)
        for title in titles:
            if writer := re.fullmatch(r"lc_memory (\S+) format (\d{1,9})", title):
                _check_version(int(writer[2]), writer[1])
        if tuple(titles[: len(_COLUMNS)]) != _COLUMNS:
            raise ValueError(f"its columns are {titles[:9]}")
        return (self._record(line, load_json if sealed else json.loads) for line in lines)

    @staticmethod
    def _record(cells: list[str], load: Callable[[str], Any]) -> dict[str, Any]:
        record: dict[str, Any] = dict(zip(_COLUMNS, cells, strict=False))
        for name in ("key", "owner"):
            record[name] = record[name].removeprefix("'") if record[name] else None
        record["namespace"] = orjson.loads(record["namespace"])
        record["value"] = load(record["value"])
        record["version"] = int(record["version"])
        record["expires_at"] = record["expires_at"] or None
        return record


def _neutral(name: str | None) -> str | None:
    """See :class:`CSV`. Full-width signs and a newline are formula marks to some programs."""
    if name is None or (name and name[0] not in "=+-@\t\r\n'＝＋－＠"):
        return name
    return "'" + name


# -- records as plain dicts ------------------------------------------------------------------


def document(rows: Iterable[Row]) -> dict[str, Any]:
    """All rows as one plain object, for YAML and pickle."""
    records = [_plain(row, load_json(row.text)) for row in rows]
    head = {"format": FORMAT, "version": VERSION, "library": __version__, "count": len(records)}
    return head | {"records": records}


def records_in(document: Any) -> Iterable[Any]:
    """The records of a document. Raises ValueError, TypeError or KeyError, and NewerFormat."""
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}")
    _check_version(document["version"], document.get("library"))
    if type(document["records"]) is not list:
        raise ValueError("its records are not a list")
    return document["records"]


def _check_version(version: int, library: object) -> None:
    if version > VERSION:
        raise NewerFormat(newer("it", library, version, VERSION))


def load_json(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # an escaped lone surrogate
        return json.loads(text)


def _plain(row: Row, value: Any) -> dict[str, Any]:
    return {
        "namespace": list(row.namespace),
        "key": row.key,
        "value": value,
        "version": row.version,
        "created_at": _time(row.created),
        "updated_at": _time(row.updated),
        "expires_at": None if row.expires is None else _time(row.expires),
        "owner": row.owner,
    }


def _row_of(record: Any) -> Row:
    return _row(record, values.dump(record["value"]))


def _row_of_a_person(record: Any) -> Row:
    """What a person wrote goes through the same door as what a program stores."""
    if type(record["value"]) is not dict:
        raise ValueError(f"the value of {record['key']!r} is not an object")
    return _row(record, values.encode(values.lift(record["value"])))


def _row(record: Any, text: str) -> Row:
    if record.keys() != set(_COLUMNS) or text[:1] != "{":
        raise ValueError(f"a record has the fields {', '.join(map(str, record))}")
    if type(record["version"]) is not int or record["version"] < 1:
        raise ValueError(f"the version of {record['key']!r} is not a whole number from 1")
    expires, owner = record["expires_at"], record["owner"]
    return Row(
        check_namespace(tuple(record["namespace"])),
        check_name(record["key"]),
        text,
        record["version"],
        values.micros(values.read_time(record["created_at"])),
        values.micros(values.read_time(record["updated_at"])),
        None if expires is None else values.micros(values.read_time(expires)),
        None if owner is None else check_name(owner, "owner"),
    )


def _time(micros: int) -> str:
    return values.write_time(values.from_micros(micros))


def _broken(seal: str, sealer: Sealer) -> str:
    """What is wrong with a seal that does not fit."""
    kind = seal.partition(":")[0]
    if sealer.keyed and kind != sealer.kind:
        return "it carries no MAC, so it was not written under this key"
    if sealer.keyed:
        return "its MAC does not fit: this is not the key, or the file was changed"
    if seal and kind != sealer.kind:
        return "it was written under a key; give it as pickle_key="
    trouble = "its checksum does not fit" if seal else "it has no checksum where ours stands"
    return (
        f"{trouble}: the file was changed or damaged, or is another program's. If the change is "
        "yours, open it once with accept_edits=True; otherwise restore a backup"
    )
