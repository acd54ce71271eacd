"""LangGraph's checkpoints (``BaseCheckpointSaver``) over a store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from lc_memory.aio import AsyncStore
from lc_memory.errors import Conflict, InvalidQuery
from lc_memory.langchain.checkpoint_deletion import Deletion
from lc_memory.langchain.checkpoint_pruning import outdated, unneeded
from lc_memory.langchain.checkpoint_reading import Reader
from lc_memory.langchain.checkpoint_serde import Codec, digest, strict_serializer
from lc_memory.langchain.checkpoint_state import (
    COUNTERS,
    Spot,
    State,
    Values,
    Write,
    put_state,
    put_writes,
    writes_of,
)
from lc_memory.langchain.checkpoint_threads import PAGE, Earlier, Threads, busy
from lc_memory.langchain.checkpoint_values import NOTHING, PIECE, Kept, Missing, Parts, pack
from lc_memory.records import ABSENT, Expect, Namespace, Query, Record, Seen, check_namespace
from lc_memory.store import RETRIES, Store


class Checkpointer(BaseCheckpointSaver[int]):
    """The states of graphs, for ``compile(checkpointer=...)`` and for direct use.

    One object serves sync and async callers, from any number of threads and event loops, over
    any store. It is over an open memory and lives as long: there is nothing to close.

    What ``put`` stores is one atomic write. Checkpoints of a thread share the values that they
    have in common, lists by chunks of their items: a turn costs what it added, however long the
    conversation is. ``keep`` bounds a thread: after each ``put`` the latest so many checkpoints
    of its namespace are kept (and those that a DeltaChannel is rebuilt from), others deleted.

    ``serde`` is by default LangGraph's serializer with a strict allow-list: LangChain's messages
    and documents, LangGraph's own types and the standard library's plain ones come back as
    objects, and what else was stored as its data. Allow your own classes by
    ``JsonPlusSerializer(allowed_msgpack_modules=[MyClass])``. With an ``EncryptedSerializer`` all
    values, metadata and pending writes are encrypted, and bound to their place; the ids of
    threads, namespaces, checkpoints and tasks are not, nor the times.

    Errors: InvalidKey for a config without a thread or an id that no store could keep;
    CorruptStore for what was not written here, or for another key; what the serializer raises for
    what it cannot write. Nothing is stored then.
    """

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        scope: Namespace = (),
        *,
        serde: SerializerProtocol | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__(serde=serde or strict_serializer())
        if keep is not None and (type(keep) is not int or keep < 1):
            raise InvalidQuery(f"keep: {keep!r} is not a whole number from 1 up")
        self.keep = keep
        self._store = store
        self._bridge = bridge
        self._root = check_namespace((*scope, "checkpoints"))
        self._threads = Threads(store, self._root)
        self._made = Codec(self.serde)

    @property
    def _codec(self) -> Codec:
        # with_allowlist() copies this object and changes its serializer
        if self._made.serde is not self.serde:
            self._made = Codec(self.serde)
        return self._made

    @property
    def _reader(self) -> Reader:
        return Reader(self._threads, self._codec)

    # -- writing ---------------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; returns the config that names it.

        Values of channels that are not in ``new_versions`` are those of the checkpoint that
        ``config`` names, where that one has the same version of the channel.
        """
        spot, codec = Spot.of(self._root, config), self._codec
        complete = get_checkpoint_metadata(config, metadata)
        rest: dict[str, Any] = {**checkpoint}
        del rest["channel_values"]
        id, parent, run = checkpoint["id"], get_checkpoint_id(config), complete.get("run_id")
        named = spot.config(id)
        name = None if run is None else self._run(run, codec)
        alone = False
        for attempt in range(RETRIES):
            try:
                before = [] if alone else self._before(spot, parent, complete, codec, attempt > 0)
                parts, values = self._pack(spot, checkpoint, new_versions, before, codec)
            except Missing:  # what came before is damaged; this one need not be
                alone = True
                continue
            # What it relies on is asked first: the put may be of the same id.
            relies = parts.known or complete.get(COUNTERS)
            ops = [one.guard for one in before] if relies else []
            at, held = len(ops), None if attempt else ABSENT  # it is new, but for odd callers
            ops.append(put_state(spot, id, parent, rest, complete, values, codec, name, held))
            if parts.added:
                ops += parts.puts(spot.parts)
            try:
                record = self._store.write(ops)[at]
            except Conflict:
                continue
            assert record is not None
            self._threads.remember(spot, Earlier(id, values, Expect(spot.states, id, record)))
            if parts.added:
                self._threads.shelf.keep(parts.added)
            break
        else:
            raise busy(spot)
        if self.keep is not None:
            self._retain(spot, self.keep, codec)
        return named

    def _before(
        self,
        spot: Spot,
        parent: str | None,
        metadata: CheckpointMetadata,
        codec: Codec,
        again: bool,
    ) -> Sequence[Earlier]:
        """The checkpoint that one continues; for a subgraph's first one, those around it."""
        if parent:
            found = self._threads.recall(spot, parent, codec, again=again)
            return [] if found is None else [found]
        around = (metadata.get("parents") or {}).items()
        others = [
            self._threads.recall(spot._replace(ns=ns), i, codec, again=again)
            for ns, i in around
            if ns != spot.ns
        ]
        return [one for one in others if one is not None]

    def _pack(
        self,
        spot: Spot,
        checkpoint: Checkpoint,
        new_versions: ChannelVersions,
        before: Sequence[Earlier],
        codec: Codec,
    ) -> tuple[Parts, Values]:
        """The parts to be added, and how the values of the channels are kept."""
        there = {name for one in before for _, kept in one.values.values() for name in kept.parts}
        parts = Parts(codec, self._threads.key(codec), there, self._threads.shelf.at_hand)
        same = before[0].values if before and before[0].guard.namespace == spot.states else {}
        values: dict[str, tuple[Any, Kept]] = {}
        given, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        for channel in {**versions, **given}:
            version, held = versions.get(channel), same.get(channel)
            if channel not in new_versions and held is not None and held[0] == version is not None:
                values[channel] = held
            elif channel in given:
                earlier = NOTHING
                for one in before:
                    if channel in one.values:
                        earlier = one.values[channel][1]
                values[channel] = version, pack(given[channel], codec, parts, earlier)
        return parts, values

    def _run(self, run_id: object, codec: Codec) -> str:
        return digest(str(run_id).encode("utf-8", "surrogatepass"), self._threads.key(codec))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote after a checkpoint, which need not be there yet.

        The first write of a place stands; special ones (errors, interrupts, …) replace each other.
        """
        if not writes:
            return
        spot, codec = Spot.of(self._root, config), self._codec
        checkpoint_id = str(config["configurable"]["checkpoint_id"])
        parts = Parts(codec, self._threads.key(codec))
        small = PIECE // len(writes)
        new = {
            WRITES_IDX_MAP.get(channel, idx): (
                channel,
                pack(value, codec, parts, small=small).reference,
            )
            for idx, (channel, value) in enumerate(writes)
        }
        held: Seen = ABSENT
        for _ in range(RETRIES):
            names, kept = set(parts.added), {}
            if isinstance(held, Record):
                names.update(held.value.get("parts", ()))
                kept = {write.idx: write for write in writes_of(held, codec)}
            for idx, (channel, reference) in new.items():
                if idx < 0 or idx not in kept:
                    kept[idx] = Write(task_path, task_id, idx, channel, reference)
            put = put_writes(spot, checkpoint_id, list(kept.values()), names, codec, held)
            try:
                self._store.write([put, *parts.puts(spot.parts)])
                return
            except Conflict:
                held = self._store.get(put.namespace, put.key) or ABSENT
        raise busy(spot)

    # -- reading ---------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the latest of its thread and namespace; None
        if there is none."""
        return self._reader.get(Spot.of(self._root, config), get_checkpoint_id(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, the latest first: of a thread and namespace, of a thread (without
        ``checkpoint_ns``), or of all threads (without a config).

        ``filter`` are fields of the metadata and their values. What is yielded was read before,
        some at a time: the caller may write meanwhile.
        """
        for page in self._reader.pages(config, filter, before, limit):
            yield from page

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What DeltaChannels are rebuilt from: per channel the ancestors' writes, oldest first,
        since the nearest ancestor that holds a value, and that value (``seed``), if there is one.
        Raises Conflict if the checkpoint that the config names is not there (any more).
        """
        return self._reader.history(
            Spot.of(self._root, config), get_checkpoint_id(config), channels
        )

    # -- deleting and copying --------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread."""
        self._store.write(self._spot(thread_id).clear())

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs, their writes, and what only they needed; but for
        those that a DeltaChannel of another run's checkpoint is rebuilt from."""
        codec = self._codec
        names = {self._run(run_id, codec) for run_id in run_ids}
        query = Query((*self._root, "states"), {"run": {"$in": sorted(names)}})
        found = [State.of(record, codec) for record in self._store.records(query, PAGE)]
        gone = {state.place for state in found}

        def choose(states: Sequence[State]) -> Sequence[State]:
            return unneeded([s for s in states if s.place not in gone], states, codec)

        for spot in {state.spot._replace(ns=""): None for state in found}:
            Deletion(self._threads, spot, choose, codec).run()

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the checkpoints of threads: ``"keep_latest"`` all but the latest of each
        namespace (and those that its DeltaChannels are rebuilt from), and with a checkpoint the
        subgraphs' runs inside its step; ``"delete"`` all."""
        if strategy not in ("keep_latest", "delete"):
            raise InvalidQuery(f"strategy: {strategy!r}; use 'keep_latest' or 'delete'")
        codec = self._codec
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
            else:
                spot = self._spot(thread_id)
                Deletion(self._threads, spot, lambda all: outdated(all, 1, codec), codec).run()

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread, in one write, to another one."""
        source, target = self._spot(source_thread_id), self._spot(target_thread_id)
        if source != target:
            self._threads.copy(source, target, self._codec)

    def _spot(self, thread_id: str) -> Spot:
        return Spot.of(self._root, {"configurable": {"thread_id": thread_id}})

    def _retain(self, spot: Spot, keep: int, codec: Codec) -> None:
        """Delete what the latest checkpoints of the namespace leave behind."""
        if self._store.count(Query(spot.states, exact=True)) <= keep:
            return
        ns = spot.ns
        Deletion(
            self._threads,
            spot,
            lambda states: outdated(states, keep, codec, ns),
            codec,
            sweep=False,
            soon=None if keep == 1 else lambda states: outdated(states, keep - 1, codec, ns),
        ).run()

    def get_next_version(self, current: Any, channel: None) -> Any:
        """1 after None, and the next one after a number; after a text of another saver's
        (``"00…7.0.123"``) such a text."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.{random.random():016}"  # noqa: S311
        return super().get_next_version(current, channel)

    # -- async twins -----------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """:meth:`get_tuple` for asyncio."""
        return await self._bridge.run(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """:meth:`list` for asyncio."""
        pages = self._reader.pages(config, filter, before, limit)
        while page := await self._bridge.run(next, pages, ()):
            for found in page:
                yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """:meth:`put` for asyncio."""
        return await self._bridge.run(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """:meth:`put_writes` for asyncio."""
        await self._bridge.run(self.put_writes, config, writes, task_id, task_path)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """:meth:`get_delta_channel_history` for asyncio."""
        return await self._bridge.run(
            self.get_delta_channel_history, config=config, channels=channels
        )

    async def adelete_thread(self, thread_id: str) -> None:
        """:meth:`delete_thread` for asyncio."""
        await self._bridge.run(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """:meth:`delete_for_runs` for asyncio."""
        await self._bridge.run(self.delete_for_runs, run_ids)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """:meth:`prune` for asyncio."""
        await self._bridge.run(self.prune, thread_ids, strategy=strategy)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """:meth:`copy_thread` for asyncio."""
        await self._bridge.run(self.copy_thread, source_thread_id, target_thread_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._store!r}>"
