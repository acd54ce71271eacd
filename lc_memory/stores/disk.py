"""What the file stores ask of the operating system, and its errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from filelock import lock_descriptor, unlock_descriptor

from lc_memory.errors import LCMemoryError, StoreFull, StoreReadOnly, StoreUnavailable

if sys.platform == "darwin":
    from fcntl import F_FULLFSYNC, fcntl

#: What changes when a file does: inode, size and time of change. None: there is no such file.
Stamp: TypeAlias = "tuple[int, int, int] | None"

_BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_MODE: Final = 0o600

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Disk:
    """The file operations of a store; tests put one in its place that fails on purpose.

    The first group are single system calls. The others are made of them, so that a disk which
    fails or forgets in the first group shows what the store makes of it.
    """

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | _BINARY, _MODE)

    def write(self, file: int, data: memoryview) -> int:
        return os.write(file, data)

    def sync(self, file: int) -> None:
        """Return when what was written to the file would survive a power loss."""
        if sys.platform == "darwin":
            fcntl(file, F_FULLFSYNC)  # fsync() only hands it to the drive
        elif sys.platform == "linux":
            os.fdatasync(file)
        else:
            os.fsync(file)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def replace(self, source: Path, target: Path) -> None:
        for _ in range(100 if os.name == "nt" else 0):
            with contextlib.suppress(PermissionError):  # there, while others read the target
                return os.replace(source, target)
            time.sleep(0.01)
        os.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in the folder would survive a power loss."""
        if os.name == "nt":  # folders cannot be opened there; NTFS keeps a journal of names
            return
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def writable(self, path: Path) -> bool:
        """Whether the file's permissions let it be written."""
        return os.access(path, os.W_OK)

    # -- made of these ---------------------------------------------------------------------

    def stamp(self, path: Path) -> Stamp:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, path: Path, start: int = 0) -> bytes:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read()
        except PermissionError as error:
            raise StoreUnavailable(f"{path}: may not be read; check its permissions") from error

    def append(self, path: Path, size: int, data: bytes) -> None:
        """Have the file end after ``size`` bytes and this data, durably; else after ``size``."""
        new = not size and not path.exists()
        file = self.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            if os.fstat(file).st_size != size:
                self.truncate(file, size)
            try:
                self._write_all(file, data)
                self.sync(file)
                if new:
                    self.sync_folder(path.parent)
            except BaseException:
                # If this fails too, whoever reads on from ``size`` sees what there is.
                with contextlib.suppress(OSError):
                    self.truncate(file, size)
                raise
        finally:
            os.close(file)

    def swap(self, path: Path, data: bytes) -> None:
        """Replace the file by one with this data, durably and in one step; it keeps its mode."""
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        try:
            file = self.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                if sys.platform != "win32" and path.exists():
                    os.fchmod(file, path.stat().st_mode & 0o777)
                self._write_all(file, data)
                self.sync(file)
            finally:
                os.close(file)
            self.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        self.sync_folder(path.parent)

    @contextlib.contextmanager
    def lock(self, path: Path, timeout: float) -> Iterator[None]:
        """Hold the lock that this file stands for, among all processes and openers.

        Raises StoreUnavailable if others hold it for longer than ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while (file := self._try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{path}: others held this lock for over {timeout:g} s")
            time.sleep(random.uniform(0.0001, 0.0005))  # noqa: S311 - a nap, not a secret
        try:
            yield
        finally:
            unlock_descriptor(file)
            os.close(file)

    def _try_lock(self, path: Path) -> int | None:
        file = self.open(path, os.O_RDWR | os.O_CREAT)
        try:
            # A lock file that was removed meanwhile is no longer the one that others take.
            if lock_descriptor(file, blocking=False) and os.fstat(file).st_nlink:
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return None

    def _write_all(self, file: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.write(file, left) :]


@contextlib.contextmanager
def our_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about the file into the library's."""
    try:
        yield
    except LCMemoryError:  # some are OSErrors too, and mean something else
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(
                f"{path}: {error.strerror}; nothing of this write was kept, free some space"
            ) from error
        if error.errno in _REFUSED:
            raise StoreReadOnly(
                f"{path}: {error.strerror}; check the permissions of the file and its folder"
            ) from error
        raise StoreUnavailable(f"{path}: {error}") from error
