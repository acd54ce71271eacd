"""The file stores: one JSON, YAML, CSV or pickle file, and a journal beside it.

Everything is in memory too. A write goes to the journal (:mod:`lc_memory.stores.journal`) and
costs what it writes, not what the file holds. When the journal has rested for a moment, or
outgrows the file, or the store is closed, it is folded: the file is replaced in one step.

Beside ``memory.json`` stand ``memory.json.journal``, ``memory.json.lock`` (writers take turns)
and, while folding, ``memory.json.new``. The first two are open as long as the store is, and stay
when it is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from lc_memory.commit import GroupCommit, write_together
from lc_memory.errors import (
    CorruptStore,
    LCMemoryError,
    StoreReadOnly,
    StoreUnavailable,
    UnknownStorage,
)
from lc_memory.forks import Holder, held, watch
from lc_memory.records import ABSENT, Clear, Delete, Namespace, Op, Record, Restore
from lc_memory.rows import Step, prepare
from lc_memory.store import Capabilities, Outcome, closed, outcome
from lc_memory.stores.archive import Archive
from lc_memory.stores.disk import Disk, Stamp, our_error, our_errors
from lc_memory.stores.formats import CSV, JSON, Format
from lc_memory.stores.journal import Sealer
from lc_memory.stores.kept import Lock
from lc_memory.stores.pickle_format import Pickle
from lc_memory.stores.table import Changes, Table
from lc_memory.stores.table_store import T, TableStore
from lc_memory.stores.urls import parse_url
from lc_memory.stores.yaml_format import YAML

_FORMATS: Final[dict[str, type[Format]]] = {
    "json": JSON,
    "yaml": YAML,
    "csv": CSV,
    "pickle": Pickle,
}
#: Folding takes at most one part in so many of the time.
_REST: Final = 20
#: Among several busy writers, how long each lets the others go first, in seconds.
_STEP_BACK: Final = 0.0006

_log = logging.getLogger("lc_memory.files")


class FileStore(TableStore, Holder):
    """Records in a file: ``json:///memory.json``, or ``yaml:``, ``csv:``, ``pickle:``.

    Three slashes come before a relative path, four before an absolute one. Several processes of
    one host may share the file. A write that returned survives a power loss.

    :param timeout: how long to wait for other processes' writes, in seconds.
    :param idle: how long the journal rests before it is folded, in seconds.
    :param pickle_key: a secret for pickle files: they then carry a MAC, and no others are read.
    :param accept_edits: accept that the file was changed by hand since the last fold: its records
        are checked one by one and it is sealed anew. Writes that were still in the journal are
        kept. Without it, a changed file raises CorruptStore.
    :param clock: gives the time (UTC); by default the system's.
    :param disk: does the file operations.

    Raises StoreUnavailable or StoreReadOnly if the file can be neither opened nor created, and
    CorruptStore if it is not what was written.
    """

    capabilities = Capabilities(grouped=True)

    def __init__(
        self,
        url: str | sa.URL,
        *,
        timeout: float = 60.0,
        idle: float = 1.0,
        pickle_key: bytes | str | None = None,
        accept_edits: bool = False,
        clock: Callable[[], datetime] | None = None,
        disk: Disk | None = None,
    ) -> None:
        super().__init__(clock)
        url = parse_url(url)
        name = url.get_backend_name()
        if name not in _FORMATS or not url.database or url.query or url.host:
            raise UnknownStorage(
                f"{name}: the URL names no file, or more than that; use {name}:///memory.{name}"
            )
        self.path = _checked(url.database)
        self._disk = disk or Disk()
        sealer = Sealer(_key(name, pickle_key))
        self._archive = Archive(self.path, _FORMATS[name](), sealer, self._disk)
        self._lock = Lock(self._disk, self.path.with_name(self.path.name + ".lock"))
        self._timeout = timeout
        self._idle = idle
        self._committer: GroupCommit[list[Step], list[Record | None]] = GroupCommit(self._commit)
        self._turn = threading.Lock()  # one thread at a time holds the lock file
        self._guard = threading.Lock()  # over the archive and what follows; held for moments only
        self._is_open = True
        self._crowded = False  # others had written when the lock file was last taken
        self._holding = False  # a thread holds the lock file, and has caught up
        self._folder: threading.Thread | None = None
        self._closing = threading.Event()
        if accept_edits or not self._archive.exists():
            self._exclusively(lambda: None, timeout, lambda: self._archive.open(accept_edits))
        self._look(lambda table: None)
        with self._guard:
            self._fold_later()
        watch(self)

    def resting(self, deadline: float) -> AbstractContextManager[bool]:
        return held(deadline, self._turn, self._guard)

    def forked(self) -> None:
        """Go on from what the parent had read, unless it was just reading or writing."""
        if self._turn.locked() or self._guard.locked():
            self._is_open = False
            self._turn, self._guard = threading.Lock(), threading.Lock()
        self._folder = None
        if not self._closing.is_set():
            self._closing = threading.Event()

    # -- reading ---------------------------------------------------------------------------

    def _look(self, ask: Callable[[Table], T]) -> T:
        """Ask the table, after catching up with what other processes wrote.

        No lock file is taken, except to tell a damaged file from one that is being replaced.
        """
        trouble: Exception | None = None
        for _ in range(3):
            with self._guard:
                if not self._is_open:
                    raise closed("store")
                try:
                    if not self._holding:
                        self._archive.catch_up()
                except (CorruptStore, OSError) as error:
                    trouble = error
                else:
                    return ask(self._archive.table)
            time.sleep(0.001)
        assert trouble is not None
        try:
            return self._exclusively(lambda: ask(self._archive.table), self._timeout)
        except StoreReadOnly:  # there is no lock to be had here: then it is as it looked
            with our_errors(self.path):
                raise trouble from None

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        return outcome(self._committer.run([prepare(ops)])[0])

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        return write_together(self._committer, batches)

    def _commit(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        """Write the batches as one line; each is all or nothing by itself."""
        return self._exclusively(partial(self._write, batches), self._timeout)

    def _write(self, batches: Sequence[list[Step]]) -> list[Outcome]:
        changes: Changes | None = None
        outcomes: list[Outcome] = []
        for steps in batches:
            trial = changes.copy() if changes else Changes(self._archive.table)
            tick = self._clock.ticks(len(steps))
            try:
                outcomes.append(trial.carry_out(steps, tick, self._clock.now()))
            except LCMemoryError as error:
                outcomes.append(error)
            else:
                changes = trial
        self._keep(changes)
        return outcomes

    def _keep(self, changes: Changes | None) -> None:
        """Write the changes as one line, under the lock."""
        if changes:
            written = self._archive.append(changes)
            with self._guard:
                self._archive.apply(changes, written)
                if self._folder is None:
                    self._fold_later()
            if self._archive.outgrown:
                self._fold()

    def restore(
        self, records: Callable[[], Iterable[Record]], clearing: Sequence[Namespace] = ()
    ) -> None:
        def work() -> None:
            changes = Changes(self._archive.table)
            changes.carry_out(prepare(map(Clear, clearing)), 0, 0)
            for record in records():  # of each, only the row is kept
                changes.carry_out(prepare([Restore(record)]), 0, 0)
            self._keep(changes)

        self._exclusively(work, self._timeout)

    def sweep(self) -> int:
        now = self._clock.now()
        rows = self._look(lambda table: [row for row in table if not row.lives_at(now)])
        batches = [[Delete(row.namespace, row.key, replacing=ABSENT)] for row in rows]
        return sum(isinstance(result, list) for result in self.write_many(batches))

    def scrub(self) -> bool:
        return self._exclusively(self._fold, self._timeout)

    def close(self) -> None:
        self._closing.set()
        if self._folder is not None:
            self._folder.join()
        if self._is_open and self._archive.unfolded:
            self._fold_alone(self._timeout)
        with self._turn, self._guard:
            self._is_open = False
            self._archive.close()
            self._lock.close()

    # -- inside ----------------------------------------------------------------------------

    def _exclusively(
        self, work: Callable[[], T], timeout: float, catch_up: Callable[[], bool] | None = None
    ) -> T:
        """Do something while holding the lock file, having caught up with the others."""
        with self._turn:
            if not self._is_open:
                raise closed("store")
            if self._crowded:  # or who has just written would always be first again
                time.sleep(_STEP_BACK)
            try:
                self._lock.acquire(timeout)
                with self._guard:
                    self._crowded = (catch_up or self._archive.catch_up)()
                    self._holding = True
                return work()
            except LCMemoryError:
                raise
            except OSError as error:
                raise our_error(self.path, error) from error
            finally:
                self._holding = False
                self._lock.release()

    def _fold_later(self) -> None:
        if self._archive.unfolded and self._folder is None and not self._closing.is_set():
            folder = threading.Thread(
                target=self._fold_when_idle, name="lc_memory-fold", daemon=True
            )
            with suppress(RuntimeError):  # Python is shutting down: who opens next will fold
                folder.start()
                self._folder = folder

    def _fold_when_idle(self) -> None:
        """Wait until nobody has written for a moment, and fold; live no longer than that."""
        seen: Stamp = None
        pause = self._idle
        while not self._closing.wait(pause):
            stamp = self._disk.stamp(self._archive.journal.path)
            if stamp != seen:
                seen = stamp
                pause = max(self._idle, _REST * self._archive.fold_seconds)
            elif not self._fold_alone(0):
                pause = min(2 * pause, 60.0) + 0.01
            with self._guard:
                if not self._archive.unfolded:
                    self._folder = None
                    return

    def _fold_alone(self, timeout: float) -> bool:
        try:
            return self._exclusively(self._fold, timeout)
        except LCMemoryError as error:
            if timeout or not isinstance(error, StoreUnavailable):  # not now, if others write
                _log.warning("%s could not be folded: %s", self.path, error)
            return False

    def _fold(self) -> bool:
        """Fold, under the lock; if that fails, everything is still in the journal."""
        try:
            with our_errors(self.path):
                self._archive.fold()
        except LCMemoryError as error:
            _log.warning("%s could not be folded: %s", self.path, error)
            return False
        return True


def _checked(database: str) -> Path:
    try:
        path = Path(database).resolve()
        with suppress(FileNotFoundError):
            path.stat()  # newer Pythons resolve links in a circle
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; a NUL
        raise StoreUnavailable(f"{database!r}: {error}") from error
    if not has_folder:
        raise StoreUnavailable(f"{path}: there is no folder {path.parent}")
    if is_folder:
        raise StoreUnavailable(f"{path}: is a folder, not a file")
    return path


def _key(name: str, key: bytes | str | None) -> bytes | None:
    if key is None:
        return None
    if name != "pickle":
        raise ValueError(f"pickle_key is for pickle files, not for {name}")
    if not key:
        raise ValueError("pickle_key: empty; use secrets.token_bytes(32)")
    return key.encode() if isinstance(key, str) else key
