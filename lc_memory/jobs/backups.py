"""``memory.backups``: backups made, listed, verified, tried out and thinned, on a schedule."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lc_memory.errors import (
    BackupKeyError,
    Conflict,
    DrillFailed,
    InvalidInput,
    StoreClosed,
    Unsupported,
)
from lc_memory.jobs.backup import Backup, backup, restore, verify
from lc_memory.jobs.drill import drill
from lc_memory.jobs.progress import Progress, shown
from lc_memory.jobs.retention import Keep
from lc_memory.jobs.rights import Rights
from lc_memory.jobs.schedule import PLACE, Lease, Schedule, minutes
from lc_memory.jobs.seal import Key, check_key
from lc_memory.jobs.shelf import Made, Shelf, is_name, new_name, record
from lc_memory.jobs.targets import Folder, split, target
from lc_memory.records import Namespace
from lc_memory.store import Store, closed

_log = logging.getLogger("lc_memory.backups")

#: After a failure it is tried again, at first after so many minutes, then ever later.
_RETRY, _LONGEST_RETRY = 5.0, 60.0


class _Stopped(StoreClosed):
    """The memory is closed while a backup is made."""


class Backups:
    """The backups of one store (or of a user's scope in it; schedules are for the whole)."""

    def __init__(self, store: Store, scope: Namespace = (), rights: Rights | None = None) -> None:
        self.store = store
        self.scope = scope
        self._rights = rights or Rights()
        self._key: Key | None = None
        self._options: Mapping[str, Any] | None = None
        self._notify: Callable[[Made], object] | None = None
        self._timer: Any = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    # -- one file --------------------------------------------------------------------------

    def write(self, path: str | os.PathLike[str], key: Key | None = None) -> Backup:
        """Write a backup to a path or URL (see :func:`lc_memory.jobs.backup.backup`)."""
        self._may("read")
        place, name = split(path)
        with self._rights.told("backup", self.scope) as told, shown("Backing up") as progress:
            if isinstance(place, Folder):
                made = self._backup(Path(place.url(name)), key, progress)
            else:
                made = place.save(name, lambda local: self._backup(local, key, progress))
                made = replace(made, path=place.url(name))
            told.append(f"{made.count} records")
        return made

    def restore(
        self,
        path: str | os.PathLike[str],
        mode: str = "replace",
        collections: Iterable[str] | None = None,
        user: str | None = None,
        key: Key | None = None,
    ) -> int:
        """Restore a backup: of a path, a URL, or a name of :meth:`list` (see
        :func:`lc_memory.jobs.backup.restore`)."""
        self._may("write", "delete")
        with self._rights.told("restore", self.scope, begun=False) as told:
            with self._at(path) as (local, name), shown("Restoring") as progress:
                count = restore(
                    self.store,
                    local,
                    self.scope,
                    mode=mode,
                    collections=collections,
                    user=user,
                    key=key or self._key,
                    progress=progress,
                    name=name,
                    accept=self._rights.accept,
                    begin=lambda: self._rights.tell("restore", self.scope, outcome="begun"),
                    admission=self._rights.admission,
                )
            self._rights.restored(self.scope)
            told.append(f"{count} records")
        return count

    def verify(self, path: str | os.PathLike[str], key: Key | None = None) -> Backup:
        """Read all of a backup and say what it holds. Raises BackupError if it is not whole, or
        holds what lies outside of this handle's user."""
        self._may("read")
        self._rights.remark("verify", self.scope)
        with self._at(path) as (local, name), shown("Verifying") as progress:
            return verify(local, key or self._key, name=name, within=self.scope, progress=progress)

    def drill(self, path: str | os.PathLike[str], key: Key | None = None) -> Backup:
        """Restore a backup into a scratch store and compare. Raises DrillFailed.

        For a backup of the list the outcome is recorded there. Raises BackupError for one that
        holds what lies outside of this handle's user.
        """
        self._may("read")
        self._rights.remark("drill", self.scope)
        try:
            with self._at(path) as (local, name), shown("Drill") as progress:
                made = drill(
                    local, key or self._key, name=name, within=self.scope, progress=progress
                )
        except DrillFailed as error:
            _log.error("%s", error)
            self._tried(path, "failed", str(error))
            raise
        self._tried(path, "passed", "")
        return made

    def _tried(self, path: str | os.PathLike[str], outcome: str, error: str) -> None:
        if not self.scope:
            name = os.path.basename(os.fspath(path))
            record(self.store, name, {"drill": outcome, "error": error}, known=True)

    # -- the schedule ----------------------------------------------------------------------

    def schedule(
        self,
        every: str | float | timedelta | None = None,
        *,
        cron: str | None = None,
        to: str | os.PathLike[str] | None = None,
        keep: Keep | int | Mapping[str, int] | None = None,
        key: Key | None = None,
        jitter: float = 0.0,
        format: str = ".jsonl.gz",
        drill: bool = True,
        options: Mapping[str, Any] | None = None,
        notify: Callable[[Made], object] | None = None,
        start: bool = True,
    ) -> Schedule:
        """Store a schedule and start to follow it, until :meth:`close`. Without ``every`` and
        ``cron``, the stored one is taken up again.

        A backup that was missed (nobody ran, the machine slept) is made up for at once; after a
        failure it is tried again sooner. ``to`` is a folder (by default ``backups``) or a URL.
        ``jitter`` is up to how many minutes later a backup may begin. ``key`` seals the backups;
        it, ``options`` (fsspec's, for credentials) and ``notify`` (called with each
        :class:`Made`) are not stored: give them again in each process. ``start=False`` only
        stores the schedule.

        Raises InvalidInput, MissingExtra, or Unsupported for a user's handle. With access
        control on, all that concerns schedules and whole backups is an administrator's; the
        timer acts for whoever scheduled.
        """
        self._whole()
        if every is None and cron is None:
            if to is not None or keep is not None:
                raise InvalidInput("schedule: give every= or cron= too")
            found = self.scheduled()
            if found is None:
                raise InvalidInput("no schedule is stored; give every='6h' or cron='0 3 * * *'")
            plan = found
        else:
            place = target("backups" if to is None else to, options)
            plan = Schedule(
                to=place.place,
                every=None if every is None else minutes(every),
                cron=cron,
                keep=Keep.of(keep),
                jitter=jitter,
                format=format,
                drill=drill,
                sealed=key is not None,
                since=self.store.now(),
            )
        if key is not None:
            check_key(key)
        if plan.sealed and key is None:
            raise BackupKeyError("the schedule seals its backups, and keys are not stored: key=…")
        self._key, self._options, self._notify = key, options, notify
        if every is not None or cron is not None:
            self._rights.tell("schedule", (), plan.to)
            self.store.put(PLACE, "schedule", plan.stored())
        if start:
            self._start()
        return plan

    def scheduled(self) -> Schedule | None:
        """The stored schedule."""
        self._whole()
        record = self.store.get(PLACE, "schedule")
        return None if record is None else Schedule.read(record)

    def unschedule(self) -> None:
        """Forget the schedule; the backups stay, and so does what is known of them."""
        self._whole()
        self._rights.tell("unschedule", ())
        self.store.delete(PLACE, "schedule")
        self._stop()

    def next_due(self) -> datetime | None:
        """When the next backup is due (None: no schedule)."""
        plan = self.scheduled()
        return None if plan is None else self._due(plan)

    def run(self) -> Made:
        """Make a backup now, as scheduled. Raises what went wrong (a failed drill is
        DrillFailed), or Conflict if another process is making one."""
        plan = self._planned()
        lease = Lease(self.store)
        if not lease.acquire():
            raise Conflict("another process is making a backup; wait for it")
        with lease.held():
            return self._make(plan)

    def run_due(self) -> Made | None:
        """Make a backup if one is due and no other process makes it."""
        plan = self.scheduled()
        if plan is None or self._due(plan) > self.store.now():
            return None
        lease = Lease(self.store)
        if not lease.acquire():
            _log.info("another process makes the backup that is due")
            return None
        with lease.held():
            if self._due(plan) > self.store.now():  # another process has just made it
                return None
            return self._make(plan)

    def list(self) -> list[Made]:
        """The backups in the schedule's place, newest first, and the runs that failed. Of those
        that were made for another store nothing is known: their ``count`` is None."""
        return self._shelf(self._planned()).list()

    def prune(self) -> Sequence[str]:
        """Delete what the schedule does not keep; returns the names.

        Backups that failed their drill do not count as kept ones; they go when a newer good one
        is there. Only files that were made for this very store are touched (others may lie in
        the same place), and abandoned drafts.
        """
        plan = self._planned()
        with self._rights.told("prune", ()) as told:
            gone = self._shelf(plan).prune(plan.keep)
            told.append(f"{len(gone)} backups")
        return gone

    def close(self) -> None:
        """Follow the schedule no longer; a backup under way is given up, cleanly."""
        with self._lock:
            self._closed.set()
        self._stop()

    # -- inside ----------------------------------------------------------------------------

    def _backup(self, path: Path, key: Key | None, progress: Progress) -> Backup:
        now = self.store.now()
        return backup(self.store, path, self.scope, key=key, progress=progress, now=now)

    def _make(self, plan: Schedule) -> Made:
        """Back up, try it out, thin out, and record what came of it."""
        began, started = self.store.now(), time.monotonic()
        shelf = self._shelf(plan)
        place, name = shelf.place, new_name(began, plan.format)
        result: dict[str, Any] = {"at": began, "drill": "", "error": ""}

        def progress(done: int, total: int) -> None:
            if self._closed.is_set():
                raise _Stopped("the memory was closed; the backup was given up")

        try:
            if plan.sealed and self._key is None:
                raise BackupKeyError("the schedule seals its backups; schedule_backups(key=…)")
            record(self.store, name, result)  # ours from the first, even if we are killed now
            with self._rights.told("backup", ()) as told:
                made = place.save(name, lambda path: self._backup(path, self._key, progress))
                told.append(f"{made.count} records")
            result |= {"count": made.count, "sha256": made.sha256, "sealed": made.sealed}
            record(self.store, name, result)
            if plan.drill:
                result["drill"] = "failed"  # until it has passed
                with place.local(name) as path:
                    drill(path, self._key, name=place.url(name), progress=progress)
                result["drill"] = "passed"
        except _Stopped:
            _log.info("backup %s was given up: the memory is closed", place.url(name))
            raise
        except Exception as error:
            result["error"] = f"{type(error).__name__}: {error}"
            _log.error("backup %s failed: %s", place.url(name), error)
            record(self.store, name, result)
            self._failed(began)
            self._tell(shelf.made(name, 0))
            raise
        record(self.store, name, result)
        self.store.put(PLACE, "state", {"last": began})
        _log.info(
            "backup %s: %d records, %d bytes, %.1f s%s",
            *(place.url(name), made.count, made.size, time.monotonic() - started),
            ", restored for a trial" if plan.drill else "",
        )
        shelf.prune(plan.keep)
        done = shelf.made(name, made.size)
        self._tell(done)
        return done

    def _failed(self, when: datetime) -> None:
        def failed(state: dict[str, Any]) -> dict[str, Any]:
            return state | {"failed": when, "failures": state.get("failures", 0) + 1}

        self.store.update(PLACE, "state", failed, default={})

    def _tell(self, made: Made) -> None:
        if self._notify is not None:
            try:
                self._notify(made)
            except Exception:  # noqa: BLE001 - theirs; the backup is made all the same
                _log.exception("notify= of the backups failed")

    def _due(self, plan: Schedule) -> datetime:
        now = self.store.now()
        record = self.store.get(PLACE, "state")
        state = {} if record is None else record.value
        due = plan.due(state.get("last"), now)
        failed = state.get("failed")
        if failed is not None and failed <= now:
            wait = min(_RETRY * 2 ** min(state["failures"] - 1, 10), _LONGEST_RETRY)
            due = max(due, failed + timedelta(minutes=min(wait, plan.every or wait)))
        return due

    def _shelf(self, plan: Schedule) -> Shelf:
        return Shelf(self.store, target(plan.to, self._options))

    def _planned(self) -> Schedule:
        plan = self.scheduled()
        if plan is None:
            raise InvalidInput("no backups are scheduled; begin with schedule_backups(…)")
        return plan

    def _may(self, *rights: str) -> None:
        """What is of everybody holds keys, grants and settings too: it is an administrator's."""
        self._rights.require(*(rights if self.scope else ["admin"]), scope=self.scope)

    def _whole(self) -> None:
        self._rights.require("admin")
        if self.scope:
            raise Unsupported("schedules are for the whole memory, not for a user's handle")

    @contextmanager
    def _at(self, path: str | os.PathLike[str]) -> Iterator[tuple[Path, str | None]]:
        """Where the file can be read, and what to call it."""
        place, name = split(path)
        if isinstance(place, Folder) and not self.scope and is_name(os.fspath(path)):
            plan = None if Path(path).exists() else self.scheduled()
            if plan is not None:
                place = target(plan.to, self._options)
        with place.local(name) as local:
            yield local, place.url(name) if str(local) != str(path) else None

    # -- the timer -------------------------------------------------------------------------

    def _start(self) -> None:
        from lc_memory.jobs.timer import Timer

        with self._lock:
            if self._closed.is_set():
                raise closed("memory")
            if self._timer is None:
                self._timer = Timer(self)
                self._rights.at_close(self.close)
            self._timer.plan()

    def _stop(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
