"""Checkpoints as they are stored: what comes back, what is shared, what is deleted, what is
safe."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, _DeltaSnapshot
from langgraph.types import Interrupt, Send

from lc_memory import Checkpointer, CorruptStore, InvalidKey, Memory, Put, Query
from lc_memory.langchain.checkpoint_serde import Codec, strict_serializer
from lc_memory.testing.clock import FakeClock

KEY = b"0123456789abcdef0123456789abcdef"


class Thread:
    """Puts one checkpoint after the other, as a graph does."""

    def __init__(self, saver: Checkpointer, thread_id: str = "t", ns: str = "") -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns}}
        self.here = self.config
        self.versions: dict[str, int] = {}
        self.step = 0

    def put(self, metadata: dict[str, Any] | None = None, **values: Any) -> Any:
        checkpoint = empty_checkpoint()
        self.step += 1
        new = dict.fromkeys(values, self.step)
        self.versions = {**self.versions, **new}
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = dict(self.versions)
        about: Any = {"source": "loop", "step": self.step, "parents": {}, **(metadata or {})}
        self.here = self.saver.put(self.here, checkpoint, about, new)
        return self.here

    def latest(self) -> CheckpointTuple:
        found = self.saver.get_tuple(self.config)
        assert found is not None
        return found

    def ids(self) -> list[str]:
        return [
            found.config["configurable"]["checkpoint_id"] for found in self.saver.list(self.config)
        ]


@pytest.fixture
def saver(memory: Memory) -> Checkpointer:
    return memory.checkpointer()


@pytest.fixture
def quick(tmp_path: Path) -> Any:
    with Memory(f"sqlite:///{tmp_path}/quick.db") as opened:
        yield opened


def say(number: int) -> list[BaseMessage]:
    return [
        HumanMessage(f"question {number} " + "x" * 150, id=f"h{number}"),
        AIMessage(f"answer {number} " + "y" * 150, id=f"a{number}", usage_metadata=USAGE),
    ]


USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def stored(memory: Memory) -> dict[Any, int]:
    """How many bytes each record's value takes."""
    from lc_memory import values

    return {r.id: len(values.encode(r.value)) for r in memory.backend.records()}


# -- what comes back ---------------------------------------------------------------------------


def test_every_kind_of_value_comes_back(saver: Checkpointer) -> None:
    message = AIMessage(
        [{"type": "text", "text": "héllo\0"}, {"type": "image", "base64": "AAAA"}],
        id="a",
        tool_calls=[{"name": "f", "args": {"x": [1, 2.5, None, True]}, "id": "c"}],
        additional_kwargs={"n": {"deep": [1]}},
        response_metadata={"when": "now"},
        name="me",
    )
    tool = ToolMessage("done", tool_call_id="c", artifact={"rows": [(1, "a")]}, status="error")
    values: dict[str, Any] = {
        "messages": [message, HumanMessage("hi", id="h", extra_field="kept"), tool],
        "none": None,
        "nul": "a\0b",
        "floats": [math.inf, -math.inf, 1.5],
        "bytes": b"\0\xff" * 3000,
        "set": {1, 2},
        "send": Send("node", {"x": 1}),
        "interrupts": [Interrupt("why", id="i")],
        "delta": _DeltaSnapshot(["x" * 900] * 9),
        "empty": [],
        "numbers": list(range(5000)),
    }
    thread = Thread(saver)
    thread.put(**values, nan=math.nan)
    found = thread.latest().checkpoint["channel_values"]
    assert math.isnan(found.pop("nan"))
    (rows,) = found["messages"][2].artifact["rows"]
    assert list(rows) == [1, "a"]  # msgpack has no tuples
    values["messages"][2].artifact["rows"] = found["messages"][2].artifact["rows"]
    assert found == values
    assert type(found["messages"][0]) is AIMessage
    assert type(found["messages"][0].tool_calls[0]["args"]["x"][3]) is bool
    assert type(found["delta"]) is _DeltaSnapshot


def test_a_state_of_twenty_megabytes_comes_back(saver: Checkpointer) -> None:
    blob = bytes(range(256)) * 80_000
    text = "0123456789" * 200_000
    thread = Thread(saver)
    config = thread.put(blob=blob, messages=[HumanMessage(text, id="1")])
    saver.put_writes(config, [("blob", blob)], "task")
    found = thread.latest()
    assert found.checkpoint["channel_values"]["blob"] == blob
    assert found.checkpoint["channel_values"]["messages"][0].content == text
    assert found.pending_writes == [("task", "blob", blob)]
    saver.prune(["t"])
    assert thread.latest().pending_writes == [("task", "blob", blob)]


@pytest.mark.parametrize(
    "name", ["", "a/b", "#hash", "x" * 5000, "tab\tand\nline", "nul\0", "\ud800", "Ünï", "ÜNÏ"]
)
def test_threads_of_any_name(memory: Memory, name: str) -> None:
    saver = memory.checkpointer()
    Thread(saver, "other").put(x="other")
    thread = Thread(saver, name, ns=f"{name}|sub")
    config = thread.put(x=name)
    saver.put_writes(config, [("x", 1)], f"task{name}")
    (found,) = saver.list({"configurable": {"thread_id": name}})
    assert found.config == config
    assert found.config["configurable"]["thread_id"] == name
    assert found.checkpoint["channel_values"] == {"x": name.replace("\ud800", "?")}
    assert found.pending_writes == [(f"task{name}", "x", 1)]
    assert len(list(saver.list(None))) == 2
    saver.delete_thread(name)
    assert [f.config["configurable"]["thread_id"] for f in saver.list(None)] == ["other"]


def test_a_digest_cannot_be_passed_off_as_a_name(quick: Memory) -> None:
    saver = quick.checkpointer()
    Thread(saver, "x" * 500).put(x="secret")
    (record,) = quick.backend.records(Query(("checkpoints", "states")))
    assert saver.get_tuple({"configurable": {"thread_id": record.namespace[2]}}) is None


def test_a_config_without_a_thread_is_refused(quick: Memory) -> None:
    with pytest.raises(InvalidKey, match="thread_id"):
        quick.checkpointer().get_tuple({"configurable": {}})


def test_users_do_not_see_each_others_threads(quick: Memory) -> None:
    alice, bob = (quick.as_user(name).checkpointer() for name in ("alice", "bob"))
    Thread(alice).put(x="alice's")
    assert bob.get_tuple({"configurable": {"thread_id": "t"}}) is None
    assert list(bob.list(None)) == []
    bob.delete_thread("t")
    assert Thread(alice).latest().checkpoint["channel_values"] == {"x": "alice's"}


# -- pending writes ----------------------------------------------------------------------------


def test_the_first_write_of_a_place_stands_and_special_ones_replace(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    saver.put_writes(config, [("a", 1), (INTERRUPT, "old"), ("b", 2)], "task")
    saver.put_writes(config, [("a", 9), (INTERRUPT, "new"), ("b", 9), ("c", 3)], "task")
    saver.put_writes(config, [(ERROR, "e")], "task")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        *[("task", INTERRUPT, "new"), ("task", ERROR, "e")],
        *[("task", "a", 1), ("task", "b", 2), ("task", "c", 3)],
    ]


def test_writes_come_in_the_order_of_path_task_and_place(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    saver.put_writes(config, [("c", i) for i in range(12)], "b", "path/1")
    saver.put_writes(config, [("c", 20)], "a", "path/2")
    saver.put_writes(config, [("c", 30)], "z")
    found = saver.get_tuple(config)
    assert found is not None
    assert [write[2] for write in found.pending_writes or ()] == [30, *range(12), 20]


def test_writes_may_come_before_their_checkpoint(saver: Checkpointer) -> None:
    checkpoint = empty_checkpoint()
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    early = {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
    saver.put_writes(early, [("a", 1)], "task")
    saver.put(config, checkpoint, {}, {})
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "a", 1)]


def test_writers_of_one_task_lose_nothing(saver: Checkpointer) -> None:
    config = Thread(saver).put()
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        saver.put_writes(config, [(f"c{i}", i) for i in range(number + 1)], "task")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", f"c{i}", i) for i in range(6)]


# -- lists -------------------------------------------------------------------------------------


def test_listing(saver: Checkpointer) -> None:
    one, two = Thread(saver, "1"), Thread(saver, "1", "sub:x")
    ids = []
    for number in range(60):
        config = (two if number % 3 == 0 else one).put({"even": number % 2 == 0}, n=number)
        ids.append(config["configurable"]["checkpoint_id"])
    Thread(saver, "2").put()
    thread: Any = {"configurable": {"thread_id": "1"}}

    def listed(config: Any, **options: Any) -> list[int]:
        return [f.checkpoint["channel_values"]["n"] for f in saver.list(config, **options)]

    assert listed(thread) == [*reversed(range(60))]
    assert listed(two.config) == [*reversed(range(0, 60, 3))]
    assert listed(thread, limit=3) == [59, 58, 57]
    assert listed(thread, limit=0) == []
    assert listed(thread, filter={"even": True}, limit=3) == [58, 56, 54]
    assert listed(thread, filter={"even": True, "step": 1}) == [0]
    assert listed(thread, filter={"missing": None, "step": 1}) == [1, 0]
    assert listed(thread, filter={"step') OR 1=1 --": 1}) == []
    before: Any = {"configurable": {"thread_id": "1", "checkpoint_id": ids[2]}}
    assert listed(thread, before=before) == [1, 0]
    assert len(listed(thread, before=thread)) == 60  # it names no checkpoint
    assert listed(before) == [2]
    assert len(list(saver.list(None))) == 61


def test_writing_and_deleting_inside_a_loop_over_the_list(saver: Checkpointer) -> None:
    thread = Thread(saver)
    for number in range(120):
        thread.put(big=[f"{number} " + "x" * 3000])
    seen = 0
    for found in saver.list(thread.config):
        thread.put(again=found.checkpoint["channel_values"].get("big"))
        seen += 1
        if seen == 60:
            saver.prune(["t"])
    assert 60 <= seen <= 120
    assert len(thread.ids()) > 1


async def test_async_and_sync_callers_share_one_object(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread = Thread(saver)
    thread.put(n=1)
    found = await saver.aget_tuple(thread.config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 1}
    others = [Thread(saver, f"t{i}") for i in range(20)]
    await asyncio.gather(*(asyncio.to_thread(other.put, n=i) for i, other in enumerate(others)))
    values = [f.checkpoint["channel_values"]["n"] async for f in saver.alist(None)]
    assert sorted(values) == sorted([1, *range(20)])
    in_another_loop = await asyncio.to_thread(asyncio.run, saver.aget_tuple(thread.config))
    assert in_another_loop == found


# -- versions and sharing ----------------------------------------------------------------------


def test_an_unchanged_channel_is_stored_once(quick: Memory) -> None:
    thread = Thread(quick.checkpointer())
    big = "z" * 100_000
    thread.put(big=big)
    before = sum(stored(quick).values())
    for number in range(10):
        thread.put(n=number)
    assert thread.latest().checkpoint["channel_values"] == {"big": big, "n": 9}
    assert sum(stored(quick).values()) - before < 10_000


def test_a_turn_costs_what_it_added(quick: Memory) -> None:
    thread = Thread(quick.checkpointer())
    messages: list[BaseMessage] = []
    sizes = {}
    for turn in range(900):
        messages = [*messages, *say(turn)]
        thread.put(messages=messages)
        if turn in (25, 75, 850, 899):
            sizes[turn] = sum(stored(quick).values())
    early, late = (sizes[75] - sizes[25]) / 50, (sizes[899] - sizes[850]) / 49
    assert late <= 1.5 * early
    assert thread.latest().checkpoint["channel_values"]["messages"] == messages
    with Memory(quick.backend) as other:  # nothing at hand
        assert Thread(other.checkpointer()).latest().checkpoint["channel_values"] == {
            "messages": messages
        }


def test_every_checkpoint_of_a_growing_and_changing_list_is_kept(saver: Checkpointer) -> None:
    thread = Thread(saver)
    messages: list[BaseMessage] = []
    history = {}
    for turn in range(120):
        messages = [*messages, *say(turn)]
        if turn % 20 == 7:  # one in the middle is replaced
            messages[len(messages) // 2] = HumanMessage(f"edited {turn}", id="edited")
        if turn % 30 == 11:  # the first ones are dropped
            messages = messages[10:]
        if turn == 90:
            messages = [HumanMessage("summary", id="s")]
        config = thread.put(messages=messages)
        history[config["configurable"]["checkpoint_id"]] = messages
    found = {f.checkpoint["id"]: f.checkpoint["channel_values"] for f in saver.list(thread.config)}
    assert found == {id: {"messages": messages} for id, messages in history.items()}


def test_a_message_changed_in_place_is_stored_again(saver: Checkpointer) -> None:
    thread = Thread(saver)
    messages = [message for i in range(30) for message in say(i)]
    first = thread.put(messages=messages)
    messages[3].additional_kwargs["flag"] = 1
    second = thread.put(messages=messages)
    messages[3].additional_kwargs["flag"] = True  # equal, and not the same
    third = thread.put(messages=messages)
    flags = []
    for config in (first, second, third):
        found = saver.get_tuple(config)
        assert found is not None
        flags.append(found.checkpoint["channel_values"]["messages"][3].additional_kwargs)
    assert [repr(flag) for flag in flags] == ["{}", "{'flag': 1}", "{'flag': True}"]


def test_what_was_read_belongs_to_the_caller(saver: Checkpointer) -> None:
    thread = Thread(saver)
    thread.put(messages=say(1), nested={"a": [1]})
    found = thread.latest().checkpoint["channel_values"]
    found["messages"][0].content = "changed"
    found["nested"]["a"].append(2)
    again = thread.latest().checkpoint["channel_values"]
    assert again == {"messages": say(1), "nested": {"a": [1]}}


def test_forks_share_versions_but_not_values(saver: Checkpointer) -> None:
    thread = Thread(saver)
    start = thread.put(n=0, messages=say(0))
    left = thread.put(n="left")
    fork = Thread(saver)
    fork.here, fork.versions, fork.step = start, {"n": 1, "messages": 1}, 1
    right = fork.put(n="right")  # the same version of the channel
    for config, value in ((left, "left"), (right, "right")):
        found = saver.get_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"n": value, "messages": say(0)}
        assert found.parent_config == start


def test_a_subgraph_shares_the_list_of_the_graph_around_it(quick: Memory) -> None:
    saver = quick.checkpointer()
    outer = Thread(saver)
    messages: list[BaseMessage] = []
    for turn in range(100):
        messages = [*messages, *say(turn)]
        config = outer.put(messages=messages)
    before = sum(stored(quick).values())
    inner = Thread(saver, ns="agent:1")
    around = {"": config["configurable"]["checkpoint_id"]}
    inner.put({"parents": around}, messages=[*messages, *say(100)])
    assert sum(stored(quick).values()) - before < 8000
    assert inner.latest().checkpoint["channel_values"]["messages"] == [*messages, *say(100)]


# -- deleting ----------------------------------------------------------------------------------


def grown(saver: Checkpointer, thread_id: str = "t", turns: int = 40) -> tuple[Thread, list[Any]]:
    thread = Thread(saver, thread_id)
    messages: list[BaseMessage] = []
    for turn in range(turns):
        messages = [*messages, *say(turn)]
        saver.put_writes(thread.put(messages=messages), [("w", turn)], "task")
    return thread, messages


def test_pruning_keeps_what_the_latest_needs_and_nothing_else(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread, messages = grown(saver)
    grown(saver, "other")
    saver.prune(["t", "unknown"])
    assert len(thread.ids()) == 1
    assert thread.latest().checkpoint["channel_values"]["messages"] == messages
    assert thread.latest().pending_writes == [("task", "w", 39)]
    assert len(Thread(saver, "other").ids()) == 40
    fresh = {id for id in stored(memory) if id[0][1:] == ("parts", "t")}
    assert 0 < len(fresh) <= 10
    after = [*messages, *say(40)]
    thread.put(messages=after)  # what is remembered of parts is still true
    assert thread.latest().checkpoint["channel_values"]["messages"] == after
    saver.prune(["t"], strategy="delete")
    assert thread.ids() == []


def test_deleting_a_thread_leaves_nothing(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread, _ = grown(saver)
    saver.delete_thread("t")
    assert stored(memory) == {}
    assert saver.get_tuple(thread.config) is None


def test_a_run_goes_on_in_a_thread_that_another_process_deleted(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread, messages = grown(saver)
    quick.checkpointer().delete_thread("t")
    after = [*messages, *say(40)]
    thread.put(messages=after)
    with Memory(quick.backend) as other:
        found = Thread(other.checkpointer()).latest()
    assert found.checkpoint["channel_values"]["messages"] == after


def test_writers_and_pruners_of_one_thread(memory_url: str) -> None:
    """Two savers that know nothing of each other, as two processes would be."""
    with Memory(memory_url) as memory:
        writer, pruner = memory.checkpointer(), memory.checkpointer()
        thread, messages = grown(writer, turns=20)
        done = threading.Event()

        def prune() -> None:
            while not done.is_set():
                pruner.prune(["t"])

        pruning = threading.Thread(target=prune)
        pruning.start()
        try:
            for turn in range(20, 45):
                messages = [*messages, *say(turn)]
                thread.put(messages=messages)
                found = Thread(memory.checkpointer()).latest()  # nothing at hand
                assert found.checkpoint["channel_values"]["messages"] == messages
        finally:
            done.set()
            pruning.join()


def test_deleting_runs(memory: Memory) -> None:
    saver = memory.checkpointer()
    thread = Thread(saver)
    for number, run in enumerate(["one", "two", "one", "three"]):
        thread.put({"run_id": run}, big=f"{number} " + "x" * 5000)
    saver.delete_for_runs(["one", "three", "unknown"])
    assert [found.metadata["run_id"] for found in saver.list(thread.config)] == ["two"]
    assert thread.latest().checkpoint["channel_values"]["big"].startswith("1 ")
    assert len([id for id in stored(memory) if id[0][1] == "parts"]) == 1


def test_a_copy_is_whole_and_on_its_own(memory: Memory) -> None:
    saver = memory.checkpointer()
    _, messages = grown(saver)
    saver.copy_thread("t", "n" * 3000)
    saver.delete_thread("t")
    copy = Thread(saver, "n" * 3000)
    assert len(copy.ids()) == 40
    assert copy.latest().config["configurable"]["thread_id"] == "n" * 3000
    assert copy.latest().checkpoint["channel_values"]["messages"] == messages
    assert copy.latest().pending_writes == [("task", "w", 39)]


def test_keep_bounds_a_thread(memory: Memory) -> None:
    saver = memory.checkpointer(keep=3)
    thread = Thread(saver)
    sizes = []
    for turn in range(60):
        config = thread.put(messages=[m for t in range(turn, turn + 20) for m in say(t)])
        around = {"": config["configurable"]["checkpoint_id"]}
        Thread(saver, ns=f"sub:{turn}").put({"parents": around}, n=turn)
        Thread(saver, ns="own").put({"parents": {}}, n=turn)
        if turn >= 20:
            sizes.append(len(stored(memory)))
    assert len(thread.ids()) == 3
    assert max(sizes) <= min(sizes) + 10
    everything = list(saver.list({"configurable": {"thread_id": "t"}}))
    namespaces = {found.config["configurable"]["checkpoint_ns"] for found in everything}
    assert {"", "own", "sub:59"} <= namespaces
    assert "sub:3" not in namespaces
    assert thread.latest().checkpoint["channel_values"]["messages"][0] == say(59)[0]


def test_pruning_keeps_what_delta_channels_are_rebuilt_from(saver: Checkpointer) -> None:
    thread = Thread(saver)
    thread.put(log=_DeltaSnapshot(["old"]))
    thread.put(log=_DeltaSnapshot(["a"]))
    for number in range(3):
        counters = {"counters_since_delta_snapshot": {"log": (number + 1, number + 1)}}
        saver.put_writes(thread.here, [("log", [f"w{number}"])], "task")
        thread.versions["log"] = 10 + number
        thread.put(counters)
    saver.prune(["t"])
    assert len(thread.ids()) == 4
    history = saver.get_delta_channel_history(config=thread.here, channels=["log", "none"])
    assert history["log"]["seed"] == _DeltaSnapshot(["a"])
    assert [value for _, _, value in history["log"]["writes"]] == [["w0"], ["w1"], ["w2"]]
    assert history["none"] == {"writes": []}


# -- safety ------------------------------------------------------------------------------------


class Planted:
    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Planted.made += 1


@pytest.mark.parametrize("code", range(6))
def test_a_class_named_in_stored_bytes_is_not_made(quick: Memory, code: int) -> None:
    named = (__name__, "Planted", ["x"] if code in (0, 1) else {"x": 1}, "mro")
    evil = ormsgpack.packb({"a": ormsgpack.Ext(code, ormsgpack.packb(named))})
    found = Codec(strict_serializer()).load(("msgpack", evil))
    assert Planted.made == 0
    assert not isinstance(found["a"], Planted)


@pytest.mark.parametrize("kind", ["json", "pickle", "unheard-of"])
def test_kinds_that_are_never_written_are_refused(kind: str) -> None:
    evil = b'{"lc": 1, "type": "secret", "id": ["HOME"]}'
    with pytest.raises(CorruptStore, match=kind):
        Codec(strict_serializer()).load((kind, evil))


def test_a_message_of_a_foreign_class_is_refused() -> None:
    evil = ormsgpack.packb((f"{__name__}.Planted", {}, {}))
    with pytest.raises(CorruptStore, match="Planted"):
        Codec(strict_serializer()).load(("message", evil))


@pytest.fixture
def hidden(tmp_path: Path) -> Any:
    with Memory(f"sqlite:///{tmp_path}/hidden.db") as opened:
        saver = opened.checkpointer(EncryptedSerializer.from_pycryptodome_aes(key=KEY))
        thread = Thread(saver)
        secrets = [HumanMessage("secret-text " * 5, id=f"{i}") for i in range(200)]
        for number in range(1, 3):
            config = thread.put(
                {"about": "secret-about", "run_id": "secret-run"},
                messages=secrets[: 100 * number],
                flag="secret-flag",
                number=123456789,
            )
            saver.put_writes(config, [("c", "secret-write"), (ERROR, "secret-error")], "task")
        yield opened, saver, thread


def test_an_encrypting_serializer_leaves_nothing_in_clear(hidden: Any, tmp_path: Path) -> None:
    memory, saver, thread = hidden
    assert len(thread.latest().checkpoint["channel_values"]["messages"]) == 200
    assert thread.latest().metadata["about"] == "secret-about"
    texts = [str(record.value) for record in memory.backend.records()]
    held = b"".join(path.read_bytes() for path in tmp_path.glob("hidden.db*"))
    assert held
    for secret in ("secret", "123456789", "HumanMessage", "content"):
        assert secret.encode() not in held
        assert not any(secret in text for text in texts)
    saver.delete_for_runs(["secret-run"])
    assert thread.ids() == []


def test_lists_are_shared_under_encryption_too(hidden: Any) -> None:
    memory, saver, thread = hidden
    messages = thread.latest().checkpoint["channel_values"]["messages"]
    again = Thread(memory.checkpointer(saver.serde))  # another process
    again.here, again.versions, again.step = thread.here, thread.versions, thread.step
    before = sum(stored(memory).values())
    again.put(messages=[*messages, HumanMessage("one more", id="more")])
    assert sum(stored(memory).values()) - before < 8000


def test_another_key_raises(hidden: Any) -> None:
    memory, _, thread = hidden
    wrong = memory.checkpointer(EncryptedSerializer.from_pycryptodome_aes(key=b"w" * 32))
    for saver in (wrong, memory.checkpointer()):
        with pytest.raises(CorruptStore):
            saver.get_tuple(thread.config)
        with pytest.raises(CorruptStore):
            list(saver.list(None))


@pytest.mark.parametrize("kind", ["states", "writes", "parts"])
def test_what_is_not_encrypted_is_not_accepted(hidden: Any, kind: str) -> None:
    memory, saver, thread = hidden
    thread.latest()
    record = next(iter(memory.backend.records(Query(("checkpoints", kind), order="-@key"))))
    for name in ("state", "writes", "part"):
        if name in record.value:
            memory.backend.put(record.namespace, record.key, record.value | {name: b"\0\x93\1"})
    with pytest.raises(CorruptStore, match="not encrypted"):
        list(memory.checkpointer(saver.serde).list(None))


@pytest.mark.parametrize("kind", ["states", "parts"])
def test_ciphertexts_cannot_be_swapped(hidden: Any, kind: str) -> None:
    memory, saver, _ = hidden
    one, two, *_ = memory.backend.records(Query(("checkpoints", kind)))
    memory.backend.write(
        [Put(one.namespace, one.key, two.value), Put(two.namespace, two.key, one.value)]
    )
    with pytest.raises(CorruptStore, match="another place"):
        list(memory.checkpointer(saver.serde).list(None))


def test_damage_is_told(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread, _ = grown(saver)
    for record in list(quick.backend.records(Query(("checkpoints", "parts")))):
        quick.backend.delete(record.namespace, record.key)
    with pytest.raises(CorruptStore, match="damaged"):
        Thread(quick.checkpointer()).latest()
    after = [HumanMessage("z" * 5000, id="z")]
    thread.put(messages=after)  # what comes after is whole
    assert Thread(quick.checkpointer()).latest().checkpoint["channel_values"]["messages"] == after


def test_a_value_that_cannot_be_written_changes_nothing(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread, _ = grown(saver, turns=3)
    before = stored(quick)
    with pytest.raises(TypeError):
        thread.put(bad=object())
    assert stored(quick) == before


def test_the_clock_of_the_store_decides_nothing() -> None:
    """The latest is the greatest id, whatever the time was."""
    from lc_memory.stores.memory import MemoryStore

    clock = FakeClock()
    with Memory(MemoryStore(clock=clock)) as memory:
        saver = memory.checkpointer()
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        first, second = empty_checkpoint(), empty_checkpoint()
        for checkpoint in (second, first):
            saver.put(config, checkpoint, {}, {})
        found = saver.get_tuple(config)
        assert found is not None
        assert found.checkpoint["id"] == second["id"] > first["id"]
