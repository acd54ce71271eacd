"""The checkpoints of threads in a store, and what is known of them.

Parts are shared by the checkpoints of a thread. So a write relies on the checkpoint that it
continues, which has all that is shared: it is refused unless that one is still as it was read.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from lc_memory.errors import Conflict, CorruptStore
from lc_memory.langchain.checkpoint_serde import Codec, frame, unframe
from lc_memory.langchain.checkpoint_state import (
    CLOSED,
    KINDS,
    LATEST,
    Spot,
    State,
    Values,
    label,
)
from lc_memory.langchain.checkpoint_values import (
    Missing,
    Reference,
    Shelf,
    kept,
    older_parts,
    parts_of,
)
from lc_memory.records import (
    ABSENT,
    Id,
    Namespace,
    Op,
    Put,
    Query,
    Record,
)
from lc_memory.store import RETRIES, Store

_TIPS: Final = 1024  # remembered at once
PAGE: Final = 50
_WRITES: Final = 4
_USING: Final = "states", "writes"  # the kinds of records that refer to parts
ATTEMPTS: Final = 3  # at what another one is deleting

#: A value, and the thread that it belongs to.
Place: TypeAlias = tuple[Spot, Reference]


class Earlier(NamedTuple):
    """A stored checkpoint, for the next one to share what it has."""

    id: str
    values: Values
    guard: Op  # what a batch that relies on it begins with


class Threads:
    """The threads of checkpoints under a root namespace."""

    def __init__(self, store: Store, root: Namespace) -> None:
        self.store = store
        self.root = root
        self.shelf = Shelf(store)
        self._tips: OrderedDict[Namespace, Earlier] = OrderedDict()
        self._lock = threading.Lock()
        self._secret: Id = (*root, "keys"), "parts"
        self._key: bytes | None = None

    def key(self, codec: Codec) -> bytes:
        """What the digests of parts are made with, so that under encryption they tell nothing."""
        if not codec.encrypts:
            return b""
        if self._key is None:
            self._key = self._read_key(codec)
        return self._key

    def _read_key(self, codec: Codec) -> bytes:
        made = codec.seal(frame(secrets.token_bytes(32)), self._secret)
        try:
            record = self.store.get(*self._secret) or self.store.put(
                *self._secret, {"key": made}, replacing=ABSENT
            )
        except Conflict:  # another process was first
            return self._read_key(codec)
        key: bytes = unframe(codec.open(record.value["key"], self._secret))
        return key

    # -- reading ---------------------------------------------------------------------------

    def namespaces(self, spot: Spot | None = None) -> list[Namespace]:
        """The namespaces that hold states: of all threads, or of one."""
        prefix = (*self.root, "states") if spot is None else spot.states[:-1]
        return self.store.namespaces(prefix)

    def latest(self, spot: Spot, codec: Codec) -> tuple[State, list[Record] | None] | None:
        """The state of the greatest id; with the records of its writes, if that takes no longer."""
        if not self.store.capabilities.joined:
            found = self.store.find(spot.latest).records
            return (State.of(found[0], codec), None) if found else None
        # Of the writes of all checkpoints, the latest ones: seldom are there more.
        among = Query(spot.writes("")[:-1], order=LATEST, limit=_WRITES)
        states, written = self.store.find_many([spot.latest, among])
        if not states.records:
            return None
        state = State.of(states.records[0], codec)
        theirs = [r for r in written.records if r.namespace[-1] == state.id]
        whole = written.cursor is None or written.records[-1].namespace[-1] < state.id
        return state, theirs if whole else None

    def put_last(self, spot: Spot) -> str | None:
        """The id of the state that was put here last: a guess at the latest, which may be deleted.
        None where :meth:`latest` gives the writes, and needs no guess."""
        tip = None if self.store.capabilities.joined else self._tips.get(spot.states)
        return tip and tip.id

    def state(self, spot: Spot, id: str, codec: Codec) -> State | None:
        record = self.store.get(spot.states, id)
        return None if record is None else State.of(record, codec)

    def ancestors(self, state: State, codec: Codec) -> Iterator[State]:
        """The states before this one, the nearest first."""
        seen = {state.id}
        while state.parent is not None and state.parent not in seen:
            seen.add(state.parent)
            before = self.state(state.spot, state.parent, codec)
            if before is None:
                return
            yield before
            state = before

    def older(self, wanted: Iterable[Place], codec: Codec) -> dict[str, bytes]:
        """The parts that say which parts there are. Raises Missing."""
        ids = [(spot.parts, name) for spot, value in wanted for name in older_parts(value)]
        return self.shelf.fetch(codec, ids) if ids else {}

    def fetch(self, wanted: Sequence[Place], codec: Codec) -> dict[str, bytes]:
        """All parts of these values. Raises Missing."""
        older = self.older(wanted, codec)
        ids = [(spot.parts, name) for spot, value in wanted for name in parts_of(value, older)]
        return self.shelf.fetch(codec, ids) if ids else {}

    # -- writing ---------------------------------------------------------------------------

    def recall(self, spot: Spot, id: str, codec: Codec, *, again: bool = False) -> Earlier | None:
        """A state of the thread, as it was put here last, or else (or ``again``) read. Raises
        Missing."""
        tip = self._tips.get(spot.states)
        if tip is not None and tip.id == id and not again:
            return tip
        state = self.state(spot, id, codec)
        if state is None:
            return None
        fetched = self.older(places([state]), codec)
        values = {name: (v, kept(held, fetched)) for name, (v, held) in state.values.items()}
        return Earlier(id, values, state.guard())

    def remember(self, spot: Spot, tip: Earlier) -> None:
        """Have what was put last at hand: mostly it is what is continued next."""
        with self._lock:
            self._tips[spot.states] = tip
            self._tips.move_to_end(spot.states)
            if len(self._tips) > _TIPS:
                self._tips.popitem(last=False)

    def copy(self, source: Spot, target: Spot, codec: Codec) -> None:
        """Write everything of one thread to another; the parts keep their names."""
        for _ in range(RETRIES):
            found = {kind: [*self.records(kind, source)] for kind in KINDS}
            used = [record for kind in _USING for record in found[kind]]
            there = {r.id: r.stamp for kind in _USING for r in self.records(kind, source)}
            if any(there.get(record.id) != record.stamp for record in used):
                continue  # its parts may have been deleted before they were read
            ops = [put for records in found.values() for put in _copies(records, target, codec)]
            if ops:
                self.store.write(ops)
            return
        raise busy(source)

    def records(self, kind: str, spot: Spot) -> Iterator[Record]:
        """What the thread has of a kind, in all of its namespaces."""
        return self.store.records(Query((*self.root, kind, label(spot.thread))), PAGE)


def _copies(records: Iterable[Record], target: Spot, codec: Codec) -> Iterator[Put]:
    """What writes these records of a thread to another one."""
    for record in records:
        at = len(target.root)
        start, kind, rest = record.namespace[:at], record.namespace[at], record.namespace[at + 2 :]
        id = ((*start, kind, label(target.thread), *rest), record.key)
        value = {
            name: held for name, held in record.value.items() if name not in ("thread", CLOSED)
        }
        if kind == "states" and label(target.thread) != target.thread:
            value["thread"] = target.thread
        for name in ("state", "writes"):
            if name in value:
                value[name] = codec.seal(codec.open(value[name], record.id), id)
        yield Put(*id, value)


def places(states: Iterable[State]) -> Iterator[Place]:
    return ((state.spot, reference) for state in states for reference in state.references)


def damaged(spot: Spot, missing: Missing | None) -> CorruptStore:
    return CorruptStore(f"a checkpoint of thread {spot.thread!r} is damaged: no part {missing}")


def busy(spot: Spot) -> Conflict:
    return Conflict(f"thread {spot.thread!r} is changed by others all the time")
