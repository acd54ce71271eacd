"""Group commit: concurrent writers share one durable commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from lc_memory.errors import CommitUnknown
from lc_memory.forks import Holder, watch
from lc_memory.records import Op, Record
from lc_memory.rows import Step, prepare
from lc_memory.store import Outcome

Batch = TypeVar("Batch")
Result = TypeVar("Result")


class _Entry(Generic[Batch, Result]):
    __slots__ = ("batch", "gate", "outcome")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.outcome: Result | Exception | None = None
        self.gate: threading.Lock | None = None  # where its writer waits


class GroupCommit(Holder, Generic[Batch, Result]):
    """Collects the batches of all threads and has one of them commit for the others.

    ``commit`` is given a list of batches and returns an outcome for each: a result, or the
    exception that this batch alone met. If it raises, every batch of the group failed.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Batch]], Sequence[Result | Exception]],
        most: int = 256,
    ) -> None:
        self._commit = commit
        self._most = most
        self.forked()
        watch(self)

    def forked(self) -> None:
        """Begin with nobody waiting: who waits, and who leads them, are the parent's threads."""
        self._lock = threading.Lock()  # of the two below
        self._waiting: list[_Entry[Batch, Result]] = []
        self._leader: _Entry[Batch, Result] | None = None

    def run(self, batches: Sequence[Batch]) -> list[Result | Exception]:
        """Commit these batches, with whatever else is waiting; their outcomes, in order."""
        if not batches:
            return []
        mine: _Entry[Batch, Result] = _Entry(batches[-1])
        try:
            with self._lock:
                alone = self._leader is None and not self._waiting and len(batches) <= self._most
                if alone:
                    self._leader = mine
            if alone:
                try:
                    return [*self._commit(batches)]
                except Exception as error:  # noqa: BLE001 - it is raised to each writer
                    return [error] * len(batches)
            return self._together([*map(_Entry, batches[:-1]), mine])
        finally:
            self._leave(mine)

    def _together(self, entries: list[_Entry[Batch, Result]]) -> list[Result | Exception]:
        mine = entries[-1]
        with self._lock:
            self._waiting += entries
            if self._leader is None:
                self._leader = mine
            else:
                mine.gate = threading.Lock()
                mine.gate.acquire()
        gate = mine.gate
        if gate is not None:
            gate.acquire()  # until its work is done, or it is the next leader
        while mine.outcome is None:
            self._lead(mine)
        return [entry.outcome for entry in entries if entry.outcome is not None]

    def _lead(self, mine: _Entry[Batch, Result]) -> None:
        with self._lock:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            outcomes = self._commit([entry.batch for entry in group])
            for entry, result in zip(group, outcomes, strict=True):
                entry.outcome = result
        except Exception as error:  # noqa: BLE001 - it is raised to each writer
            for entry in group:
                entry.outcome = error
        except BaseException:  # an interrupt is the leader's; the others learn what became of them
            for entry in group:
                entry.outcome = CommitUnknown(
                    "whoever committed this write was interrupted; read to see whether it arrived"
                )
            raise
        finally:
            for entry in group:
                gate = entry.gate
                if entry is not mine and gate is not None:
                    gate.release()

    def _leave(self, mine: _Entry[Batch, Result]) -> None:
        """Let the next of those who wait lead, if it was this one's turn. (Who was interrupted
        waits no longer; its work is done with the others'.)"""
        with self._lock:
            mine.gate = None
            if self._leader is mine:
                self._leader = None
                for entry in self._waiting:
                    if entry.gate is not None:
                        self._leader = entry
                        entry.gate.release()
                        break


def write_together(
    committer: GroupCommit[list[Step], list[Record | None]], batches: Sequence[Sequence[Op]]
) -> list[Outcome]:
    """Prepare the batches and commit them as one group; what one of them met is its own."""
    try:
        whole = [prepare(ops) for ops in batches]
    except Exception:  # noqa: BLE001 - a caller's value may raise anything
        prepared = [_prepared(ops) for ops in batches]
        done = iter(committer.run([steps for steps in prepared if isinstance(steps, list)]))
        return [steps if isinstance(steps, Exception) else next(done) for steps in prepared]
    return committer.run(whole)


def _prepared(ops: Sequence[Op]) -> list[Step] | Exception:
    try:
        return prepare(ops)
    except Exception as error:  # noqa: BLE001 - a caller's value may raise anything
        return error
