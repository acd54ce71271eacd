"""Writing to a thread and deleting from it at the same time: its head keeps them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint

from lc_memory import Checkpointer, Memory
from lc_memory.langchain.checkpoint_serde import frame
from lc_memory.langchain.checkpoint_state import Spot, State, place
from lc_memory.langchain.checkpoint_values import Parts
from lc_memory.layers.base import Layer
from lc_memory.records import Id, Page, Put, Query, Record
from lc_memory.store import Store
from tests.checkpoints import Thread, grown, say

SPOT = Spot(("checkpoints",), "t", "")


def head(memory: Memory) -> Record:
    record = memory.backend.get(*SPOT.head)
    assert record is not None
    return record


def latest(memory: Memory) -> list[BaseMessage]:
    """As somebody reads it who knows nothing yet."""
    found: list[BaseMessage] = (
        Thread(memory.checkpointer()).latest().checkpoint["channel_values"]["messages"]
    )
    return found


def test_a_checkpoint_leaves_the_head_as_it_is(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread, messages = grown(saver, turns=10)
    assert (head(memory).version, head(memory).value) == (1, {})
    saver.prune(["t"])
    assert (head(memory).version, head(memory).value) == (3, {})  # closed, and opened again
    thread.put(messages=[*messages, *say(10)])
    assert head(memory).version == 3


def _interrupted(saver: Checkpointer, work: Any) -> None:
    """Prune a thread, and do some work after its checkpoints were looked at."""
    tries = 0

    def choose(states: Sequence[State]) -> list[State]:
        nonlocal tries
        tries += 1
        if tries == 1:
            work()
        last = max(states, key=lambda state: state.id)
        return [state for state in states if state is not last]

    saver._threads.delete(SPOT, choose, saver._codec)
    assert tries == 2  # it saw that it was overtaken


def test_a_checkpoint_that_overtakes_a_deletion_keeps_its_parts(memory: Memory) -> None:
    writer = memory.checkpointer()
    thread, messages = grown(writer, turns=20)
    after = [*messages, *say(20)]
    _interrupted(memory.checkpointer(), lambda: thread.put(messages=after))
    assert latest(memory) == after
    assert len(thread.ids()) == 1
    assert head(memory).value == {}


def test_so_do_the_writes_of_a_task(memory: Memory) -> None:
    writer = memory.checkpointer()
    thread, _ = grown(writer, turns=20)
    big = "z" * 2_000_000
    _interrupted(
        memory.checkpointer(), lambda: writer.put_writes(thread.here, [("x", big)], "large")
    )
    assert ("large", "x", big) in (Thread(memory.checkpointer()).latest().pending_writes or [])


class Meanwhile(Layer):
    """Has some work done before the so-manieth time that something is read."""

    def __init__(self, inner: Store, when: int, work: Callable[[], None]) -> None:
        super().__init__(inner)
        self.left, self.work = when, work

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.work()

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        self._count()
        return super().read(ids, expired=expired)

    def find(self, query: Query) -> Page:
        self._count()
        return super().find(query)


@pytest.mark.parametrize("ask", ["for the latest", "for it", "for all"])
def test_a_checkpoint_that_is_deleted_meanwhile_has_its_writes(memory: Memory, ask: str) -> None:
    for when in range(1, 6):
        writer = memory.checkpointer()
        thread = Thread(writer, f"t{when}")
        here = thread.put(n=1)
        writer.put_writes(here, [("w", 1)], "task")

        def replace(thread: Thread = thread, name: str = f"t{when}") -> None:
            thread.put(n=2)
            memory.checkpointer().prune([name])

        reader = Checkpointer(Meanwhile(memory.backend, when, replace), memory.bridge)
        if ask == "for all":
            found = list(reader.list(thread.config))
        else:
            one = reader.get_tuple(here if ask == "for it" else thread.config)
            found = [one] if one else []
            assert found or ask == "for it"
        for each in found:
            old = each.checkpoint["channel_values"] == {"n": 1}
            assert each.pending_writes == ([("task", "w", 1)] if old else [])


def test_a_thread_goes_on_where_a_deletion_was_killed(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread, messages = grown(saver, turns=20)

    def die(states: Sequence[State]) -> list[State]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.checkpointer()._threads.delete(SPOT, die, saver._codec)
    assert head(memory).value == {"closed": True}
    after = [*messages, *say(20)]
    thread.put(messages=after)
    assert head(memory).value == {}
    assert latest(memory) == after


def test_a_checkpoint_after_a_restored_backup_is_whole(memory: Memory, tmp_path: Path) -> None:
    """What the saver remembers of the thread is not there any more."""
    saver = memory.checkpointer()
    thread, messages = grown(saver, turns=20)
    memory.backup_data(tmp_path / "backup.json")
    for turn in range(20, 60):
        messages = [*messages, *say(turn)]
        thread.put(messages=messages)
    memory.restore_data(tmp_path / "backup.json")
    after = [*messages, *say(60)]
    thread.put(messages=after)
    assert latest(memory) == after


def test_who_continues_itself_after_a_restored_backup_is_whole(
    memory: Memory, tmp_path: Path
) -> None:
    thread = Thread(memory.checkpointer())
    thread.put(text="x" * 3000)
    memory.backup_data(tmp_path / "backup.json")
    before = thread.here
    checkpoint = {**empty_checkpoint(), "channel_values": {"text": "y" * 3000}}
    checkpoint["channel_versions"] = new = {"text": 2}
    for _ in range(2):
        config = thread.saver.put(before, checkpoint, {}, new)  # type: ignore[arg-type]
        before = config
        memory.restore_data(tmp_path / "backup.json")
    thread.saver.put(before, checkpoint, {}, new)  # type: ignore[arg-type]
    found = memory.checkpointer().get_tuple(before)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"text": "y" * 3000}


@pytest.mark.parametrize("chunked", [1, 2])
def test_what_was_written_before_is_read(memory: Memory, chunked: int) -> None:
    saver = memory.checkpointer()
    codec = saver._codec
    messages = [HumanMessage("one", id="1"), HumanMessage("two", id="2")]
    dumped = [codec.dump(message) for message in messages]
    parts = Parts(codec, b"")
    chunk = frame(dumped[:chunked])
    here = ["list", None, [(chunked, len(chunk), parts.add(chunk))], dumped[chunked:]]
    thread = Thread(saver)
    config = thread.put(n=1)
    id = config["configurable"]["checkpoint_id"]
    record = memory.backend.get(SPOT.states, id)
    assert record is not None
    state = State.of(record, codec)
    dumps = codec.dump(state.checkpoint), codec.dump(state.metadata)
    older = frame((*dumps, None, {"messages": (1, here)}))
    put = Put(*record.id, {"state": codec.seal(older, place(record.id))})
    memory.backend.write([put, *parts.puts(SPOT.parts)])
    assert latest(memory) == messages
    found = saver.get_tuple(config)
    assert found is not None
    assert found.metadata == state.metadata
    assert found.checkpoint["id"] == id
    after = [*messages, *say(1)]
    thread.put(messages=after)
    assert latest(memory) == after
