"""When the next backup is due, and which process makes it."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lc_memory import __version__
from lc_memory.errors import (
    Conflict,
    CorruptStore,
    InvalidInput,
    LCMemoryError,
    MissingExtra,
    NewerFormat,
    StoreClosed,
    newer,
)
from lc_memory.jobs.retention import Keep
from lc_memory.records import ABSENT, Namespace, Record, Value
from lc_memory.store import Store
from lc_memory.values import EPOCH

_log = logging.getLogger("lc_memory.backups")

#: Where the schedule, the lock and the results lie.
PLACE: Final[Namespace] = ("lc_memory", "backups")

#: The form in which the schedule is stored.
VERSION: Final = 1

#: How long a lock holds without being renewed: after that, its process counts as gone.
LEASE: Final = timedelta(minutes=10)

#: How often its holder looks whether it must be renewed, and for how long it may go on: an upload
#: that hangs must not keep the others from their backups for ever.
RENEWAL: Final = LEASE / 4
_LONGEST: Final = timedelta(days=1)

#: The clocks of two machines may differ by so much.
_SKEW: Final = timedelta(minutes=1)

_UNITS: Final = {"s": 1 / 60, "m": 1, "h": 60, "d": 60 * 24, "w": 60 * 24 * 7}
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FORMATS: Final = (".json", ".json.gz", ".json.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When backups are made, where to, and which stay. Times in minutes; cron is in UTC."""

    to: str
    every: float | None = None
    cron: str | None = None
    keep: Keep = field(default_factory=lambda: Keep.of(None))
    jitter: float = 0.0
    format: str = ".jsonl.gz"
    drill: bool = True
    sealed: bool = False
    since: datetime = EPOCH

    def __post_init__(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise InvalidInput("schedule: give either every= or cron=")
        if self.every is not None and not 1 / 60 <= self.every <= 60 * 24 * 3660:
            raise InvalidInput(f"every: {self.every!r} minutes; give a second to ten years")
        if not 0 <= self.jitter <= 60 * 24:
            raise InvalidInput(f"jitter: {self.jitter!r} is not a number of minutes from 0")
        if self.format not in _FORMATS:
            raise InvalidInput(f"format: {self.format!r} is none of {', '.join(_FORMATS)}")
        if self.cron is not None:
            cron_trigger(self.cron)

    def due(self, last: datetime | None, now: datetime) -> datetime:
        """When the next backup is due, after one that began at ``last``.

        However many were missed, one makes up for them. A last one that lies in the future means
        that the clock was set back: then one is due now.
        """
        before = self.since if last is None else last
        if before > now + _SKEW:
            return now
        if self.every is not None:
            return now if last is None else last + timedelta(minutes=self.every)
        assert self.cron is not None
        found = cron_trigger(self.cron).get_next_fire_time(None, before + timedelta(microseconds=1))
        if found is None:
            raise InvalidInput(f"cron: {self.cron!r} never comes")
        due: datetime = found.astimezone(UTC)
        return due

    def stored(self) -> Value:
        return {**asdict(self), "version": VERSION, "library": __version__}

    @classmethod
    def read(cls, record: Record) -> Schedule:
        """The schedule of a record. Raises NewerFormat, CorruptStore."""
        value = dict(record.value)
        version, library = value.pop("version", 1), value.pop("library", None)
        if version != VERSION:
            raise NewerFormat(
                newer("the schedule of backups", library, version, VERSION)
                + ", or schedule them anew"
            )
        try:
            return cls(**{**value, "keep": Keep(**value["keep"])})
        except (KeyError, TypeError) as error:
            raise CorruptStore(
                f"the schedule of backups is none ({error}); schedule them anew"
            ) from error


def minutes(every: str | float | timedelta) -> float:
    """An interval in minutes: ``"6h"``, ``"90s"``, ``"1d"``, a number, or a timedelta."""
    if isinstance(every, timedelta):
        return every / timedelta(minutes=1)
    if isinstance(every, (int, float)) and not isinstance(every, bool):
        return float(every)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", str(every))
    if found is None:
        raise InvalidInput(f"every: {every!r}; use '30m', '6h', '1d', or a number of minutes")
    return float(found[1]) * _UNITS[found[2]]


def cron_trigger(cron: str) -> Any:
    """APScheduler's trigger, which numbers the days of the week in its own way."""
    try:
        from apscheduler.triggers.cron import CronTrigger
    except ImportError as error:
        raise MissingExtra("Scheduling backups", "backup") from error
    fields = str(cron).split()
    try:
        if len(fields) != 5:
            raise ValueError("five fields are wanted: minute hour day month weekday")
        if fields[2] != "*" and fields[4] != "*":
            raise ValueError("give either the day of the month or of the week")
        fields[4] = _weekdays(fields[4])
        return CronTrigger.from_crontab(" ".join(fields), timezone=UTC)
    except ValueError as error:
        raise InvalidInput(f"cron: {cron!r}: {error}; use one such as '0 3 * * *'") from error


def _weekdays(text: str) -> str:
    """Cron's weekdays (0 and 7 are Sunday) by name, each by itself."""
    if text == "*":
        return text
    days: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        low = _DAYS.index(first) if first in _DAYS else int(first)
        high = low if not last else _DAYS.index(last) if last in _DAYS else int(last)
        if not 0 <= low <= 7 or not 0 <= high <= 7 or (step and int(step) < 1):
            raise ValueError(f"{part!r} is no day of the week")
        high += 7 if high < low else 0
        days.update(day % 7 for day in range(low, high + 1, int(step or 1)))
    return ",".join(_DAYS[day] for day in sorted(days))


class Lease:
    """A lock in the store that its holder renews; it ends by itself if the holder is gone.

    A lock that reaches further ahead than a lease can (the clock was set back) counts as ended.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: Record | None = None
        self._renewing = threading.Lock()

    def acquire(self) -> bool:
        """Take the lock; says whether this is the holder now."""
        now = self._store.now()
        seen = self._store.get(PLACE, "lock")
        if seen is not None and now < seen.value["until"] <= now + LEASE + _SKEW:
            return False
        me = {"by": f"{os.getpid()}-{secrets.token_hex(8)}", "until": now + LEASE}
        try:
            self._held = self._store.put(PLACE, "lock", me, replacing=seen or ABSENT)
        except Conflict:
            return False
        return True

    def renew(self) -> None:
        """Hold on to it. Raises Conflict if somebody else took it in the meantime."""
        with self._renewing:
            held, now = self._held, self._store.now()
            if held is not None and held.value["until"] - now < LEASE / 2:
                value = held.value | {"until": now + LEASE}
                self._held = self._store.put(PLACE, "lock", value, replacing=held)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew it in the background, whatever the block waits for, and release it at its end."""
        ended = threading.Event()

        def renew() -> None:
            for _ in range(_LONGEST // RENEWAL):
                if ended.wait(RENEWAL.total_seconds()):
                    return
                try:
                    self.renew()
                except (Conflict, StoreClosed):  # then two are made, which does no harm
                    return
                except LCMemoryError as error:  # out of reach: perhaps not the next time
                    _log.warning("the lock of the backup could not be renewed: %s", error)

        thread = threading.Thread(target=renew, name="lc_memory-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.release()

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            try:
                self._store.delete(PLACE, "lock", replacing=held)
            except Conflict:  # it had ended, and somebody else has it
                return
