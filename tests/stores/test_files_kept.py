"""What the file stores keep open between two writes, and what may happen to it meanwhile."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lc_memory.errors import StoreClosed, StoreUnavailable
from lc_memory.stores.disk import Disk
from lc_memory.stores.files import FileStore
from lc_memory.stores.kept import Lock
from tests.stores.test_files import open_file, wait_until
from tests.stores.test_files_crowd import held
from tests.stores.test_files_damage import abandon

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there, nobody removes what is open")


def keys(store: FileStore) -> list[str]:
    return [record.key for record in store.records()]


# -- what stands at the path counts ----------------------------------------------------------


def test_a_lock_file_that_was_removed_is_taken_by_nobody(tmp_path: Path) -> None:
    """Nor one that was renamed: writers still take turns, with the one that is there."""
    lock = tmp_path / "memory.json.lock"
    with open_file(tmp_path, "json", timeout=0.05, idle=60) as store:
        for number, remove in enumerate((lock.unlink, lambda: lock.rename(tmp_path / "old"))):
            store.put(("n",), f"{number}", {})
            remove()
            with held(lock), pytest.raises(StoreUnavailable, match="others held"):
                store.put(("n",), "refused", {})
            remove()
            store.put(("n",), f"{number} again", {})
            assert lock.stat().st_mode & 0o777 == 0o600
        assert keys(store) == ["0", "0 again", "1", "1 again"]


def test_who_waits_for_a_lock_file_that_is_removed_waits_no_longer(tmp_path: Path) -> None:
    with open_file(tmp_path, "json", timeout=0.05, idle=60) as store:
        store.put(("n",), "a", {})
        with held(store._lock._path):
            store._lock._path.unlink()  # its owner hangs, and somebody knows what to do
            store.put(("n",), "b", {})
        assert keys(store) == ["a", "b"]


def test_writes_go_to_the_journal_that_is_there(tmp_path: Path) -> None:
    """Put back from a copy, or in a folder that another now stands in for."""
    folder = tmp_path / "memory"
    folder.mkdir()
    store = open_file(folder, "json", idle=60)
    store.put(("n",), "a", {})
    shutil.copytree(folder, tmp_path / "copy")
    store.put(("n",), "lost", {})

    journal = folder / "memory.json.journal"
    journal.rename(tmp_path / "old.journal")
    shutil.copy(tmp_path / "copy" / journal.name, journal)
    store.put(("n",), "b", {})
    assert keys(store) == ["a", "b"]

    folder.rename(tmp_path / "old")
    (tmp_path / "copy").rename(folder)
    store.put(("n",), "c", {})
    assert keys(store) == ["a", "c"]
    abandon(store)
    with open_file(folder, "json") as found:
        assert keys(found) == ["a", "c"]
    assert b'"c"' not in (tmp_path / "old" / journal.name).read_bytes()


# -- child processes -------------------------------------------------------------------------


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a forked process; the exit code says whether it went well, -9 that it was killed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestForks:
    def test_a_child_may_use_its_parents_store(self, tmp_path: Path) -> None:
        with open_file(tmp_path, "json", idle=60) as store:
            store.put(("n",), "parent", {})
            assert in_a_child(lambda: store.put(("n",), "child", {})) == 0
            store.put(("n",), "parent again", {})
            assert keys(store) == ["child", "parent", "parent again"]

    def test_a_child_does_not_share_its_parents_lock(self, tmp_path: Path) -> None:
        """It must wait while the parent writes, and does not unlock for it."""
        with open_file(tmp_path, "json", timeout=0.05, idle=60) as store:
            store.put(("n",), "k", {})

            def refused() -> None:
                with pytest.raises(StoreUnavailable, match="others held"):
                    store._lock.acquire(0.05)
                store._lock.release()

            store._lock.acquire(1)
            try:
                assert in_a_child(refused) == 0
                with pytest.raises(StoreUnavailable, match="others held"), held(store._lock._path):
                    pass
            finally:
                store._lock.release()

    def test_a_child_holds_no_lock_of_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        lock = tmp_path / "memory.json.lock"
        ours, theirs = os.pipe()

        def die() -> None:
            os.close(ours)
            store = open_file(tmp_path, "json", idle=60)
            store.put(("n",), "k", {})  # the lock file is open
            store._lock.acquire(1)
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            os.write(theirs, str(child).encode())
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_a_child(die) == -signal.SIGKILL
        child = int(os.read(ours, 20))
        try:
            with held(lock):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.close(ours)
            os.close(theirs)


# -- and nothing longer than that ------------------------------------------------------------


def opened(folder: Path) -> list[str]:
    """What this process has open in a folder."""
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if link.is_symlink()]
    return sorted(name for name in names if name.startswith(str(folder)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_stays_open(tmp_path: Path) -> None:
    store = open_file(tmp_path, "json", idle=60)
    store.put(("n",), "k", {})
    assert opened(tmp_path) == [f"{store.path}.journal", f"{store.path}.lock"]
    store.close()
    assert opened(tmp_path) == []
    with pytest.raises(StoreClosed):
        store.put(("n",), "k", {})
    assert opened(tmp_path) == []


def forgotten(folder: Path) -> None:
    """Open a store, and never close it."""
    store = open_file(folder, "json", idle=0.01)
    store.put(("n",), "k", {})
    wait_until(lambda: store._folder is None)
    assert opened(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_store_that_was_forgotten_holds_nothing(tmp_path: Path) -> None:
    forgotten(tmp_path)
    gc.collect()
    assert opened(tmp_path) == []


def test_a_lock_that_could_not_be_taken_is_not_let_go(tmp_path: Path) -> None:
    lock = Lock(Disk(), tmp_path / "a.lock")
    with held(tmp_path / "a.lock"):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                lock.acquire(0)
            lock.release()
    lock.acquire(0)
    lock.close()


class Slow(Disk):
    """A disk that syncs when it is told to."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def sync(self, file: int) -> None:
        self.began.set()
        assert self.go.wait(30)
        super().sync(file)


def test_closing_waits_for_who_is_writing(tmp_path: Path) -> None:
    open_file(tmp_path, "json").close()
    disk = Slow()
    store = open_file(tmp_path, "json", disk=disk, idle=60)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(store.put, ("n",), "first", {})
        assert disk.began.wait(30)
        closing = pool.submit(store.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        disk.go.set()
        assert first.result(30).key == "first"
        closing.result(30)
        with pytest.raises(StoreClosed):
            store.put(("n",), "second", {})
    with open_file(tmp_path, "json") as found:
        assert keys(found) == ["first"]
