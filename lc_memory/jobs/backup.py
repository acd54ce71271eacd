"""Backups: one file with everything, that says of itself whether it is whole.

The file is a JSON document that a person can read, one record a line:

    {"format": "lc_memory backup", "version": 1, "created_at": "…", "scope": [], "records": [
    {"namespace": […], "key": "…", "value": {…}, "version": 1, "created_at": "…", …},
    …
    ],
    "count": 2, "sha256": "…"}

The digest covers every line before it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from lc_memory import values
from lc_memory.errors import BackupError, LCMemoryError
from lc_memory.records import Clear, Namespace, Query, Record, Restore
from lc_memory.store import Store
from lc_memory.stores.disk import Disk, our_errors

FORMAT: Final = "lc_memory backup"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file holds."""

    path: Path
    count: int
    sha256: str
    created_at: datetime


def backup(store: Store, path: str | os.PathLike[str], scope: Namespace = ()) -> Backup:
    """Write everything under the scope, as of one moment, to a new file (mode 0600).

    The file appears whole or not at all; one of that name is replaced.
    """
    target = Path(path)
    records = store.find(Query(scope, expired=True)).records
    now = datetime.now(UTC)
    digest = hashlib.sha256()

    def lines() -> Iterator[bytes]:
        head = {
            "format": FORMAT,
            "version": VERSION,
            "created_at": values.write_time(now),
            "scope": list(scope),
        }
        yield orjson.dumps(head)[:-1] + b', "records": [\n'
        for i, record in enumerate(records):
            comma = b",\n" if i + 1 < len(records) else b"\n"
            yield values.dump(_plain(record)).encode() + comma
        yield b"],\n"

    def write(file: Any) -> None:
        for line in lines():
            digest.update(line)
            file.write(line)
        file.write(b'"count": %d, "sha256": "%s"}\n' % (len(records), digest.hexdigest().encode()))

    _write_atomically(target, write)
    return Backup(target, len(records), digest.hexdigest(), now)


def restore(store: Store, path: str | os.PathLike[str], scope: Namespace = ()) -> int:
    """Replace everything under the scope by what the backup holds; returns how many records.

    The whole file is verified before the first write, and the replacement is one batch: all, or
    nothing. Raises BackupError for a file that is damaged, foreign, of a newer format, or made
    of another scope.
    """
    records = read(path)
    outside = [r for r in records if r.namespace[: len(scope)] != scope]
    if outside:
        raise BackupError(
            f"{path}: holds {len(outside)} records outside of {'/'.join(scope)!r}; "
            "restore it where it was made"
        )
    store.write([Clear(scope), *(Restore(record) for record in records)])
    return len(records)


def read(path: str | os.PathLike[str]) -> list[Record]:
    """The records of a backup, after verifying all of it. Raises BackupError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BackupError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(b'{"format":"%s"' % FORMAT.encode()):
        raise BackupError(f"{path}: not a backup of lc_memory")
    body, _, tail = content.rpartition(b'"count": ')
    try:
        head = orjson.loads(body.partition(b', "records": [\n')[0] + b"}")
        if head["version"] > VERSION:
            raise BackupError(
                f"{path}: format {head['version']}, and this version of lc_memory reads {VERSION}; "
                "upgrade: pip install -U lc-memory"
            )
        trailer = orjson.loads(b'{"count": ' + tail)
        if hashlib.sha256(body).hexdigest() != trailer["sha256"]:
            raise BackupError(f"{path}: damaged: the checksum does not fit; nothing was restored")
        lines = body.splitlines()[1:-1]
        records = [_record(values.decode(line.rstrip(b","))) for line in lines]
        if len(records) != trailer["count"]:
            raise BackupError(f"{path}: damaged: {len(records)} records of {trailer['count']}")
        return records
    except BackupError:
        raise
    except (ValueError, KeyError, TypeError, LCMemoryError) as error:
        raise BackupError(f"{path}: damaged or cut off; nothing was restored") from error


def _plain(record: Record) -> dict[str, Any]:
    return {
        "namespace": list(record.namespace),
        "key": record.key,
        "value": values.lower(record.value),
        "version": record.version,
        "created_at": values.write_time(record.created_at),
        "updated_at": values.write_time(record.updated_at),
        "expires_at": record.expires_at and values.write_time(record.expires_at),
        "owner": record.owner,
    }


def _record(data: dict[str, Any]) -> Record:
    times = [data["created_at"], data["updated_at"], data["expires_at"]]
    created, updated, expires = (text and values.read_time(text) for text in times)
    return Record(
        tuple(data["namespace"]),
        data["key"],
        data["value"],
        data["version"],
        created,
        updated,
        expires,
        data["owner"],
    )


def _write_atomically(target: Path, write: Callable[[Any], None]) -> None:
    with our_errors(target):
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        Disk().sync_folder(target.parent)
