"""The files that a store keeps open: the end of its journal, and its lock."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path

from lc_memory.errors import StoreUnavailable
from lc_memory.forks import Holder, watch
from lc_memory.stores.disk import Disk, Stamp

if sys.platform == "win32":
    from filelock import lock_descriptor, unlock_descriptor

    _TAKE, _LET_GO = 1, 0

    def flock(file: int, how: int) -> None:
        if how == _LET_GO:
            with contextlib.suppress(OSError):  # elsewhere, it is no error to hold none
                unlock_descriptor(file)
        elif not lock_descriptor(file, blocking=False):
            raise BlockingIOError
else:  # where that does the same, in more steps
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

    _TAKE, _LET_GO = LOCK_EX | LOCK_NB, LOCK_UN


class Kept(Holder):
    """A file that stays open from one use to the next, as long as it is the one at its path.

    A child process opens its own: a lock on what it inherited would be its parent's as well.
    """

    def __init__(self, disk: Disk, path: Path, flags: int) -> None:
        self._file: int | None = None
        self._disk, self._path, self._name, self._flags = disk, path, str(path), flags
        self._stamp: Stamp = None
        watch(self)

    def open(self) -> int:
        """Open what stands at the path now."""
        self.close()
        self._file = self._disk.open(self._path, self._flags)
        self._stamp = self._disk.stamp(self._file)
        return self._file

    def is_at(self, stamp: Stamp) -> bool:
        """Whether the file that is open has this stamp, but for what was written to it."""
        mine = self._stamp
        return mine is not None and stamp is not None and mine[:2] == stamp[:2]

    def close(self) -> None:
        """Close it, which lets go of its lock; closing twice is allowed."""
        file, self._file, self._stamp = self._file, None, None
        if file is not None:
            os.close(file)

    __del__ = forked = close  # a parent goes on using what its child closes


class Tail(Kept):
    """A file that is written at its end only."""

    def __init__(self, disk: Disk, path: Path) -> None:
        super().__init__(disk, path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def append(self, size: int, data: bytes, found: Stamp) -> Stamp:
        """Have the file end after ``size`` bytes and this data, durably; else after ``size``.

        ``found`` is the stamp of what stands at the path now; gives the one it has then.
        """
        disk, file, held = self._disk, self._file, found
        if file is None or not self.is_at(found):
            file = self.open()
            held = self._stamp
        try:
            if held is None or held[2] != size:
                disk.truncate(file, size)
            disk.write_all(file, data)
            disk.sync(file)
            if found is None:
                disk.sync_folder(self._path.parent)
            return disk.stamp(file)
        except BaseException:
            # If this fails too, whoever reads on from ``size`` sees what there is.
            with contextlib.suppress(OSError):
                disk.truncate(file, size)
            self.close()
            raise


class Lock(Kept):
    """The lock that a file stands for, among all processes and openers."""

    def __init__(self, disk: Disk, path: Path) -> None:
        super().__init__(disk, path, os.O_RDWR | os.O_CREAT)

    def acquire(self, timeout: float) -> None:
        """Take it. Raises StoreUnavailable if others hold it for longer than that, in seconds."""
        deadline = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._path}: others held this lock for over {timeout:g} s"
                )
            time.sleep(random.uniform(0.0001, 0.0005))  # noqa: S311 - a nap, not a secret

    def release(self) -> None:
        """Let go of it, if it was taken."""
        if self._file is not None:
            flock(self._file, _LET_GO)

    def _try(self) -> bool:
        file = self.open() if self._file is None else self._file
        taken = True
        try:
            flock(file, _TAKE)
        except (BlockingIOError, PermissionError):  # which one, depends on the file system
            taken = False
        # A lock file that was removed is no longer the one that others take. (Where none that is
        # open can be removed, the two stamps need not agree.)
        if os.name == "nt" or self.is_at(self._disk.stamp(self._name)):
            return taken
        self.close()
        return False
