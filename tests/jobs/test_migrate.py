"""Moving everything from any store to any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from lc_memory import Memory, MigrationError, Op, Query, Record, Restore, UnknownStorage
from lc_memory.errors import LinkedRecord
from lc_memory.jobs.migrate import MARKER, PAGE, migrate
from lc_memory.layers.stack import Stack
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing import FakeClock
from lc_memory.testing.writing import NAMES, VALUES


def fill(memory: Memory, many: int = 30) -> None:
    """A mixed memory: every awkward name and value, chats, users, times to live."""
    memory.batch_store([("values", {"id": str(i), "v": v}) for i, v in enumerate(VALUES)])
    memory.batch_store([("names", {"id": name or "empty"}) for name in NAMES])
    memory.batch_store([("many", {"id": str(i), "i": i}) for i in range(many)])
    memory.update_memory("many", {"changed": True}, {"i": 3})
    memory.store_memory("soon", {"x": 1}, ttl=60 * 24 * 365)
    memory.chat_history("s").add_messages([HumanMessage("hi"), AIMessage("there \ud83d")])
    memory.as_user("ada").store_memory("profile", {"name": "Ada"})
    memory.store().put(("a", "b"), "k", {"n": 2**70}, ttl=5000)


def everything(memory: Memory) -> list[str]:
    return [repr(record) for record in memory.backend.records(Query(expired=True))]


def test_a_copy_is_the_same_to_the_byte(memory: Memory) -> None:
    fill(memory, many=2 * PAGE)
    with Memory("memory://") as other:
        report = memory.copy_to(other)
        assert everything(other) == everything(memory)
        assert report.verified
        assert report.records == len(everything(memory))
        assert other.chat_history("s").messages == memory.chat_history("s").messages
        again = memory.copy_to(other, merge=True)
        assert again.digest == report.digest
        with pytest.raises(MigrationError, match="merge=True"):
            memory.copy_to(other)


def test_a_dry_run_changes_nothing(memory: Memory) -> None:
    fill(memory)
    with Memory("memory://") as other:
        report = memory.copy_to(other, dry_run=True)
        assert (report.records, report.verified) == (len(everything(memory)), False)
        assert report.bytes > 1000
        assert everything(other) == []


@pytest.mark.parametrize("kind", ["sqlite", "json", "yaml", "csv", "pickle"])
def test_a_dry_run_makes_no_file(memory: Memory, tmp_path: Path, kind: str) -> None:
    fill(memory)
    folder = tmp_path / "other"
    folder.mkdir()
    assert memory.copy_to(f"{kind}:///{folder}/copy", dry_run=True).records == len(
        everything(memory)
    )
    assert list(folder.iterdir()) == []
    with pytest.raises(UnknownStorage):
        memory.copy_to("nothing:///x", dry_run=True)


def test_a_user_takes_only_their_own(memory: Memory) -> None:
    fill(memory)
    with Memory("memory://") as other:
        assert memory.as_user("ada").copy_to(other).records == 1
        assert [r.namespace for r in other.backend.records()] == [
            ("users", "ada", "documents", "profile")
        ]


def test_a_url_is_opened_and_closed(memory: Memory, tmp_path: Path) -> None:
    fill(memory)
    memory.copy_to(f"sqlite:///{tmp_path}/copy.db")
    with Memory(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert everything(copy) == everything(memory)


class Interrupted(MemoryStore):
    """Fails at its nth write, as a killed process would."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self.restored = 0

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.restored += sum(isinstance(op, Restore) for op in ops)
        return super().write(ops)


@pytest.mark.parametrize("after", range(1, 5))
def test_an_interrupted_copy_goes_on_where_it_was(after: int) -> None:
    with Memory("memory://") as memory, Interrupted(after) as target:
        fill(memory, many=2 * PAGE)
        with pytest.raises(KeyboardInterrupt):
            migrate(memory.backend, target)
        assert target.get(*MARKER) is not None
        with pytest.raises(MigrationError, match="unfinished"):
            migrate(memory.backend, target, name="another")
        target.left = -1
        report = migrate(memory.backend, target)
        assert target.get(*MARKER) is None
        assert [repr(r) for r in target.records(Query(expired=True))] == everything(memory)
        assert target.restored == report.records  # nothing was copied twice


def test_a_copy_that_has_not_declared_its_relations_goes_on(monkeypatch: Any) -> None:
    with Memory("memory://", relations={"has": "refuse"}) as memory, Memory("memory://") as other:
        first, second = (memory.store_memory("notes", {"id": id}) for id in "ab")
        memory.link(first, "has", second)
        with monkeypatch.context() as patch:
            patch.setattr(Stack, "adopt", interrupted)
            with pytest.raises(KeyboardInterrupt):
                memory.copy_to(other)
        memory.copy_to(other)
        with pytest.raises(LinkedRecord):
            other.delete_memory("notes", id="b")


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_difference_is_found() -> None:
    class Lossy(MemoryStore):
        def write(self, ops: Sequence[Op]) -> list[Record | None]:
            kept: list[Any] = [op for op in ops if getattr(op, "record", op).key != "7"]
            return super().write(kept)

    with Memory("memory://") as memory, Lossy() as target:
        fill(memory)
        with pytest.raises(MigrationError, match="many/7"):
            migrate(memory.backend, target)


def test_expired_records_are_copied_as_they_are(tmp_path: Path) -> None:
    clock = FakeClock()
    with Memory(f"sqlite:///{tmp_path}/m.db", clock=clock) as memory, MemoryStore() as target:
        memory.store_memory("x", {"v": 1}, ttl=1)
        clock.forward(120)
        assert migrate(memory.backend, target).records == 1


def test_progress_is_told(memory: Memory) -> None:
    fill(memory, many=PAGE)
    told: list[tuple[int, int]] = []
    with MemoryStore() as target:
        migrate(memory.backend, target, progress=lambda done, total: told.append((done, total)))
    total = len(everything(memory))
    assert (total, total) in told
    assert told[0] == (PAGE, total)
