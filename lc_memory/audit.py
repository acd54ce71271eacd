"""The audit log: who did what, when, and how it ended; never what was in it.

Entries lie in the store itself, and the entry of a write is committed with it. Each writer (a
thread of a process at a time) has a chain of its own: every entry holds the hash of the one
before it. A head says where the chain ends, and a base where it begins once older entries were
pruned, so that an entry that was removed, changed or moved is found (:meth:`Audit.verify`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from lc_memory import values
from lc_memory.errors import InvalidQuery
from lc_memory.layers.base import SYSTEM
from lc_memory.records import ABSENT, Delete, Namespace, Op, Order, Put, Query, Value, check_time
from lc_memory.store import Store

if TYPE_CHECKING:
    from lc_memory.layers.stack import Stack

AUDIT: Final[Namespace] = (*SYSTEM, "audit")
_ENTRIES: Final[Namespace] = (*AUDIT, "entries")
_HEADS: Final[Namespace] = (*AUDIT, "heads")
_BASES: Final[Namespace] = (*AUDIT, "bases")
_START: Final = "0" * 64

#: Records an entry tells of; more make another entry.
ITEMS: Final = 500

#: What was done to one record: the action, where (key None: all of it, or not known before it
#: was done), and a digest of what was written.
Item: TypeAlias = tuple[str, Namespace, "str | None", "str | None"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry: ``items`` are ``(action, namespace, key, digest)`` of each record concerned."""

    time: datetime
    principal: str | None
    action: str
    outcome: str
    items: tuple[Item, ...]
    detail: str | None
    chain: str
    number: int
    hash: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"time": values.write_time(self.time)}


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What :meth:`Audit.verify` found: how much it looked at, and every problem."""

    chains: int
    entries: int
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether the log is whole."""
        return not self.problems


class _Chain:
    __slots__ = ("hash", "id", "number")

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.number = 0
        self.hash = _START


class Trail:
    """Writes entries into a store. One for all handles of a memory."""

    def __init__(self, store: Store, digest: Callable[[Mapping[str, Any]], str]) -> None:
        self._store = store
        self._digest = digest
        self._free: list[_Chain] = []
        self._process = os.getpid()
        self._lock = threading.Lock()

    def digest(self, value: Mapping[str, Any]) -> str:
        """A digest of what is written (keyed, where the store is encrypted)."""
        return self._digest(value)

    def begin(self) -> _Chain:
        """A chain of one's own, until :meth:`end`."""
        with self._lock:
            if self._process != os.getpid():  # a fork: the chains are its parent's
                self._free, self._process = [], os.getpid()
            return self._free.pop() if self._free else _Chain()

    def end(self, chain: _Chain, number: int | None, last: str) -> None:
        """Give the chain back; ``number`` is where it stands now (None: not known, so that it is
        not gone on with)."""
        if number is not None:
            chain.number, chain.hash = number, last
            with self._lock:
                self._free.append(chain)

    def entries(
        self,
        chain: _Chain,
        principal: str | None,
        action: str,
        items: Sequence[Item],
        outcome: str,
        detail: str | None = None,
    ) -> tuple[list[Op], int, str]:
        """The operations that add an entry (or several, for many items) to the chain, and where
        it stands after them."""
        ops: list[Op] = []
        number, last = chain.number, chain.hash
        for start in range(0, max(len(items), 1), ITEMS):
            entry = {
                "chain": chain.id,
                "number": number,
                "time": values.write_time(datetime.now(UTC)),
                "principal": principal,
                "action": action,
                "outcome": outcome,
                "detail": detail,
                "items": [[a, list(n), k, d] for a, n, k, d in items[start : start + ITEMS]],
                "previous": last,
            }
            last = _hash(entry)
            namespace = (*_ENTRIES, chain.id)
            ops.append(Put(namespace, f"{number:016d}", {**entry, "hash": last}, None, ABSENT))
            number += 1
        ops.append(Put(_HEADS, chain.id, {"number": number, "hash": last}))
        return ops, number, last

    def record(
        self,
        principal: str | None,
        action: str,
        items: Sequence[Item] = (),
        outcome: str = "done",
        detail: str | None = None,
    ) -> None:
        """Add an entry by itself."""
        chain = self.begin()
        number: int | None = None
        last = _START
        try:
            ops, number, last = self.entries(chain, principal, action, items, outcome, detail)
            try:
                self._store.write(ops)
            except BaseException:
                number = None
                raise
        finally:
            self.end(chain, number, last)


class Audit:
    """``memory.audit``: reads and keeps the log. Needs the right ``admin`` on everything, where
    access control is on. Raises AccessDenied. Who reads the log is on record too, before the
    answer is given."""

    def __init__(self, stack: Stack, principal: str | None) -> None:
        stack.require(principal, "admin", ())
        self._stack = stack
        self._principal = principal
        self._store = stack.sealed

    def entries(
        self,
        *,
        user: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[AuditEntry]:
        """The entries, oldest first; with a ``limit`` the latest so many.

        ``action`` is ``put``, ``append``, ``touch``, ``restore``, ``delete``, ``clear``, ``read``,
        ``find``, ``count``, ``batch`` (of several kinds), ``denied``, ``audit`` (of reading the
        log), ``backup``, ``export`` …
        """
        order = Order("created_at", descending=limit is not None)
        query = Query(_ENTRIES, _filter(user, action, since, until), order, limit)
        found = [_entry(record.value) for record in self._store.records(query)]
        self._stack.remark(self._principal, "audit", AUDIT, detail=f"{len(found)} read")
        return found[::-1] if limit is not None else found

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """Write the entries as JSON Lines to a new file (mode 0600); returns how many."""
        target = Path(path)
        query = Query(_ENTRIES, _filter(user, None, since, until), Order("created_at"))
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        count = 0
        try:
            with os.fdopen(handle, "wb") as file:
                for count, record in enumerate(self._store.records(query), 1):  # noqa: B007 - the count is what is wanted
                    file.write(orjson.dumps(_entry(record.value).as_json()) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._stack.tell(self._principal, "export", detail="audit log")
        return count

    def verify(self) -> AuditReport:
        """Look at every chain from end to end."""
        heads = {record.key for record in self._store.records(Query(_HEADS, exact=True))}
        bases = {r.key: r.value for r in self._store.records(Query(_BASES, exact=True))}
        chains = {name[-1] for name in self._store.namespaces(_ENTRIES, expired=True)}
        problems: list[str] = []
        entries = 0
        for chain in sorted(chains | heads):
            for found in self._faults(chain, bases.get(chain, {})):
                if found is None:
                    entries += 1
                else:
                    problems.append(found)
        return AuditReport(len(chains | heads), entries, tuple(problems))

    def _faults(self, chain: str, base: Value) -> Iterator[str | None]:
        """The faults of a chain; None for each entry that was looked at.

        It may grow meanwhile: it must reach the head that it had before, and not go past the one
        that it has after.
        """
        head = self._store.get(_HEADS, chain)
        number: int = base.get("first", 0)
        last = base.get("before", _START)
        ends = {number: last}
        for record in self._store.records(Query((*_ENTRIES, chain), exact=True)):
            entry = record.value
            held = entry.pop("hash", None)
            place = f"chain {chain}, entry {record.key}"
            yield None
            if _hash(entry) != held:
                yield f"{place}: was changed"
            elif (entry["chain"], f"{entry['number']:016d}") != (chain, record.key):
                yield f"{place}: was moved"
            elif entry["number"] != number:
                yield f"{place}: entries removed before it: {entry['number'] - number}"
            elif entry["previous"] != last:
                yield f"{place}: does not follow the entry before it"
            number, last = int(entry["number"]) + 1, held
            ends[number] = last
        after = self._store.get(_HEADS, chain)
        if head is None or after is None:
            yield f"chain {chain}: its head was removed"
        elif head.value["number"] > number:
            yield f"chain {chain}: entries removed at its end: {head.value['number'] - number}"
        elif number > after.value["number"]:
            added = number - after.value["number"]
            yield f"chain {chain}: entries added at its end: {added}"
        elif ends.get(head.value["number"]) != head.value["hash"]:
            yield f"chain {chain}: its last entry is not what was written"

    def prune(self, before: datetime) -> int:
        """Delete the entries from before that time; what is left can still be verified.

        Returns how many were deleted. Raises InvalidQuery for a time without a zone, and changes
        nothing in a log that is not whole.
        """
        limit = values.write_time(_time(before, "before"))
        report = self.verify()
        if not report:
            raise InvalidQuery(f"the log is not whole: {report.problems[0]}; keep it, and look")
        pruned = 0
        for name in self._store.namespaces(_ENTRIES, expired=True):
            old: list[Value] = []
            for record in self._store.records(Query(name, exact=True)):
                if record.value["time"] >= limit:
                    break
                old.append(record.value)
            if old:
                base = {"first": old[-1]["number"] + 1, "before": old[-1]["hash"]}
                gone = [Delete(name, f"{entry['number']:016d}") for entry in old]
                self._store.write([Put(_BASES, name[-1], base), *gone])
                pruned += len(old)
        self._stack.tell(self._principal, "prune", detail=f"{pruned} entries before {limit}")
        return pruned


def _filter(
    user: str | None, action: str | None, since: datetime | None, until: datetime | None
) -> dict[str, Any] | None:
    asked: dict[str, Any] = {}
    if user is not None:
        asked["principal"] = user
    if action is not None:
        asked["action"] = action
    if since is not None:
        asked["time"] = {"$gte": values.write_time(_time(since, "since"))}
    if until is not None:
        asked.setdefault("time", {})["$lt"] = values.write_time(_time(until, "until"))
    return asked or None


def _time(when: datetime, name: str) -> datetime:
    checked = check_time(when, name)
    if checked is None:
        raise InvalidQuery(f"{name}: None is not a time")
    return checked


def _entry(value: Value) -> AuditEntry:
    return AuditEntry(
        values.read_time(value["time"]),
        value["principal"],
        value["action"],
        value["outcome"],
        tuple((a, tuple(n), k, d) for a, n, k, d in value["items"]),
        value["detail"],
        value["chain"],
        value["number"],
        value["hash"],
    )


def _hash(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)).hexdigest()


def plain_digest(value: Mapping[str, Any]) -> str:
    """The SHA-256 of a value as JSON."""
    return hashlib.sha256(values.encode(value).encode("utf-8", "surrogatepass")).hexdigest()
