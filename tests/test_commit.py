"""Group commit: everybody learns what became of their own, and nobody waits for ever."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence

from lc_memory.commit import GroupCommit
from lc_memory.errors import CommitUnknown

PATIENCE = 30  # seconds until a test gives up on a thread


class Held:
    """A commit that waits to be let go, and remembers its groups."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self, batches: Sequence[str]) -> list[str | Exception]:
        self.groups.append(list(batches))
        self.began.set()
        assert self.go.wait(PATIENCE)
        return [ValueError(b) if b.startswith("bad") else b.upper() for b in batches]


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def waiting(group: GroupCommit[str, str], count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(group._waiting) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(group._waiting) == count


def test_those_who_wait_are_committed_together_and_get_their_own() -> None:
    commit = Held()
    group = GroupCommit(commit)
    outcomes: dict[str, list[str | Exception]] = {}
    threads = [started(lambda: outcomes.__setitem__("a", group.run(["a"])))]
    assert commit.began.wait(PATIENCE)
    for at, batches in enumerate((["b"], ["bad", "c"], ["d"])):
        threads.append(started(lambda b=batches: outcomes.__setitem__(b[0], group.run(b))))  # type: ignore[misc]
        waiting(group, (1, 3, 4)[at])
    commit.go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert commit.groups == [["a"], ["b", "bad", "c", "d"]]
    assert [outcomes[name] for name in "abd"] == [["A"], ["B"], ["D"]]
    refused, kept = outcomes["bad"]
    assert isinstance(refused, ValueError)
    assert kept == "C"
    assert group.run([]) == []


def test_a_group_is_bounded_and_the_rest_has_its_turn() -> None:
    commit = Held()
    group = GroupCommit(commit, most=2)
    threads = [started(lambda: group.run(["first"]))]
    assert commit.began.wait(PATIENCE)
    for at in range(5):
        threads.append(started(lambda: group.run(["x", "y"])))
        waiting(group, 2 * at + 2)
    commit.go.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert [len(one) for one in commit.groups] == [1, 2, 2, 2, 2, 2]


def test_an_interrupted_writer_leaves_the_others_their_turn() -> None:
    """Whoever is interrupted, the leader or one who waits: the next one leads."""

    class Stop(BaseException):
        pass

    commit = Held()
    group = GroupCommit(commit)
    stopped: list[str] = []

    def run(name: str) -> None:
        try:
            group.run([name])
        except Stop:
            stopped.append(name)

    leader = started(lambda: run("leader"))
    assert commit.began.wait(PATIENCE)
    waiter = started(lambda: run("waiter"))
    waiting(group, 1)
    for thread in (waiter, leader):
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop)
        )
    last = started(lambda: run("last"))
    waiting(group, 2)
    commit.go.set()
    for thread in (leader, waiter, last):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert set(stopped) >= {"leader"}
    assert sorted(name for one in commit.groups for name in one) == ["last", "leader", "waiter"]
    assert group.run(["after"]) == ["AFTER"]


def test_a_commit_that_is_interrupted_tells_the_others() -> None:
    began, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def commit(batches: Sequence[str]) -> list[str | Exception]:
        calls.append(len(batches))
        if len(calls) == 1:
            began.set()
            assert go.wait(PATIENCE)
        elif len(calls) == 2:
            raise KeyboardInterrupt
        return list(batches)

    group = GroupCommit(commit)
    seen: list[object] = []

    def run(name: str) -> None:
        try:
            seen.extend(group.run([name]))
        except KeyboardInterrupt as error:
            seen.append(type(error))

    threads = [started(lambda: run("a"))]
    assert began.wait(PATIENCE)
    for count in (1, 2, 3):
        threads.append(started(lambda: run("b")))
        waiting(group, count)
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert calls == [1, 3]
    assert seen.count(KeyboardInterrupt) == 1
    # The interrupt may have come behind the commit.
    assert sum(isinstance(one, CommitUnknown) for one in seen) == 2
    assert group.run(["c"]) == ["c"]
