"""Reading checkpoints: from the records of a store to what LangGraph asks for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)

from lc_memory.errors import Conflict, InvalidQuery
from lc_memory.langchain.checkpoint_serde import Codec
from lc_memory.langchain.checkpoint_state import LATEST, Spot, State, Write, writes_of
from lc_memory.langchain.checkpoint_threads import (
    ATTEMPTS,
    PAGE,
    Place,
    Threads,
    damaged,
)
from lc_memory.langchain.checkpoint_values import Missing, unpack
from lc_memory.records import Query, Record

T = TypeVar("T")


class Reader:
    """Reads the checkpoints of threads, with the serializer of the moment."""

    def __init__(self, threads: Threads, codec: Codec) -> None:
        self._threads = threads
        self._codec = codec

    def get(self, spot: Spot, id: str | None) -> CheckpointTuple | None:
        """The checkpoint of that id, or the latest; None if there is none."""
        return self._whole(spot, lambda: self._get(spot, id))

    def _whole(self, spot: Spot, read: Callable[[], T]) -> T:
        """What that reads, again if a part is deleted this very moment. Raises CorruptStore for
        one that is not there."""
        missing: Missing | None = None
        for _ in range(ATTEMPTS):
            try:
                return read()
            except Missing as error:
                missing = error
        raise damaged(spot, missing)

    def _get(self, spot: Spot, id: str | None) -> CheckpointTuple | None:
        found = self._found(spot, id)
        return None if found is None else self._tuples([found])[0]

    def _found(self, spot: Spot, id: str | None) -> tuple[State, list[Write]] | None:
        guess = id or self._threads.put_last(spot)
        writes = self._writes(spot, guess) if guess else []  # first: they are deleted with it
        if id:
            state = self._threads.state(spot, id, self._codec)
            return None if state is None else (state, writes)
        while latest := self._threads.latest(spot, self._codec):
            state, records = latest
            if records is not None:
                return state, self._sorted(records)
            if state.id == guess:
                return state, writes
            if found := self._with_writes([state]):
                return found[0]
        return None

    def _with_writes(self, states: Sequence[State]) -> list[tuple[State, list[Write]]]:
        """With their pending writes, but for those that were deleted before these were read."""
        found = [(state, self._writes(state.spot, state.id)) for state in states]
        bare = [state.place for state, writes in found if not writes]
        records = self._threads.store.read(bare) if bare else []
        gone = {place for place, record in zip(bare, records, strict=True) if record is None}
        return [(state, writes) for state, writes in found if state.place not in gone]

    def pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[list[CheckpointTuple]]:
        if limit is not None and limit < 0:
            raise InvalidQuery(f"limit: {limit!r} is not a whole number from 0 up")
        found = self._states(config)
        until = get_checkpoint_id(before) if before else None
        if until:
            found = (state for state in found if state.id < until)
        if filter:
            found = (state for state in found if _fits(state.read_metadata(self._codec), filter))
        found = islice(found, limit)
        while states := list(islice(found, PAGE)):
            try:
                yield self._tuples(self._with_writes(states))
            except Missing:  # one was deleted meanwhile
                one_by_one = (self.get(state.spot, state.id) for state in states)
                if left := [found for found in one_by_one if found is not None]:
                    yield left

    def _states(self, config: RunnableConfig | None) -> Iterator[State]:
        """The stored checkpoints of the config, by id, descending."""
        if config is None:
            namespaces = self._threads.namespaces()
        else:
            spot, id = Spot.of(self._threads.root, config), get_checkpoint_id(config)
            if config["configurable"].get("checkpoint_ns") is not None:
                namespaces = [spot.states]
            else:
                namespaces = self._threads.namespaces(spot)
            if id:
                records = self._threads.store.read([(namespace, id) for namespace in namespaces])
                return (State.of(record, self._codec) for record in records if record is not None)
        queries = [Query(namespace, exact=True, order=LATEST) for namespace in namespaces]
        each = (self._threads.store.records(query, PAGE) for query in queries)
        merged = heapq.merge(*each, key=attrgetter("key"), reverse=True)
        return (State.of(record, self._codec) for record in merged)

    def _tuples(self, states: list[tuple[State, list[Write]]]) -> list[CheckpointTuple]:
        """Checkpoints with the values of their channels and their writes. Raises Missing."""
        wanted = [(s.spot, kept) for s, _ in states for _, kept in s.values.values()]
        wanted += [(s.spot, write.reference) for s, pending in states for write in pending]
        fetched = self._threads.fetch(wanted, self._codec)
        return [
            CheckpointTuple(
                state.spot.config(state.id),
                self._checkpoint(state, fetched),
                state.read_metadata(self._codec),
                state.spot.config(state.parent) if state.parent else None,
                [(w.task, w.channel, unpack(w.reference, self._codec, fetched)) for w in pending],
            )
            for state, pending in states
        ]

    def _writes(self, spot: Spot, id: str) -> list[Write]:
        """The pending writes of a checkpoint, in the order that they are applied in."""
        return self._sorted(self._threads.store.find(Query(spot.writes(id), exact=True)).records)

    def _sorted(self, records: Sequence[Record]) -> list[Write]:
        return sorted(write for record in records for write in writes_of(record, self._codec))

    def _checkpoint(self, state: State, fetched: Mapping[str, bytes]) -> Checkpoint:
        checkpoint: Checkpoint = self._codec.load(state.checkpoint)
        checkpoint["channel_values"] = {
            channel: unpack(reference, self._codec, fetched)
            for channel, (_, reference) in state.values.items()
        }
        return checkpoint

    def history(
        self, spot: Spot, id: str | None, channels: Sequence[str]
    ) -> dict[str, DeltaChannelHistory]:
        """The ancestors' writes to each channel since the nearest that holds a value of it."""
        return self._whole(spot, lambda: self._history(spot, id, channels))

    def _history(
        self, spot: Spot, id: str | None, channels: Sequence[str]
    ) -> dict[str, DeltaChannelHistory]:
        if id:
            state = self._threads.state(spot, id, self._codec)
        else:
            latest = self._threads.latest(spot, self._codec)
            state = None if latest is None else latest[0]
        if state is None:
            if id:
                raise _gone(spot, id)
            return {channel: {"writes": []} for channel in channels}
        seeds: dict[str, Place] = {}
        writes: dict[str, list[Write]] = {channel: [] for channel in channels}
        for ancestor in self._threads.ancestors(state, self._codec):
            left = writes.keys() - seeds.keys()
            if not left:
                break
            pending = self._writes(ancestor.spot, ancestor.id)
            for channel in left:
                writes[channel][:0] = [each for each in pending if each.channel == channel]
                if channel in ancestor.values:
                    seeds[channel] = spot, ancestor.values[channel][1]
        found = [(spot, each.reference) for some in writes.values() for each in some]
        fetched = self._threads.fetch([*seeds.values(), *found], self._codec)
        # Its ancestors are kept for as long as it is: what was read may be half of it otherwise.
        if self._threads.store.get(*state.place) is None:
            raise _gone(spot, state.id)
        history: dict[str, DeltaChannelHistory] = {}
        for channel, some in writes.items():
            values = [unpack(each.reference, self._codec, fetched) for each in some]
            tasks = [each.task for each in some]
            history[channel] = {
                "writes": [(task, channel, v) for task, v in zip(tasks, values, strict=True)]
            }
            if channel in seeds:
                history[channel]["seed"] = unpack(seeds[channel][1], self._codec, fetched)
        return history


def _gone(spot: Spot, id: str) -> Conflict:
    return Conflict(f"checkpoint {id!r} of thread {spot.thread!r} is not there (any more)")


def _fits(metadata: CheckpointMetadata, wanted: Mapping[str, Any]) -> bool:
    return all(metadata.get(name) == value for name, value in wanted.items())
