"""What every store must do, as tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory.errors import (
    StoreClosed,
)
from lc_memory.log import Log
from lc_memory.records import (
    Clear,
    Put,
    Query,
)
from lc_memory.store import Store
from lc_memory.testing.clock import FakeClock
from lc_memory.testing.finding import FindingContract
from lc_memory.testing.layering import LayeringContract
from lc_memory.testing.writing import VALUES, WritingContract


class StoreContract(WritingContract, FindingContract, LayeringContract):
    """Inherit, and supply :meth:`open_store`."""

    def open_store(self, folder: Path, **options: Any) -> Store:
        """Open the store kept in that folder; the same folder again is the same store.

        Options are ``clock`` and, where the capabilities declare it, ``indexes``.
        """
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Store]]:
        """Opens the test's store, again and again; everything is closed at the end."""
        opened: list[Store] = []

        def open_one(**options: Any) -> Store:
            store = self.open_store(tmp_path, **{"clock": clock, **options})
            opened.append(store)
            return store

        yield open_one
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, reopen: Callable[..., Store]) -> Store:
        return reopen()

    # -- logs ------------------------------------------------------------------------------

    def test_a_log_keeps_its_order(self, store: Store, clock: FakeClock) -> None:
        log = Log(store, ("log", "1"))
        log.append([{"i": 0}, {"i": 1}])
        clock.forward(-60)
        log.append({"i": i} for i in range(2, 30))
        Log(store, ("log", "10")).append([{"i": "another"}])
        assert [r.value["i"] for r in log.tail()] == list(range(30))
        assert [r.value["i"] for r in log.tail(3)] == [27, 28, 29]
        assert (len(log), log.append([])) == (30, [])
        assert [log.pop().value["i"] for _ in range(2)] == [29, 28]  # type: ignore[union-attr]
        log.clear()
        assert log.pop() is None
        assert len(Log(store, ("log", "10"))) == 1

    def test_threads_append_and_pop_each_entry_once(self, store: Store) -> None:
        """Batches stay together; nothing is lost or given twice."""
        log = Log(store, ("log",))
        popped: list[Any] = []
        errors: list[BaseException] = []

        def in_threads(work: Callable[[int], None]) -> None:
            def guarded(number: int) -> None:
                try:
                    work(number)
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=guarded, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        def append(number: int) -> None:
            for i in range(10):
                log.append({"n": number, "i": i, "part": part} for part in range(3))

        def pop(number: int) -> None:
            for _ in range(5):
                entry = log.pop()
                assert entry
                popped.append(entry.key)

        in_threads(append)
        entries = [r.value for r in log.tail()]
        assert not errors
        assert [e["part"] for e in entries] == [0, 1, 2] * 40
        for number in range(4):
            assert [e["i"] for e in entries if e["n"] == number] == [
                i for i in range(10) for _ in range(3)
            ]
        in_threads(pop)
        assert not errors
        assert len(set(popped)) == 20
        assert len(log) == 100

    # -- opening and closing ---------------------------------------------------------------

    def test_what_was_written_is_there_after_reopening(
        self, store: Store, reopen: Callable[..., Store]
    ) -> None:
        if not store.capabilities.persistent:
            pytest.skip("declares that it does not persist")
        store.write([Put(("n",), str(i), value) for i, value in enumerate(VALUES)])
        written = list(store.records())
        store.close()
        again = reopen()
        assert list(again.records()) == written
        assert [repr(r.value) for r in again.records()] == [repr(r.value) for r in written]

    def test_two_openers_see_each_others_writes(
        self, store: Store, reopen: Callable[..., Store]
    ) -> None:
        if not store.capabilities.shared:
            pytest.skip("declares that it cannot be shared")
        other = reopen()
        store.put(("n",), "k", {"v": 1})
        assert other.update(("n",), "k", {"w": 2}).version == 2
        assert store.get(("n",), "k").value == {"v": 1, "w": 2}  # type: ignore[union-attr]
        other.write([Clear(())])
        assert store.count() == 0

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        for use in (
            lambda: store.get(("n",), "k"),
            lambda: store.find(Query()),
            lambda: store.put(("n",), "k", {}),
        ):
            with pytest.raises(StoreClosed):
                use()
