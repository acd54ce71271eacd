"""Deleting checkpoints of a thread, so that nobody who writes to it meanwhile loses a part.

A write relies on the checkpoint that it continues. So a deletion *closes* those it is going to
delete, looks again, and deletes them if they are closed still. Who finds one closed opens it with
its own write, and so refuses the deletion, which begins again. A part goes if no checkpoint needs
it that is there after it was looked at, and if nobody wrote it anew since. So nothing waits for a
process that was killed, and what it closed is like any other checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from lc_memory.errors import Conflict
from lc_memory.langchain.checkpoint_serde import Codec
from lc_memory.langchain.checkpoint_state import Spot, State
from lc_memory.langchain.checkpoint_threads import (
    ATTEMPTS,
    PAGE,
    Threads,
    busy,
    damaged,
    places,
)
from lc_memory.langchain.checkpoint_values import Missing, parts_of
from lc_memory.records import Clear, Delete, Id, Namespace, Op, Query, Record
from lc_memory.store import RETRIES

_AT_ONCE: Final = 500  # checkpoints are closed with one write

#: Says of the checkpoints of a thread which ones are to be deleted.
Choice: TypeAlias = Callable[[Sequence[State]], Iterable[State]]


class Deletion:
    """Of the chosen checkpoints of a thread, of their writes, and of what nobody needs then: of
    all parts, or (without ``sweep``) of those that the deleted ones had. What is ``soon`` to be
    deleted is closed on the way, so that the next deletion need not."""

    def __init__(
        self,
        threads: Threads,
        spot: Spot,
        choose: Choice,
        codec: Codec,
        *,
        sweep: bool = True,
        soon: Choice | None = None,
    ) -> None:
        self._threads = threads
        self._store = threads.store
        self._spot = spot
        self._choose = choose
        self._codec = codec
        self._sweep = sweep
        self._soon = soon
        self._begin()
        self._read: dict[tuple[Id, tuple[int, int]], State] = {}

    def _begin(self) -> None:
        #: The parts that may go, as far as they were looked at.
        self._looked: dict[str, Record | None] | None = None if self._sweep else {}

    def run(self) -> None:
        """Delete them. Raises Conflict if others change the thread all the time, CorruptStore if
        a part is missing that says what is needed."""
        missing = 0
        for _ in range(RETRIES):
            try:
                if self._advance():
                    return
            except Conflict:
                self._begin()
            except Missing as error:
                missing += 1
                if missing > ATTEMPTS:
                    raise damaged(self._spot, error) from error
        raise busy(self._spot)

    def _advance(self) -> bool:
        """Take the next step; whether it was the last one."""
        states = self._states()  # after the parts were looked at
        doomed = {state.place: state for state in self._choose(states)}
        kept = [state for state in states if state.place not in doomed]
        fetched = self._threads.older(places(states), self._codec)
        needed = _parts_in(kept, fetched)
        spare = _parts_in(doomed.values(), fetched) - needed
        opened = [state for state in doomed.values() if not state.closed]
        for start in range(0, len(opened), _AT_ONCE):
            self._close(opened[start : start + _AT_ONCE])
        looked = self._looked
        if looked is None or not (self._sweep or spare <= looked.keys()):
            self._looked = self._all_parts() if self._sweep else self._parts(spare)
            return False
        if opened:
            return False
        gone = {state.spot.writes(state.id) for state in doomed.values()}
        gone.update(self._late_writes(kept))
        needed |= self._needed_by_writes(gone)
        parts = sorted((looked.keys() if self._sweep else spare) - needed)
        ops: list[Op] = [Delete(*place, state.record) for place, state in doomed.items()]
        ops += [Clear(namespace) for namespace in sorted(gone)]
        ops += [Delete(self._spot.parts, name, part) for name in parts if (part := looked[name])]
        if ops:
            next_ones = self._soon(states) if self._soon else ()
            ops += [s.close() for s in next_ones if s.place not in doomed and not s.closed]
            self._store.write(ops)
        return True

    def _states(self) -> list[State]:
        """All of the thread, whatever their namespace; those that are as before need not be read
        again."""
        found: list[State] = []
        for record in self._threads.records("states", self._spot):
            known = self._read.get((record.id, record.stamp))
            found.append(known or State.of(record, self._codec))
        self._read = {(state.place, state.record.stamp): state for state in found}
        return found

    def _close(self, states: Sequence[State]) -> None:
        records = self._store.write([state.close() for state in states])
        for state, record in zip(states, records, strict=True):
            assert record is not None
            self._read[record.id, record.stamp] = state._replace(record=record)

    def _all_parts(self) -> dict[str, Record | None]:
        """The parts of the thread, without what they hold."""
        found = self._threads.records("parts", self._spot)
        return {part.key: replace(part, value={}) for part in found}

    def _parts(self, names: Collection[str]) -> dict[str, Record | None]:
        read = self._store.read([(self._spot.parts, name) for name in names])
        return dict(zip(names, read, strict=True))

    def _late_writes(self, kept: Iterable[State]) -> Iterator[Namespace]:
        """Where tasks wrote after their checkpoints were deleted: before the first one kept."""
        first: dict[Namespace, str] = {}
        for state in kept:
            all_writes = state.spot.writes("")[:-1]
            first[all_writes] = min(state.id, first.get(all_writes, state.id))
        for namespace in self._store.namespaces(self._spot.writes("")[:-2]):
            if namespace[-1] < first.get(namespace[:-1], ""):
                yield namespace

    def _needed_by_writes(self, gone: Collection[Namespace]) -> set[str]:
        query = Query(self._spot.writes("")[:-2], {"parts": {"$exists": True}})
        return {
            name
            for record in self._store.records(query, PAGE)
            if record.namespace not in gone
            for name in record.value["parts"]
        }


def _parts_in(states: Iterable[State], fetched: Mapping[str, bytes]) -> set[str]:
    """The parts that hold the values of these states; ``fetched`` are their older ones."""
    return {
        name
        for state in states
        for reference in state.references
        for name in parts_of(reference, fetched)
    }
