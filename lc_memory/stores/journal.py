"""The journal beside a store's file: what was written since the file was.

Lines of ``<digest> <JSON>``. A digest covers the digest of the line before it, so that no line
can be changed, moved or taken out unseen; only the end can be missing, which is what a crash in
the middle of a write leaves. The lines are of two kinds:

- ``{"file": seal, …}``: everything above is in the file that has this seal. The first line is
  one; another is written just before the file is replaced.
- ``{"cleared": […], "gone": […], "rows": […]}``: one group of batches. These are the outcomes, not
  the operations, so that reading them twice does no harm.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from lc_memory import __version__
from lc_memory.errors import CorruptStore, NewerFormat, newer
from lc_memory.records import Id, Namespace
from lc_memory.rows import Row
from lc_memory.stores.disk import Disk, Stamp
from lc_memory.stores.kept import Tail
from lc_memory.stores.table import Changes, Table

FORMAT: Final = "lc_memory journal"
VERSION: Final = 1
_DIGITS: Final = 64


class Sealer:
    """Checksums; with a key they are MACs (HMAC-SHA256), which nobody can make without it."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.keyed = key is not None
        self.kind = "hmac-sha256" if self.keyed else "sha256"

    def digest(self, data: bytes) -> str:
        if self._key is None:
            return hashlib.sha256(data).hexdigest()
        return hmac.digest(self._key, data, "sha256").hex()

    def seal(self, data: bytes) -> str:
        """The digest of a file's content, and of which kind it is."""
        return f"{self.kind}:{self.digest(b'file ' + data)}"

    def fits(self, seal: str, data: bytes) -> bool:
        return hmac.compare_digest(seal, self.seal(data))


class Place(NamedTuple):
    """How far a journal was read: to ``end``, where the line ends that began at ``start``.

    ``state`` names what the records are there; it stays the same when the journal is folded.
    """

    start: int = 0
    end: int = 0
    digest: str = ""
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the seal of a file (and, in the first line, the state), or what batches left."""

    file: str | None
    state: str | None
    cleared: list[Namespace]
    gone: list[Id]
    rows: list[Row]

    @classmethod
    def of(cls, content: dict[str, Any]) -> Entry:
        return cls(
            content.get("file"),
            content.get("state"),
            [tuple(prefix) for prefix in content.get("cleared", ())],
            [(tuple(namespace), key) for namespace, key in content.get("gone", ())],
            [Row(tuple(namespace), *rest) for namespace, *rest in content.get("rows", ())],
        )

    def apply(self, table: Table) -> None:
        for prefix in self.cleared:
            table.clear(prefix)
        for id in self.gone:
            table.remove(id)
        for row in self.rows:
            table.put(row)


class Journal:
    """The lines in one file. Who appends holds the store's lock and has read to the end."""

    def __init__(self, path: Path, disk: Disk, sealer: Sealer) -> None:
        self.path = path
        self._disk = disk
        self._tail = Tail(disk, path)
        self._sealer = sealer

    def read(self, after: Place | None = None) -> tuple[list[Entry], Place]:
        """The entries after a place (None: all), and where they end.

        Raises CorruptStore if the bytes are not what was written, or do not continue the place.
        """
        place = after or Place()
        try:
            data = self._disk.read(self.path, place.start)
        except FileNotFoundError:
            data = b""
        *lines, unfinished = data.split(b"\n")
        if place.end:
            size = place.end - place.start
            if (
                not lines
                or len(lines[0]) + 1 != size
                or lines.pop(0)[:_DIGITS] != place.digest.encode()
            ):
                raise self._corrupt("another journal stands in its place")
        entries: list[Entry] = []
        for line in lines:
            entry, place = self._entry(line, place)
            entries.append(entry)
        if unfinished and self._is_whole(unfinished[:-1], place):
            raise self._corrupt("its last byte is not what was written")
        return entries, place

    def append(self, place: Place, changes: Changes, found: Stamp) -> tuple[Place, Stamp]:
        """Add the outcome of batches, durably or not at all.

        ``found`` is the stamp of the journal; gives the place after it, and its stamp then.
        """
        gone: list[Id] = []
        rows: list[tuple[Any, ...]] = []
        for id, row in changes.rows.items():
            if row is None:
                gone.append(id)
            else:
                rows.append(tuple(row))
        return self._write(place, {"cleared": changes.cleared, "gone": gone, "rows": rows}, found)

    def announce(self, place: Place, seal: str, found: Stamp) -> tuple[Place, Stamp]:
        """Say that the file with this seal, about to come, holds everything up to here."""
        return self._write(place, {"file": seal}, found)

    def begin(self, seal: str, found: Stamp, state: str | None = None) -> tuple[Place, Stamp]:
        """Start anew: everything is in the file with this seal, which is that ``state``."""
        head = {"format": FORMAT, "version": VERSION, "library": __version__}
        head |= {"file": seal, "state": state}
        return self._write(Place(), head, found)

    def close(self) -> None:
        """Hold the file open no longer; what is written later opens it again."""
        self._tail.close()

    def _write(self, place: Place, content: dict[str, Any], found: Stamp) -> tuple[Place, Stamp]:
        payload = orjson.dumps(content)
        digest = self._chained(place, payload)
        line = b"%s %s\n" % (digest.encode(), payload)
        stamp = self._tail.append(place.end, line, found)
        return self._after(place, len(line), digest, content), stamp

    def _entry(self, line: bytes, place: Place) -> tuple[Entry, Place]:
        if not self._is_whole(line, place):
            raise self._corrupt(f"the line at byte {place.end} is not what was written")
        try:
            content = orjson.loads(line[_DIGITS + 1 :])
            if not place.end and content["format"] != FORMAT:
                raise ValueError(content["format"])
            if not place.end and content["version"] > VERSION:
                raise NewerFormat(
                    newer(str(self.path), content.get("library"), content["version"], VERSION)
                )
            digest = line[:_DIGITS].decode()
            return Entry.of(content), self._after(place, len(line) + 1, digest, content)
        except (ValueError, TypeError, KeyError) as error:
            raise self._corrupt(f"the line at byte {place.end} says nothing known") from error

    @staticmethod
    def _after(place: Place, size: int, digest: str, content: dict[str, Any]) -> Place:
        state = place.state if "file" in content else digest
        if not place.end:
            state = content["state"] or digest
        return Place(place.end, place.end + size, digest, state)

    def _chained(self, place: Place, payload: bytes) -> str:
        return self._sealer.digest(b"line %s %s" % (place.digest.encode(), payload))

    def _is_whole(self, line: bytes, place: Place) -> bool:
        digest = self._chained(place, line[_DIGITS + 1 :]).encode()
        return hmac.compare_digest(line[: _DIGITS + 1], digest + b" ")

    def _corrupt(self, reason: str) -> CorruptStore:
        return CorruptStore(
            f"{self.path}: {reason}. Restore it and its file from a backup, or remove it: the file "
            "then holds what was last folded into it, and nothing later"
        )
