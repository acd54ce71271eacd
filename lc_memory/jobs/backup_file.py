"""The file of a backup: written and read as a stream, and verified to the last byte.

``*.jsonl`` is JSON Lines: a header, one record a line in the order of their ids, a trailer:

    {"format":"lc_memory backup","version":2,"created_at":"…","scope":[],"library":"0.1.0",…}
    {"namespace":[…],"key":"…","value":{…},"version":1,"created_at":"…",…}
    {"count":1,"sha256":"…","collections":{"documents/notes":1}}

Every other name is one JSON document (version 1), for a person and for any JSON reader:

    {"format":"lc_memory backup","version":1,"created_at":"…","scope":[], "records": [
    {"namespace":[…],"key":"…","value":{…},"version":1,"created_at":"…",…}
    ],
    "count": 1, "sha256": "…", "collections": {…}}

The digest covers every line before the trailer. ``.gz`` or ``.zst`` at the end of the name
compresses; with a key the whole is sealed (:mod:`lc_memory.jobs.seal`). A reader goes by what it
finds, not by the name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

import orjson

from lc_memory import __version__, values
from lc_memory.errors import BackupError, LCMemoryError, MissingExtra, newer
from lc_memory.jobs.parts import Tally
from lc_memory.jobs.seal import MAGIC, Key, SealedReader, SealedWriter
from lc_memory.records import Id, Namespace, Record, check_name, check_namespace
from lc_memory.stores.disk import Disk, our_errors

FORMAT: Final = "lc_memory backup"
DOCUMENT, LINES = 1, 2
VERSION: Final = LINES

_START: Final = b'{"format":"%s"' % FORMAT.encode()
_RECORDS: Final = b', "records": ['
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BUFFER: Final = 1 << 18
_LONGEST_HEAD: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds: the manifest. ``size`` is the file's, in bytes; ``library`` is the
    version that wrote it; ``sha256`` is of the content before it was compressed and sealed;
    ``encryption`` tells under which encryption (empty: none) the records were stored."""

    path: Path | str
    count: int
    sha256: str
    created_at: datetime
    scope: Namespace = ()
    collections: dict[str, int] = field(default_factory=dict)
    size: int = 0
    sealed: bool = False
    library: str = ""
    encryption: str = ""


# -- writing ---------------------------------------------------------------------------------


def write(
    path: Path,
    records: Iterable[Record],
    now: datetime,
    scope: Namespace,
    key: Key | None = None,
    disk: Disk | None = None,
    encryption: str = "",
) -> Backup:
    """Write a backup of these records: the file appears whole (mode 0600), or not at all."""
    made: list[Backup] = []

    def fill(file: IO[bytes]) -> None:
        sealed = None if key is None else SealedWriter(file, key)
        with _compressed(sealed or file, path.suffix) as out:
            made.append(_write_lines(out, records, now, scope, _layout(path), encryption))
        if sealed is not None:
            sealed.finish()

    size = _write_atomically(path, fill, disk or Disk())
    return replace(made[0], path=path, size=size, sealed=key is not None)


def line_of(record: Record) -> bytes:
    """The record as JSON."""
    return orjson.dumps(
        {
            "namespace": record.namespace,
            "key": record.key,
            "value": orjson.Fragment(values.encode(record.value)),
            "version": record.version,
            "created_at": values.write_time(record.created_at),
            "updated_at": values.write_time(record.updated_at),
            "expires_at": record.expires_at and values.write_time(record.expires_at),
            "owner": record.owner,
        }
    )


def _layout(path: Path) -> int:
    names = path.suffixes[:-1] if path.suffix in (".gz", ".zst") else path.suffixes
    return LINES if names[-1:] == [".jsonl"] else DOCUMENT


def _write_lines(
    out: IO[bytes],
    records: Iterable[Record],
    now: datetime,
    scope: Namespace,
    layout: int,
    encryption: str,
) -> Backup:
    digest = hashlib.sha256()
    tally = Tally()

    def put(data: bytes) -> None:
        digest.update(data)
        out.write(data)

    time = values.write_time(now)
    head = {"format": FORMAT, "version": layout, "created_at": time, "scope": scope}
    start = orjson.dumps(head | {"library": __version__, "encryption": encryption})
    put((start if layout == LINES else start[:-1] + _RECORDS) + b"\n")
    count = 0
    between, end = (b"", b"\n") if layout == LINES else (b",\n", b"")
    for record in records:
        put((between if count else b"") + line_of(record) + end)
        tally.add(record.namespace)
        count += 1
    counts = orjson.dumps(tally.counts)
    if layout == LINES:
        last = b'{"count":%d,"sha256":"%s","collections":%s}\n'
    else:
        put(b"\n],\n" if count else b"],\n")
        last = b'"count": %d, "sha256": "%s", "collections": %s}\n'
    out.write(last % (count, digest.hexdigest().encode(), counts))
    manifest = Backup("", count, digest.hexdigest(), now, scope, tally.counts)
    return replace(manifest, library=__version__, encryption=encryption)


@contextmanager
def _compressed(file: Any, suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        with gzip.GzipFile("", "wb", 6, file, 0) as out:
            yield out  # type: ignore[misc]  # it is a file in all but name
    elif suffix == ".zst":
        with _zstandard().ZstdCompressor(3).stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtra("Backups compressed as .zst", "backup") from error
    return zstandard


class _OnDisk(io.RawIOBase):
    """A file of the disk, until ``ended``. What a buffer over it still holds when it is collected
    then goes nowhere: the file's number may be another file's."""

    def __init__(self, disk: Disk, file: int) -> None:
        self._disk, self._file = disk, file
        self.ended = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.ended else self._disk.write(self._file, memoryview(data))


def _write_atomically(target: Path, fill: Any, disk: Disk) -> int:
    """Have ``fill(file)`` write a draft, and put it in the target's place; returns its size."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with our_errors(target):
        if target.is_dir():
            raise IsADirectoryError(f"{target.name} is a folder")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {target.parent}; make it first")
        file = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            raw = _OnDisk(disk, file)
            try:
                out = io.BufferedWriter(raw, _BUFFER)
                fill(out)
                out.flush()
                disk.sync(file)
                size = os.fstat(file).st_size
            finally:
                raw.ended = True
                os.close(file)
            disk.replace(draft, target)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        disk.sync_folder(target.parent)
    return size


# -- reading ---------------------------------------------------------------------------------


class Reading:
    """A backup being read. ``records`` may be taken once; when they have come to their end, the
    file is verified, and ``manifest`` is there. Raises BackupError."""

    def __init__(self, file: IO[bytes], path: Path | str, size: int, sealed: bool) -> None:
        self._file = file
        self._path = path
        first = file.readline(_LONGEST_HEAD)
        if not first.startswith(_START):
            raise BackupError(f"{path}: not a backup of lc_memory")
        try:
            head = orjson.loads(first.replace(_RECORDS + b"\n", b"}\n"))
            self.version = head["version"]
            library = head.get("library", "")
            if self.version > VERSION:
                raise BackupError(newer(str(path), library, self.version, VERSION))
            created, scope = values.read_time(head["created_at"]), tuple(head["scope"])
            under = str(head.get("encryption", ""))
            self.manifest = Backup(path, -1, "", created, scope, {}, size, sealed, library, under)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, BackupError):
                raise
            raise self._damaged("its first line says nothing known") from error
        self._digest = hashlib.sha256(first)

    def records(self) -> Iterator[Record]:
        tally = Tally()
        count = 0
        last: Id = ((), "")
        for line in self._lines():
            try:
                record = _record(values.decode(line))
            except (ValueError, KeyError, TypeError, LCMemoryError) as error:
                raise self._damaged(f"record {count + 1} cannot be read") from error
            if count and record.id <= last:
                raise self._damaged(f"record {count + 1} is not in its place")
            last = record.id
            count += 1
            tally.add(record.namespace)
            yield record
        try:
            trailer = orjson.loads(self._trailer)
            if self._digest.hexdigest() != trailer["sha256"]:
                raise self._damaged("the checksum does not fit")
            if (count, tally.counts) != (
                trailer["count"],
                trailer.get("collections", tally.counts),
            ):
                raise self._damaged(f"{count} records of {trailer['count']}")
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, BackupError):
                raise
            raise self._damaged("its last line is not what was written") from error
        self.manifest = replace(
            self.manifest, count=count, sha256=trailer["sha256"], collections=tally.counts
        )

    def _lines(self) -> Iterator[bytes]:
        """The records' lines; after them, the trailer is in its place."""
        is_last = b'{"count":' if self.version == LINES else b'"count": '
        closed = self.version == LINES
        self._trailer = b""
        for line in self._file:
            if line.startswith(is_last):
                self._trailer = line if self.version == LINES else b"{" + line
                break
            self._digest.update(line)
            if not closed and line == b"],\n":
                closed = True
            else:
                yield line.rstrip(b",\n") if self.version == DOCUMENT else line
        if not self._trailer.endswith(b"}\n") or not closed:
            raise self._damaged("it ends too early")
        if self._file.read(1):
            raise self._damaged("something follows its end")

    def _damaged(self, what: str) -> BackupError:
        return BackupError(f"{self._path}: damaged or cut off: {what}; nothing was restored")


@contextmanager
def reading(path: Path, key: Key | None = None, name: str | None = None) -> Iterator[Reading]:
    """Open a backup, whatever it is packed in; ``name`` is what errors call it."""
    shown = name or str(path)
    try:
        file = open(path, "rb")  # noqa: SIM115 - it is closed below, whatever is put over it
        size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BackupError(f"{shown}: cannot be read: {error.strerror}") from error
    with file:
        try:
            inner: IO[bytes] = file
            sealed = file.peek(len(MAGIC))[: len(MAGIC)] == MAGIC
            if sealed:
                inner = io.BufferedReader(SealedReader(file, key, shown), _BUFFER)
            yield Reading(_expanded(inner), name or path, size, sealed)
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, LCMemoryError):
                raise
            raise BackupError(f"{shown}: damaged or cut off; nothing was restored") from error
        except Exception as error:
            if type(error).__name__ == "ZstdError":  # of a module that may not be there
                raise BackupError(f"{shown}: damaged or cut off; nothing was restored") from error
            raise


def _expanded(file: IO[bytes]) -> IO[bytes]:
    assert isinstance(file, io.BufferedReader)
    start = file.peek(4)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]  # as above
    if start.startswith(_ZSTD):
        reader = (
            _zstandard()
            .ZstdDecompressor()
            .stream_reader(file, read_across_frames=True, closefd=False)
        )
        return io.BufferedReader(reader, _BUFFER)
    return file


def _record(data: dict[str, Any]) -> Record:
    namespace, version, value = data["namespace"], data["version"], data["value"]
    if type(version) is not int or not 0 < version < 2**63:
        raise ValueError("its version is no number from 1")
    if type(namespace) is not list or type(value) is not dict:
        raise ValueError("its namespace is no list, or its value no object")
    expires, owner = data["expires_at"], data["owner"]
    return Record(
        check_namespace(tuple(namespace)),
        check_name(data["key"]),
        value,
        version,
        values.read_time(data["created_at"]),
        values.read_time(data["updated_at"]),
        None if expires is None else values.read_time(expires),
        None if owner is None else check_name(owner, "owner"),
    )
