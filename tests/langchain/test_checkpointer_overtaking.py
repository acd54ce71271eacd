"""Writing to a thread, or reading it, while somebody deletes from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from lc_memory import Checkpointer, Memory
from lc_memory.langchain.checkpoint_deletion import Deletion
from lc_memory.langchain.checkpoint_pruning import outdated
from lc_memory.langchain.checkpoint_serde import frame
from lc_memory.langchain.checkpoint_state import Spot, State
from lc_memory.langchain.checkpoint_values import Parts
from lc_memory.layers.base import Layer
from lc_memory.records import Id, Op, Page, Put, Query, Record
from lc_memory.store import Store
from tests.checkpoints import Thread, grown, say, stored

SPOT = Spot(("checkpoints",), "t", "")


def latest(memory: Memory) -> list[BaseMessage]:
    """As somebody reads it who knows nothing yet."""
    found: list[BaseMessage] = (
        Thread(memory.checkpointer()).latest().checkpoint["channel_values"]["messages"]
    )
    return found


class Meanwhile(Layer):
    """Has some work done before the so-manieth time that something is read or written."""

    def __init__(self, inner: Store, when: int, work: Callable[[], object]) -> None:
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

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        self._count()
        return super().write(ops)


def versions(memory: Memory) -> dict[str, int]:
    """Of the records of a thread's checkpoints."""
    return {r.key: r.version for r in memory.backend.find(Query(SPOT.states)).records}


def closed(memory: Memory) -> list[str]:
    """The checkpoints that somebody is about to delete."""
    return [r.key for r in memory.backend.records(Query(SPOT.states)) if "closed" in r.value]


def test_a_checkpoint_changes_no_other(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread, messages = grown(saver, turns=10)
    assert {*versions(memory).values()} == {1}
    saver.prune(["t"])
    thread.put(messages=[*messages, *say(10)])
    assert [*versions(memory).values()] == [1, 1]


class Gate(Layer):
    """Lets nothing be written until it is opened."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.reached, self.opened = threading.Event(), threading.Event()
        self.opened.set()

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        self.reached.set()
        self.opened.wait()
        return super().write(ops)


class Chat:
    """Turns of a thread whose messages are in several parts and whose log is a DeltaChannel's,
    and what else may happen to it."""

    def __init__(self, memory: Memory, name: str) -> None:
        self.memory = memory
        self.gate = Gate(memory.backend)
        self.thread = Thread(Checkpointer(self.gate, memory.bridge), name)
        self.first = self.thread.put(messages=[], log=_DeltaSnapshot([]))
        self.messages: list[BaseMessage] = []
        for turn in range(12):
            self._put(turn)
            if turn == 5:
                self.middle, self.then = self.thread.here, self.messages

    def _put(self, turn: int) -> None:
        """A turn that adds to the messages, and to the log by a write, or all of it once."""
        self.thread.saver.put_writes(self.thread.here, [("log", [turn])], "task")
        self.messages = [*self.messages, *say(turn)]
        self.text = ("x" if turn < 4 or turn > 11 else "y") * 3000
        self.thread.versions["log"], self.turns = 11 + turn, turn + 1
        counters: Any = {"counters_since_delta_snapshot": {"log": (turn + 1, turn + 1)}}
        values: dict[str, Any] = {"messages": self.messages, "text": self.text}
        if turn == 8:
            counters, values["log"] = None, _DeltaSnapshot([*range(9)])
        self.thread.put(counters, **values)

    def goes_on(self) -> None:
        self._put(12)

    def forks(self) -> None:
        """From a checkpoint that is about to be deleted."""
        self.thread.here, self.messages = self.middle, self.then
        self._put(6)

    def forks_small(self) -> None:
        """With a checkpoint that has nothing to share but the log."""
        self.thread.here, self.messages, self.text = self.first, [], ""
        self.thread.versions, self.turns = {"log": 11}, 1
        self.thread.put({"counters_since_delta_snapshot": {"log": (1, 1)}})

    def begins_again(self) -> None:
        self.thread.here = self.thread.config
        self.messages, self.text = self.messages[:8], "x" * 3000
        log = _DeltaSnapshot([*range(4)])
        self.thread.put(messages=self.messages, text=self.text, log=log)

    def writes(self) -> None:
        self.thread.saver.put_writes(self.thread.here, [("x", "z" * 2_000_000)], "large")

    def check(self) -> None:
        """Somebody who knows nothing yet reads all that there is, and what was put last."""
        saver = self.memory.checkpointer()
        assert saver.get_tuple(self.thread.here) in list(saver.list(self.thread.config))
        found = saver.get_tuple(self.thread.here)
        assert found is not None
        values = found.checkpoint["channel_values"]
        assert values.get("messages", []) == self.messages
        assert values.get("text", "") == self.text
        log = saver.get_delta_channel_history(config=self.thread.here, channels=["log"])["log"]
        if "log" not in values:
            written = [value for *_, values in log["writes"] for value in values]
            assert [*log["seed"].value, *written] == [*range(self.turns)]


def close_all_but_two(memory: Memory, thread: str) -> None:
    """As a deletion does in advance."""
    saver = memory.checkpointer()
    records = memory.backend.records(Query(("checkpoints", "states", thread)))
    states = [State.of(record, saver._codec) for record in records]
    memory.backend.write([state.close() for state in outdated(states, 2, saver._codec)])


@pytest.mark.parametrize("work", ["goes_on", "forks", "forks_small", "begins_again", "writes"])
@pytest.mark.parametrize("deleting", ["all but one", "all but two", "what is closed"])
@pytest.mark.parametrize("before", [False, True])
def test_whatever_overtakes_a_deletion_is_whole(
    memory: Memory, work: str, deleting: str, before: bool
) -> None:
    """However far it has come, and though what it relies on was read ``before``."""
    overtaken = True
    when = 0
    while overtaken:
        when += 1
        chat = Chat(memory, f"t{when}")
        if deleting == "what is closed":
            close_all_but_two(memory, f"t{when}")
        overtaking = threading.Thread(target=getattr(chat, work))
        if before:
            chat.gate.reached.clear()
            chat.gate.opened.clear()
            overtaking.start()
            assert chat.gate.reached.wait(30)

        def overtake(chat: Chat = chat, overtaking: threading.Thread = overtaking) -> None:
            chat.gate.opened.set()
            if not before:
                overtaking.start()
            overtaking.join()

        layer = Meanwhile(memory.backend, when, overtake)
        saver = Checkpointer(layer, memory.bridge)
        if deleting == "all but one":
            saver.prune([f"t{when}"])
        else:
            saver._retain(SPOT._replace(thread=f"t{when}"), 2, saver._codec)
        overtaken = layer.left <= 0
        if overtaken:
            chat.check()
            if work == "writes":
                found = memory.checkpointer().get_tuple(chat.thread.here)
                assert found is not None
                assert ("large", "x", "z" * 2_000_000) in (found.pending_writes or [])
        else:
            overtake()
        memory.checkpointer().delete_thread(f"t{when}")
    assert when > 5
    assert stored(memory) == {}


def test_what_is_copied_while_it_is_deleted_is_whole(memory: Memory) -> None:
    happened = True
    when = 0
    while happened:
        when += 1
        happened = False
        saver = memory.checkpointer()
        _, messages = grown(saver, turns=20)

        def prune() -> None:
            nonlocal happened
            happened = True
            memory.checkpointer().prune(["t"])

        Checkpointer(Meanwhile(memory.backend, when, prune), memory.bridge).copy_thread("t", "u")
        copies = list(memory.checkpointer().list({"configurable": {"thread_id": "u"}}))
        assert copies
        for found in copies:
            step = found.metadata["step"]
            assert found.checkpoint["channel_values"]["messages"] == messages[: 2 * step]
            assert found.pending_writes == [("task", "w", step - 1)]
        saver.delete_thread("u")
        saver.delete_thread("t")
    assert when > 4


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
    old = memory.backend.find(Query(SPOT.states)).records[3].key
    tries = 0

    def die(states: Sequence[State]) -> list[State]:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise KeyboardInterrupt
        return list(states[:10])

    with pytest.raises(KeyboardInterrupt):
        Deletion(saver._threads, SPOT, die, saver._codec).run()
    assert len(closed(memory)) == 10
    assert old in closed(memory)
    assert len(thread.ids()) == 20
    after = [*messages, *say(20)]
    thread.put(messages=after)
    assert latest(memory) == after
    thread.here = SPOT.config(old)
    fork = [*messages[:8], *say(21)]
    thread.put(messages=fork)
    assert latest(memory) == fork
    assert old not in closed(memory)
    memory.checkpointer().prune(["t"])
    assert latest(memory) == fork
    assert closed(memory) == []


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
    put = Put(*record.id, {"state": codec.seal(older, record.id)})
    memory.backend.write([put, *parts.puts(SPOT.parts)])
    assert latest(memory) == messages
    found = saver.get_tuple(config)
    assert found is not None
    assert found.metadata == state.metadata
    assert found.checkpoint["id"] == id
    after = [*messages, *say(1)]
    thread.put(messages=after)
    assert latest(memory) == after
