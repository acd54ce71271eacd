"""Moving to another store while others write."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lc_memory import Delete, Memory, MigrationError, Op, Put, Record, Touch
from lc_memory.jobs.migrate import MARKER, PAGE
from lc_memory.jobs.move import Move
from lc_memory.store import Store
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing import FakeClock
from tests.jobs.test_migrate import everything, fill


class Writer(threading.Thread):
    """Creates, changes, touches, deletes and makes anew, until the block ends."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.written, self.stop = store, 0, threading.Event()
        self.chance = random.Random(7)

    def run(self) -> None:
        while not self.stop.is_set():
            key = f"{self.chance.randrange(400):04}"
            ops: list[Op] = [
                Put(("live", "a"), key, {"n": self.written}),
                Put(("live", "b"), key, {"n": self.written}),
                Delete(("live", "a"), f"{self.chance.randrange(400):04}"),
                Touch(("live", "b"), key, self.store.expiry(1000 + self.written)),
            ]
            self.store.write([ops[self.chance.randrange(4)]])
            self.written += 1
            time.sleep(0.0005)

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()


def moved(store: Store) -> list[str]:
    return [repr(r) for r in store.records() if r.id != MARKER]


def test_a_move_loses_nothing_of_those_who_write_meanwhile(memory: Memory) -> None:
    fill(memory, many=2 * PAGE)
    with Memory("memory://") as other, memory.migrate_to(other) as move:
        with Writer(memory.backend) as writer:
            assert move.phase == "new"
            move.run()
            seen = writer.written
            while writer.written < seen + 20:
                time.sleep(0.001)
            move.run()
            assert move.phase == "following"
        report = move.finish()
        assert moved(other.backend) == everything(memory)
        assert (report.verified, report.records) == (True, len(everything(memory)))
        assert move.phase == "finished"
        move.confirm()
        assert everything(other) == everything(memory)
        assert move.phase == "new"


def test_a_move_into_any_store(memory: Memory, tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/source.db") as source:
        fill(source)
        with source.migrate_to(memory) as move, Writer(source.backend) as writer:
            move.run()
            while writer.written < 50:
                time.sleep(0.001)
        move.finish()
        assert moved(memory.backend) == everything(source)
        # It is used, and then given up: what was written meanwhile goes back.
        memory.store_memory("after", {"id": "1"})
        memory.delete_memory("many", id="1")
        memory.update_memory("many", {"i": -2}, id="2")
        used = moved(memory.backend)
        assert move.rollback() == 3
        assert everything(source) == used
        assert everything(memory) == []
        assert move.phase == "new"


def test_what_it_would_take_is_told_and_nothing_done(memory: Memory) -> None:
    fill(memory)
    with Memory("memory://") as other, memory.migrate_to(other) as move:
        estimate = move.estimate()
        assert estimate.records == len(everything(memory))
        assert estimate.bytes > 1000
        assert estimate.seconds >= 0
        assert everything(other) == []


def test_the_steps_come_in_their_order(tmp_path: Path) -> None:
    with Memory("memory://") as memory, Memory("memory://") as other:
        fill(memory)
        move = memory.migrate_to(other)
        for step in (move.finish, move.confirm, move.rollback):
            with pytest.raises(MigrationError, match=r"run\(\) it"):
                step()
        move.run()
        with pytest.raises(MigrationError, match="following"):
            move.confirm()
        with pytest.raises(MigrationError, match="unfinished"):
            memory.copy_to(other)
        move.finish()
        with pytest.raises(MigrationError, match="finished"):
            move.run()
        memory.store_memory("late", {"x": 1})
        other.store_memory("also", {"x": 1})
        before = everything(memory), everything(other)
        with pytest.raises(MigrationError, match="take_back"):
            move.rollback()
        assert (everything(memory), everything(other)) == before
        assert move.rollback(take_back=False) == 0
        assert (everything(memory), everything(other)) == (before[0], [])
        other.store_memory("mine", {"x": 1})
        with pytest.raises(MigrationError, match="holds records already"):
            move.run()
        assert len(everything(other)) == 1


def test_a_source_that_is_still_written_is_noticed(tmp_path: Path) -> None:
    class Busy(MemoryStore):
        """Somebody writes whenever it is looked at."""

        busy = 0

        def read(self, *args: object, **options: object) -> list[Record | None]:
            if self.busy:
                super().write([Put(("busy",), "k", {"n": self.busy})])
                self.busy += 1
            return super().read(*args, **options)  # type: ignore[arg-type]

        def find(self, query: object) -> object:  # type: ignore[override]
            if self.busy:
                super().write([Put(("busy",), "k", {"n": self.busy})])
                self.busy += 1
            return super().find(query)  # type: ignore[arg-type]

    with Busy() as source, MemoryStore() as target:
        source.put(("busy",), "k", {"n": 0})
        move = Move(source, target)
        move.run()
        source.busy = 1
        with pytest.raises(MigrationError, match="still writes"):
            move.finish()
        assert move.phase == "following"
        source.busy = 0
        assert move.finish().records == 1


class Mortal(MemoryStore):
    """Dies at its nth write."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 10**9

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().write(ops)


def test_a_move_that_dies_at_any_write_goes_on() -> None:
    deaths = 0
    for place in range(100):
        with Memory("memory://") as memory, Mortal() as target:
            fill(memory, many=2 * PAGE)
            target.left = place
            steps = ["run", "finish", "confirm"]
            while steps:
                try:
                    getattr(Move(memory.backend, target), steps[0])()
                    steps.pop(0)
                except KeyboardInterrupt:
                    deaths += 1
                    memory.store_memory("many", {"id": "1", "changed": place})
                    memory.delete_memory("many", id="2")
                    target.left = 10**9
                    if len(steps) < 3:  # what was written late asks for another finish()
                        steps.insert(0, "finish") if steps[0] == "confirm" else None
            assert everything(memory) == moved(target)
            if target.left < 10**8:  # it came to its end before that many writes
                break
    assert deaths == place >= 6


def test_a_user_moves_alone(memory: Memory) -> None:
    fill(memory)
    with Memory("memory://") as other:
        other.store_memory("theirs", {"x": 1})
        move = memory.as_user("ada").migrate_to(other)
        move.run()
        assert move.finish().records == 1
        assert move.rollback() == 0
        assert [r.namespace for r in other.backend.records()] == [("documents", "theirs")]
        move.run()
        move.finish()
        move.confirm()
        assert other.as_user("ada").retrieve_memory("profile") == {"name": "Ada"}


def test_a_rollback_that_dies_is_done_again() -> None:
    """Also when the source holds already what came back, and the target is not yet empty."""
    died = 0
    for place in range(20):
        with Mortal() as source, Mortal() as target:
            source.write([Put(("x",), f"{i}", {"n": i}) for i in range(30)])
            move = Move(source, target)
            move.run()
            move.finish()
            target.write([Put(("x",), f"new {i}", {"n": i}) for i in range(2 * PAGE)])
            expected = moved(target)
            source.left = 1 if place == 0 else 10**9  # between two pages that come back
            target.left = place - 1 if place else 10**9
            try:
                move.rollback()
            except KeyboardInterrupt:
                died += 1
                source.left = target.left = 10**9
                with contextlib.suppress(MigrationError):  # not to be asked for now
                    move.finish()
                if move.phase != "new":  # it died at its last step
                    move.rollback()
            assert moved(source) == expected
            assert moved(target) == []
            if target.left < 10**8:
                break
    assert died == place >= 3


def test_a_users_rollback_that_dies_with_the_target_empty_is_done_again() -> None:
    """What the target lacks then is no deletion to take back."""
    mine = ("users", "ada", "x")
    for taking in (True, False):
        for place in range(20):
            with MemoryStore() as source, Mortal() as target:
                source.write([Put(mine, f"{i}", {"n": i}) for i in range(30)])
                move = Move(source, target, ("users", "ada"))
                move.run()
                move.finish()
                target.left = place
                with contextlib.suppress(KeyboardInterrupt):
                    move.rollback(take_back=taking)
                    break
                target.left = 10**9
                move.rollback()
                assert source.count() == 30
                assert moved(target) == []
        assert place >= 3


def test_what_was_deleted_since_is_noticed() -> None:
    """Of what was swept nobody has to be told."""
    for loser in ("source", "target"):
        clock = FakeClock()
        with MemoryStore(clock=clock) as source, MemoryStore(clock=clock) as target:
            source.write([Put(("x",), f"{i}", {"n": i}) for i in range(3)])
            source.put(("x",), "brief", {}, expires_at=source.expiry(1))
            clock.forward(1)
            move = Move(source, target)
            move.run()
            move.finish()
            clock.forward(120)
            store = source if loser == "source" else target
            assert store.sweep() == 1
            if loser == "target":
                assert move.finish().records == 4
            store.delete(("x",), "1")
            with pytest.raises(MigrationError, match=r"written .*\(x\)"):
                move.rollback() if loser == "source" else move.finish()
            assert store.get(("x",), "1") is None
            assert move.rollback(take_back=loser == "target") == (loser == "target")
            assert source.get(("x",), "1") is None
            assert source.count() == 2


def test_finishing_again_does_not_undo_what_was_written_since() -> None:
    with MemoryStore() as source, MemoryStore() as target:
        source.put(("x",), "1", {"n": 1})
        move = Move(source, target)
        move.run()
        move.finish()
        assert move.finish().records == 1  # nobody has written
        target.put(("x",), "2", {"n": 2})
        with pytest.raises(MigrationError, match="written since"):
            move.finish()
        assert target.get(("x",), "2") is not None
        move.confirm()
