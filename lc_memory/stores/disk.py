"""What the file stores ask of the operating system, and its errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from lc_memory.errors import LCMemoryError, StoreFull, StoreReadOnly, StoreUnavailable

if sys.platform == "darwin":
    from fcntl import F_FULLFSYNC, fcntl

#: What changes when a file does: which one it is (device, inode), its size, and when it was
#: changed. None: there is no such file.
Stamp: TypeAlias = "tuple[int, int, int, int] | None"

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

    def writable(self, path: str | Path) -> bool:
        """Whether the file's permissions let it be written."""
        return os.access(path, os.W_OK)

    # -- made of these ---------------------------------------------------------------------

    def stamp(self, file: int | str | Path) -> Stamp:
        """Of an open file, or of the one that stands at a path."""
        try:
            found = os.stat(file)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, path: Path, start: int = 0) -> bytes:
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                return file.read()
        except PermissionError as error:
            raise StoreUnavailable(f"{path}: may not be read; check its permissions") from error

    def swap(self, path: Path, data: bytes) -> None:
        """Replace the file by one with this data, durably and in one step; it keeps its mode."""
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        try:
            file = self.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                if sys.platform != "win32" and path.exists():
                    os.fchmod(file, path.stat().st_mode & 0o777)
                self.write_all(file, data)
                self.sync(file)
            finally:
                os.close(file)
            self.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        self.sync_folder(path.parent)

    def write_all(self, file: int, data: bytes) -> None:
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
        raise our_error(path, error) from error


def our_error(path: Path, error: OSError) -> LCMemoryError:
    """The operating system's error about the file in the library's words."""
    if error.errno in _FULL:
        return StoreFull(
            f"{path}: {error.strerror}; nothing of this write was kept, free some space"
        )
    if error.errno in _REFUSED:
        return StoreReadOnly(
            f"{path}: {error.strerror}; check the permissions of the file and its folder"
        )
    return StoreUnavailable(f"{path}: {error}")
