"""The background thread (APScheduler's) that wakes when a backup is due."""

from __future__ import annotations

import logging
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from lc_memory.errors import MissingExtra, StoreClosed

if TYPE_CHECKING:
    from lc_memory.jobs.backups import Backups

_log = logging.getLogger("lc_memory.backups")

#: It looks at least so often: the schedule or the clock may have been changed by others.
_LONGEST_SLEEP: Final = timedelta(minutes=10)


class Timer:
    """Asks the backups to run when one is due, until it is stopped."""

    def __init__(self, backups: Backups) -> None:
        try:
            from apscheduler.schedulers.background import BackgroundScheduler
        except ImportError as error:
            raise MissingExtra("Scheduling backups", "backup") from error
        self._backups = backups
        self._running = threading.RLock()  # held while a backup is made
        self._stopped = False
        self._scheduler = BackgroundScheduler(timezone=UTC, daemon=True)
        self._scheduler.start()

    def plan(self) -> None:
        """Wake next when a backup is due."""
        schedule = self._backups.scheduled()
        due = self._backups.next_due()
        if schedule is None or due is None:
            return
        wait = max(due - self._backups.store.now(), timedelta(0))
        if wait > _LONGEST_SLEEP:
            wait = _LONGEST_SLEEP
        else:
            wait += random.random() * timedelta(minutes=schedule.jitter)  # noqa: S311 - no secret
        self._wake_in(wait)

    def stop(self) -> None:
        """End the thread, and wait for the backup under way."""
        self._stopped = True
        # Stopped in the middle of starting a job, APScheduler would not find that job again: it
        # is paused first, and asked something that it answers when the job was started.
        self._scheduler.pause()
        self._scheduler.get_jobs()
        # Waiting itself, it would hold a lock that planning the next backup needs.
        self._scheduler.shutdown(wait=False)
        with self._running:
            pass

    def _wake(self) -> None:
        with self._running:
            if self._stopped:
                return
            try:
                self._backups.run_due()
            except Exception as error:  # noqa: BLE001 - recorded, and the next one may succeed
                _log.debug("the scheduled backup failed: %s", error)
            if self._stopped:
                return
            try:
                self.plan()
            except StoreClosed:
                _log.info("the store is closed, and its backups end with it")
            except Exception as error:  # noqa: BLE001 - the store is out of reach: look again later
                _log.warning("the schedule of backups cannot be read: %s", error)
                self._wake_in(timedelta(minutes=1))

    def _wake_in(self, wait: timedelta) -> None:
        self._scheduler.add_job(
            self._wake,
            "date",
            run_date=datetime.now(UTC) + wait,
            id="backup",
            replace_existing=True,
            misfire_grace_time=None,
        )
