"""The checkpoints of threads in a store: writing and deleting them so that no part is lost.

Parts are shared by the checkpoints of a thread. A write that relies on parts which are there, and
a deletion that removes those nobody needs, must not overtake each other, in whatever process. The
thread's *head* keeps them apart. A write is refused unless the head is still the one it knew, and
leaves it as it is. A deletion *closes* the head before it looks: those who knew it before are
refused from then on. Who finds it closed opens it with its own write, and so refuses the deletion,
which begins again; or else the deletion opens it. So nothing waits for a process that was killed.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from lc_memory.errors import Conflict, CorruptStore
from lc_memory.langchain.checkpoint_serde import Codec, frame, unframe
from lc_memory.langchain.checkpoint_state import KINDS, LATEST, Spot, State, Values, label, place
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
    Clear,
    Delete,
    Expect,
    Id,
    Namespace,
    Op,
    Put,
    Query,
    Record,
    Seen,
)
from lc_memory.store import RETRIES, Store

_THREADS: Final = 256  # remembered at once
_STATES: Final = 16  # of each
PAGE: Final = 50
_WRITES: Final = 4
ATTEMPTS: Final = 3  # at what another one is deleting
_CLOSED: Final = {"closed": True}  # a head; an open one is empty

#: A value, and the thread that it belongs to.
Place: TypeAlias = tuple[Spot, Reference]

#: Says of the checkpoints of a thread which ones are to be deleted.
Choice: TypeAlias = Callable[[Sequence[State]], Iterable[State]]


class Earlier(NamedTuple):
    """A stored checkpoint, for the next one to share what it has."""

    place: Id
    values: Values


@dataclass(slots=True)
class Known:
    """What is remembered of a thread: it holds for as long as the head is the one stored."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    head: Seen | None = None
    states: OrderedDict[Id, Earlier] = field(default_factory=OrderedDict)
    last: Id | None = None  # put here; this is a guess at the latest, and may be deleted

    def forget(self) -> None:
        self.head = None
        self.states.clear()

    def remember(self, one: Earlier) -> None:
        self.states[one.place] = one
        if len(self.states) > _STATES:
            self.states.popitem(last=False)


class Threads:
    """The threads of checkpoints under a root namespace."""

    def __init__(self, store: Store, root: Namespace) -> None:
        self.store = store
        self.root = root
        self.shelf = Shelf(store)
        self._known: OrderedDict[Id, Known] = OrderedDict()
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
        made = codec.seal(frame(secrets.token_bytes(32)), place(self._secret))
        try:
            record = self.store.get(*self._secret) or self.store.put(
                *self._secret, {"key": made}, replacing=ABSENT
            )
        except Conflict:  # another process was first
            return self._read_key(codec)
        key: bytes = unframe(codec.open(record.value["key"], place(self._secret)))
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
        """The id of the state that was put here last; None where :meth:`latest` gives the writes,
        and needs no guess."""
        known = None if self.store.capabilities.joined else self._known.get(spot.head)
        last = known and known.last
        return last[1] if last and last[0] == spot.states else None

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

    def thread(self, spot: Spot) -> Known:
        with self._lock:
            head = spot.head
            known = self._known.get(head) or self._known.setdefault(head, Known())
            self._known.move_to_end(head)
            if len(self._known) > _THREADS:
                self._known.popitem(last=False)
        return known

    def begin(self, spot: Spot, known: Known) -> Seen:
        """The thread's head; what is read after it holds if the head is still there later."""
        if known.head is None:
            known.states.clear()
            known.head = self.store.get(*spot.head) or ABSENT
        return known.head

    def recall(self, known: Known, spot: Spot, id: str, codec: Codec) -> Earlier | None:
        """A state of the thread, as it is remembered since :meth:`begin`, or else read. Raises
        Missing."""
        found = known.states.get((spot.states, id))
        if found is None and (state := self.state(spot, id, codec)):
            fetched = self.older(places([state]), codec)
            values = {name: (v, kept(held, fetched)) for name, (v, held) in state.values.items()}
            found = Earlier(state.place, values)
            known.remember(found)
        return found

    def write(
        self, spot: Spot, ops: Sequence[Op], known: Known | None = None, *, closing: bool = False
    ) -> None:
        """Write a batch unless somebody deleted parts since :meth:`begin`: Conflict.

        An open head is only looked at, a closed one is opened; or closed, with ``closing``.
        """
        known = known or self.thread(spot)
        with known.lock:
            head = self.begin(spot, known)
            try:
                if isinstance(head, Record) and not (head.value or closing):
                    self.store.write([*ops, Expect(*spot.head, head)])
                else:
                    put = Put(*spot.head, _CLOSED if closing else {}, replacing=head)
                    known.head = self.store.write([*ops, put])[-1]
            except BaseException:
                known.forget()
                raise

    def delete(self, spot: Spot, choose: Choice, codec: Codec, *, sweep: bool = True) -> None:
        """Delete the chosen checkpoints, their writes, and the parts that nobody needs then.

        Without ``sweep`` only the parts of what is deleted are looked at.
        """
        known = self.thread(spot)
        with known.lock:
            for attempt in range(RETRIES):
                known.forget()
                head = self.begin(spot, known)
                try:
                    if isinstance(head, Record) and not head.value:
                        self.write(spot, [], closing=True)
                    ops = self._deletion(spot, choose, codec, sweep)
                    if ops:
                        self.write(spot, ops)
                        known.states.clear()
                    return
                except Conflict:
                    continue
                except Missing as error:
                    if attempt >= ATTEMPTS:
                        raise damaged(spot, error) from error
        raise busy(spot)

    def _deletion(self, spot: Spot, choose: Choice, codec: Codec, sweep: bool) -> list[Op]:
        states = self.states(spot, codec)
        doomed = {state.place: state for state in choose(states)}
        kept = [state for state in states if state.place not in doomed]
        fetched = self.older(places(states), codec)
        gone = {state.spot.writes(state.id) for state in doomed.values()}
        gone.update(self._late_writes(spot, kept))
        needed = parts_in(kept, fetched) | self._needed_by_writes(spot, gone)
        held = self._held_parts(spot) if sweep else parts_in(doomed.values(), fetched)
        ops: list[Op] = [Delete(*place) for place in doomed]
        ops += [Clear(namespace) for namespace in sorted(gone)]
        return ops + [Delete(spot.parts, name) for name in sorted(held - needed)]

    def _late_writes(self, spot: Spot, kept: Iterable[State]) -> Iterator[Namespace]:
        """Where tasks wrote after their checkpoints were deleted: before the first one kept."""
        first: dict[Namespace, str] = {}
        for state in kept:
            all_writes = state.spot.writes("")[:-1]
            first[all_writes] = min(state.id, first.get(all_writes, state.id))
        for namespace in self.store.namespaces(spot.writes("")[:-2]):
            if namespace[-1] < first.get(namespace[:-1], ""):
                yield namespace

    def copy(self, source: Spot, target: Spot, codec: Codec) -> None:
        """Write everything of one thread to another; the parts keep their names."""
        for _ in range(RETRIES):
            head = self.store.get(*source.head)
            ops = [put for kind in KINDS for put in self._copies(kind, source, target, codec)]
            if self.store.get(*source.head) != head:  # it may have lost parts meanwhile
                continue
            try:
                return self.write(target, ops) if ops else None
            except Conflict:
                continue
        raise busy(source)

    def _copies(self, kind: str, source: Spot, target: Spot, codec: Codec) -> Iterator[Put]:
        at = len(self.root) + 1
        for record in self.store.records(Query((*self.root, kind, label(source.thread))), PAGE):
            start, rest = record.namespace[:at], record.namespace[at + 1 :]
            id = ((*start, label(target.thread), *rest), record.key)
            value = {name: held for name, held in record.value.items() if name != "thread"}
            if kind == "states" and label(target.thread) != target.thread:
                value["thread"] = target.thread
            for name in ("state", "writes"):
                if name in value:
                    value[name] = codec.seal(codec.open(value[name], place(record.id)), place(id))
            yield Put(*id, value)

    def states(self, spot: Spot, codec: Codec) -> list[State]:
        """All states of the thread, whatever their namespace."""
        query = Query(spot.states[:-1])
        return [State.of(record, codec) for record in self.store.records(query, PAGE)]

    def _held_parts(self, spot: Spot) -> set[str]:
        query = Query(spot.parts, exact=True)
        return {record.key for record in self.store.records(query, PAGE)}

    def _needed_by_writes(self, spot: Spot, gone: Collection[Namespace]) -> set[str]:
        query = Query(spot.writes("")[:-2], {"parts": {"$exists": True}})
        return {
            name
            for record in self.store.records(query, PAGE)
            if record.namespace not in gone
            for name in record.value["parts"]
        }


def parts_in(states: Iterable[State], fetched: dict[str, bytes]) -> set[str]:
    """The parts that hold the values of these states; ``fetched`` are their :meth:`older`."""
    return {
        name
        for state in states
        for reference in state.references
        for name in parts_of(reference, fetched)
    }


def places(states: Iterable[State]) -> Iterator[Place]:
    return ((state.spot, reference) for state in states for reference in state.references)


def damaged(spot: Spot, missing: Missing | None) -> CorruptStore:
    return CorruptStore(f"a checkpoint of thread {spot.thread!r} is damaged: no part {missing}")


def busy(spot: Spot) -> Conflict:
    return Conflict(f"thread {spot.thread!r} is changed by others all the time")
