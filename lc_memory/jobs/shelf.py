"""The backups that a schedule made: their files in one place, and what is known of each."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lc_memory.jobs.retention import Keep, kept
from lc_memory.jobs.schedule import PLACE
from lc_memory.jobs.targets import Target
from lc_memory.records import Namespace, Query, Record
from lc_memory.store import Store

_log = logging.getLogger("lc_memory.backups")

_RESULTS: Final[Namespace] = (*PLACE, "results")
_NAME: Final = re.compile(r"lc_memory-(\d{8}T\d{6}Z)-[0-9a-f]{6}(\.jsonl?(?:\.gz|\.zst)?)")
_DRAFT: Final = re.compile(rf"\.?{_NAME.pattern}\.(?:part|[0-9a-f]{{8}})")
_TIME: Final = "%Y%m%dT%H%M%SZ"
#: Failures that are kept, besides the results of the backups that are there.
_FAILURES: Final = 50


@dataclass(frozen=True, slots=True)
class Made:
    """A backup on the schedule's list: its file, and what is known of it.

    ``drill`` is ``"passed"``, ``"failed"`` or ``""`` (not tried). ``error`` says what went wrong;
    where no file came of it, ``size`` (bytes) is 0.
    """

    name: str
    url: str
    made_at: datetime
    size: int
    count: int | None = None
    sha256: str | None = None
    sealed: bool = False
    drill: str = ""
    error: str = ""

    @property
    def good(self) -> bool:
        return not self.error and self.drill != "failed"


def new_name(when: datetime, format: str) -> str:
    return f"lc_memory-{when:{_TIME}}-{secrets.token_hex(3)}{format}"


def is_name(name: str) -> bool:
    """Whether a schedule could have given a file this name."""
    return _NAME.fullmatch(name) is not None


def record(store: Store, name: str, result: Mapping[str, Any], *, known: bool = False) -> None:
    """Keep what is known of a backup (``known``: only if something is known already)."""
    if not known or store.get(_RESULTS, name) is not None:
        store.update(_RESULTS, name, dict(result), default={})


class Shelf:
    """The backups in one place, with the results in the store."""

    def __init__(self, store: Store, place: Target) -> None:
        self._store = store
        self.place = place

    def list(self) -> list[Made]:
        """The backups that are there, newest first, and the runs that failed."""
        known = {r.key: r for r in self._store.records(Query(_RESULTS))}
        found = [
            self._made(name, size, known.pop(name, None))
            for name, size in self.place.names().items()
            if is_name(name)
        ]
        found += [self._made(name, 0, r) for name, r in known.items() if r.value.get("error")]
        return sorted(found, key=lambda made: (made.made_at, made.name), reverse=True)

    def made(self, name: str, size: int) -> Made:
        return self._made(name, size, self._store.get(_RESULTS, name))

    def prune(self, keep: Keep) -> Sequence[str]:
        """Delete what is not kept (see :meth:`Backups.prune`); returns the names."""
        listed = self.list()
        ours = {record.key for record in self._store.records(Query(_RESULTS))}
        files = [made for made in listed if made.size and made.name in ours]
        good = [made for made in files if made.good]
        stay = kept([made.made_at for made in good], keep)
        newest = max(stay, default=datetime.min.replace(tzinfo=UTC))
        gone = [made.name for made in good if made.made_at not in stay]
        gone += [made.name for made in files if not made.good and made.made_at < newest]
        for name in gone:
            self.place.remove(name)
            _log.info("backup %s was deleted: the schedule keeps others", self.place.url(name))
        failures = [made.name for made in listed if not made.size]
        there = {made.name for made in listed}
        lost = [r.key for r in self._store.records(Query(_RESULTS)) if r.key not in there]
        for name in (*gone, *lost, *failures[_FAILURES:]):
            self._store.delete(_RESULTS, name)
        self._sweep_drafts()
        return gone

    def _sweep_drafts(self) -> None:
        """Delete what a killed process left half-written."""
        yesterday = self._store.now() - timedelta(days=1)
        for name in self.place.names():
            draft = _DRAFT.fullmatch(name)
            if draft and _time(draft[1]) < yesterday:
                self.place.remove(name)

    def _made(self, name: str, size: int, known: Record | None) -> Made:
        match = _NAME.fullmatch(name)
        assert match is not None
        value = {} if known is None else known.value
        return Made(
            name,
            self.place.url(name),
            value.get("at") or _time(match[1]),
            size,
            value.get("count"),
            value.get("sha256"),
            value.get("sealed", False),
            value.get("drill", ""),
            value.get("error", ""),
        )


def _time(text: str) -> datetime:
    return datetime.strptime(text + "+0000", _TIME + "%z").astimezone(UTC)
