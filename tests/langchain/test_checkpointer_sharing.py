"""What checkpoints share, and what stays when some of them are deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from lc_memory import Checkpointer, Conflict, Memory
from lc_memory.langchain.checkpoint_reading import Reader
from tests.checkpoints import Thread, grown, say, stored


@pytest.fixture
def saver(memory: Memory) -> Checkpointer:
    return memory.checkpointer()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Memory]:
    with Memory(f"sqlite:///{tmp_path}/quick.db") as opened:
        yield opened


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


@pytest.mark.parametrize("place", [0, 1, 200, 700])
def test_what_is_removed_or_added_ahead_costs_a_chunk(quick: Memory, place: int) -> None:
    thread = Thread(quick.checkpointer())
    messages = [m for turn in range(500) for m in say(turn)]
    thread.put(messages=messages)
    parts = len(stored(quick))
    assert parts > 15
    for change in range(40):
        del messages[place]
        if change % 2:
            messages[place:place] = say(500 + change) * (25 if change == 21 else 1)
        thread.put(messages=messages)
        added, parts = len(stored(quick)) - parts, len(stored(quick))
        assert added <= 5  # the checkpoint, the chunk, one that it was cut into; the end, an index
        assert thread.latest().checkpoint["channel_values"]["messages"] == messages


def test_numbers_in_a_list_are_not_serialised_one_by_one(
    quick: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("dumps_typed", "loads_typed"):
        real = getattr(JsonPlusSerializer, name)
        monkeypatch.setattr(
            JsonPlusSerializer, name, lambda *a, real=real: calls.append(a) or real(*a)
        )
    thread = Thread(quick.checkpointer())
    numbers = [number / 7 for number in range(10_000)]
    thread.put(vector=numbers, seen={1})  # which the serializer has to say
    assert thread.latest().checkpoint["channel_values"]["vector"] == numbers
    assert 0 < len(calls) < 10


@pytest.mark.parametrize("added", [300, 2_100, 3_000])
def test_what_a_checkpoint_says_of_a_long_list_stays_short(quick: Memory, added: int) -> None:
    """However much each step adds, and though an item at its beginning changes each time."""
    thread = Thread(quick.checkpointer())
    numbers: list[float] = []
    for step in range(120):
        numbers = [step, *numbers[1:], *(number / 7 for number in range(step, step + added))]
        thread.put(vector=numbers)
    records = [size for (namespace, _), size in stored(quick).items() if "states" in namespace]
    assert len(records) == 120
    assert max(records[-40:]) < 2_500
    assert len(stored(quick)) < 120 * 5  # the record, an index; the beginning, two at the end
    with Memory(quick.backend) as other:
        found = Thread(other.checkpointer()).latest()
        assert found.checkpoint["channel_values"] == {"vector": numbers}


def test_scalars_in_lists_come_back_as_they_were(quick: Memory) -> None:
    thread = Thread(quick.checkpointer())
    items = ["", "x" * 3000, "a\0", 1, 1.0, True, None, b"\0", 2**64 - 1, -(2**63), -0.0, [1], {}]
    thread.put(mixed=items)
    assert repr(thread.latest().checkpoint["channel_values"]["mixed"]) == repr(items)
    thread.put(mixed=[*items, "\ud83d"])  # which LangGraph's serializer replaces
    assert thread.latest().checkpoint["channel_values"]["mixed"] == [*items, "?"]


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


def test_deleting_runs_leaves_what_delta_channels_are_rebuilt_from(saver: Checkpointer) -> None:
    thread = Thread(saver)
    for number in range(6):
        counters = {"counters_since_delta_snapshot": {"log": (number + 1, number + 1)}}
        thread.versions["log"] = 10 + number
        thread.put({**counters, "run_id": f"run{number // 2}"})
        saver.put_writes(thread.here, [("log", [f"w{number}"])], "task")
    before = saver.get_delta_channel_history(config=thread.here, channels=["log"])
    assert [value for _, _, value in before["log"]["writes"]] == [[f"w{n}"] for n in range(5)]
    saver.delete_for_runs(["run1"])
    assert saver.get_delta_channel_history(config=thread.here, channels=["log"]) == before
    saver.delete_for_runs(["run1", "run2"])  # now nothing needs them
    assert [found.metadata["run_id"] for found in saver.list(thread.config)] == ["run0"] * 2


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


def test_what_tasks_write_too_late_does_not_stay(memory: Memory) -> None:
    """A graph need not wait for it before it puts the next checkpoint."""
    saver = memory.checkpointer(keep=1)
    thread = Thread(saver)
    early: Any = {"configurable": {**thread.config["configurable"], "checkpoint_id": "2"}}
    saver.put_writes(early, [("w", "early")], "task")
    for turn in range(3):
        before = thread.here
        thread.put(n=turn)
        if turn:
            saver.put_writes(before, [("w", "late" * 1000)], "task")
    assert [id[0] for id in stored(memory) if id[0][1] in ("writes", "parts")]
    thread.put(n=3)
    left = [id for id in stored(memory) if id[0][1] in ("writes", "parts")]
    assert [namespace[-1] for namespace, _ in left] == ["2"]


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


def test_a_snapshot_tells_of_a_delta_channel_that_nothing_counts(saver: Checkpointer) -> None:
    thread = Thread(saver)
    for number in range(6):
        snapshot = {"log": _DeltaSnapshot([number])} if number in (0, 2) else {}
        thread.versions["log"] = 10 + number
        thread.put(**snapshot)
        saver.put_writes(thread.here, [("log", [f"w{number}"])], "task")
    before = saver.get_delta_channel_history(config=thread.here, channels=["log"])
    assert before["log"]["seed"] == _DeltaSnapshot([2])
    saver.prune(["t"])
    assert saver.get_delta_channel_history(config=thread.here, channels=["log"]) == before
    assert len(thread.ids()) == 4


@pytest.mark.parametrize("value", [{"k": "x" * 5000}, ["x" * 5000], "x" * 5000])
def test_the_parts_of_a_snapshot_stay_as_long_as_it_does(quick: Memory, value: Any) -> None:
    thread = Thread(quick.checkpointer())
    for _ in range(3):
        thread.put(log=_DeltaSnapshot(value))
    quick.checkpointer().put_writes(thread.here, [("log", _DeltaSnapshot(value))], "task")
    quick.checkpointer().prune(["t"])
    found = Thread(quick.checkpointer()).latest()  # by a saver that remembers nothing
    assert found.checkpoint["channel_values"]["log"] == _DeltaSnapshot(value)
    assert found.pending_writes == [("task", "log", _DeltaSnapshot(value))]
    thread.put(n=1)
    quick.checkpointer().prune(["t"])
    thread.saver = quick.checkpointer()
    assert thread.latest().checkpoint["channel_values"]["log"] == _DeltaSnapshot(value)


def test_a_snapshot_of_another_branch_keeps_nothing(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread = Thread(saver)
    root = thread.put(a=1)
    thread.put(log=_DeltaSnapshot(["theirs"]))
    thread.here = root
    thread.put(a=2)
    thread.put(a=3)
    saver.prune(["t"])
    assert len(thread.ids()) == 1


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_history_that_was_deleted_is_not_given_in_half(
    quick: Memory, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    saver = quick.checkpointer()
    thread = Thread(saver)
    thread.put(log=_DeltaSnapshot(["a"]))
    saver.put_writes(thread.here, [("log", ["w"])], "task")
    thread.versions["log"] = 10
    there = thread.put()
    thread.put(log=_DeltaSnapshot(["a", "w"]))
    if when == "before":
        saver.prune(["t"])
    else:
        read = Reader._writes

        def prune_and_read(reader: Reader, *args: Any) -> Any:
            quick.checkpointer().prune(["t"])
            return read(reader, *args)

        monkeypatch.setattr(Reader, "_writes", prune_and_read)
    with pytest.raises(Conflict, match="not there"):
        saver.get_delta_channel_history(config=there, channels=["log"])
