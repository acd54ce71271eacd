"""The records that checkpoints are kept in: where they lie, and what they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata

from lc_memory.errors import InvalidKey
from lc_memory.langchain.checkpoint_serde import Codec, Dumped, digest, frame, unframe
from lc_memory.langchain.checkpoint_values import Kept, Reference
from lc_memory.records import (
    Clear,
    Expect,
    Id,
    Namespace,
    Op,
    Order,
    Put,
    Query,
    Record,
    Seen,
)

#: The kinds of records that a thread has.
KINDS: Final = ("states", "writes", "parts")

#: Of which DeltaChannels a checkpoint does not hold the values: a field of its metadata.
COUNTERS: Final = "counters_since_delta_snapshot"

#: A field of states that are closed: see :mod:`checkpoint_threads`.
CLOSED: Final = "closed"

#: The greatest id first.
LATEST: Final = Order("key", descending=True)

#: The values of a checkpoint's channels: of which version each is, and how it is kept.
Values: TypeAlias = Mapping[str, tuple[Any, Kept]]

#: What a record calls the thread and its namespace, where the labels are digests of them.
_NAMES: Final = "thread", "ns"

_LONGEST: Final = 128  # bytes of a label; there are to be several in a namespace


class _Named(NamedTuple):
    root: Namespace
    thread: str
    ns: str


class Spot(_Named):
    """A thread, and a namespace of checkpoints in it."""

    @classmethod
    def of(cls, root: Namespace, config: RunnableConfig) -> Spot:
        """Where the config points to. Raises InvalidKey if it names no thread."""
        named = config.get("configurable", {})
        if named.get("thread_id") is None:
            raise InvalidKey("config: give {'configurable': {'thread_id': ...}}")
        return _known_spot(root, str(named["thread_id"]), str(named.get("checkpoint_ns") or ""))

    @cached_property
    def states(self) -> Namespace:
        return (*self.root, "states", label(self.thread), label(self.ns))

    @cached_property
    def latest(self) -> Query:
        """What asks for the state of the greatest id."""
        return Query(self.states, exact=True, order=LATEST, limit=1)

    @cached_property
    def parts(self) -> Namespace:
        return (*self.root, "parts", label(self.thread))

    def writes(self, checkpoint_id: str) -> Namespace:
        return (*self.root, "writes", label(self.thread), label(self.ns), checkpoint_id)

    def config(self, checkpoint_id: str) -> RunnableConfig:
        named = {"thread_id": self.thread, "checkpoint_ns": self.ns, "checkpoint_id": checkpoint_id}
        return {"configurable": named}

    def clear(self) -> list[Op]:
        """The batch that deletes the whole thread."""
        return [Clear((*self.root, kind, label(self.thread))) for kind in KINDS]


#: The spot of these names, as it was made before: it knows its namespaces.
_known_spot: Final = lru_cache(maxsize=4096)(Spot)


@lru_cache(maxsize=4096)
def label(name: str) -> str:
    """The name as a label of namespaces; a digest stands for what no store could keep."""
    try:
        fits = len(name.encode()) <= _LONGEST and "\0" not in name and name[:1] != "#"
    except UnicodeEncodeError:  # half of a surrogate pair
        fits = False
    return name if fits else "#" + digest(name.encode("utf-8", "surrogatepass"))


class State(NamedTuple):
    """A checkpoint as it is stored: the values of its channels are references."""

    spot: Spot
    id: str
    parent: str | None
    checkpoint: Dumped | dict[str, Any]  # plain data stands as it is
    metadata: Dumped | dict[str, Any]
    values: Mapping[str, tuple[Any, Reference]]  # the version and the value, by channel
    record: Record

    @property
    def place(self) -> Id:
        return self.spot.states, self.id

    @property
    def closed(self) -> bool:
        """Whether somebody is about to delete it: see :mod:`checkpoint_threads`."""
        return CLOSED in self.record.value

    def close(self) -> Op:
        """What says so."""
        return Put(*self.place, {**self.record.value, CLOSED: True}, replacing=self.record)

    def guard(self) -> Op:
        """What a batch that relies on this state begins with: it is there, and not closed."""
        if not self.closed:
            return Expect(*self.place, self.record)
        value = {name: held for name, held in self.record.value.items() if name != CLOSED}
        return Put(*self.place, value, replacing=self.record)

    @property
    def references(self) -> Iterable[Reference]:
        return (reference for _, reference in self.values.values())

    @property
    def snapshots(self) -> set[str]:
        """The channels whose values here are snapshots of DeltaChannels."""
        return {channel for channel, (_, kept) in self.values.items() if kept[0] == "delta"}

    def read_metadata(self, codec: Codec) -> CheckpointMetadata:
        metadata: CheckpointMetadata = codec.load(self.metadata)
        return metadata

    @classmethod
    def of(cls, record: Record, codec: Codec) -> State:
        *root, _, thread, ns = record.namespace
        named = record.value.get("thread", thread), record.value.get("ns", ns)
        spot = _known_spot(tuple(root), *named)
        data = codec.open(record.value["state"], record.id)
        checkpoint, metadata, parent, values = unframe(data)
        return cls(spot, record.key, parent, checkpoint, metadata, values, record)


def put_state(
    spot: Spot,
    id: str,
    parent: str | None,
    checkpoint: Mapping[str, Any],
    metadata: CheckpointMetadata,
    values: Values,
    codec: Codec,
    run: str | None,
    held: Seen | None,
) -> Put:
    """What stores a checkpoint, given without its values, in the place of what is held; ``run``
    is a name of the run it belongs to."""
    references = {channel: (version, kept.reference) for channel, (version, kept) in values.items()}
    data = codec.framed((checkpoint, metadata, parent, references))
    if data is None:
        data = frame((codec.dump(checkpoint), codec.dump(metadata), parent, references))
    value: dict[str, Any] = {"state": codec.seal(data, (spot.states, id))}
    names, labels = (spot.thread, spot.ns), spot.states[-2:]
    if names != labels:
        told = zip(_NAMES, names, labels, strict=True)
        value.update({field: name for field, name, label in told if name != label})
    if run is not None:
        value["run"] = run
    return Put(spot.states, id, value, None, held)


class Write(NamedTuple):
    """A pending write as it is stored."""

    path: str
    task: str
    idx: int
    channel: str
    reference: Reference


def put_writes(
    spot: Spot,
    checkpoint_id: str,
    writes: Sequence[Write],
    parts: Collection[str],
    codec: Codec,
    held: Seen,
) -> Put:
    """What stores the writes of one task in the place of those that are held; ``parts`` are
    those that hold the large ones."""
    task = writes[0].task
    id = spot.writes(checkpoint_id), label(task)
    data = frame([(path, idx, channel, kept) for path, _, idx, channel, kept in writes])
    value: dict[str, Any] = {"writes": codec.seal(data, id)}
    if label(task) != task:
        value["task"] = task
    if parts:
        value["parts"] = sorted(parts)
    return Put(*id, value, replacing=held)


def writes_of(record: Record, codec: Codec) -> list[Write]:
    """The writes that a record holds."""
    task = record.value.get("task", record.key)
    held = unframe(codec.open(record.value["writes"], record.id))
    return [Write(path, task, idx, channel, kept) for path, idx, channel, kept in held]
