"""How the values of channels are kept, so that checkpoints share what they have in common.

Small values stand in the checkpoint's own record. Larger ones are *parts*, records of their own
that are named by a digest of what they hold. A list is cut into chunks of consecutive items; a
longer list, made by appending, keeps the chunks and adds to their end:

    record of the checkpoint    [chunk 19 kB] [chunk 3 kB] [chunk 384] item item
                                     └ a part      └ a part     └ a part  └ in the record itself

When the items at the end have come to a chunk, or seven chunks to the next size, they become one.
So an item is written once for each of the few sizes, whatever the length of the list, and a list
is read in as many parts as it has sizes, and one more for each 19 kB. Where items are changed,
removed or added further ahead, their chunk is written anew, and those after it are found again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from lc_memory.errors import CorruptStore
from lc_memory.langchain.checkpoint_serde import Codec, digest, frame, unframe
from lc_memory.records import Namespace, Put
from lc_memory.store import Store

#: Where a value is kept, first the kind: ``["value", kind, bytes]`` here; ``["parts", kind,
#: digests]`` in the parts put together; ``["list", older, chunks, last]``: see :func:`pack`;
#: ``["delta", reference]``: a snapshot of a DeltaChannel.
Reference: TypeAlias = list[Any]

#: How many items, how many bytes, and the digests of the parts: several for a very large one, none
#: for one that is still to be written.
Chunk: TypeAlias = tuple[int, int, Sequence[str]]

#: What dumps the items of a list from one place to another.
Dump: TypeAlias = Callable[[int, int], bytes]

SMALL: Final = 768  # bytes that stand in the checkpoint's record
_FAN: Final = 7  # so many chunks of a size become one of the next
_GRADES: Final = 2
_FULL: Final = SMALL // 2 * _FAN**_GRADES  # a chunk of so many bytes is left as it is
PIECE: Final = 1 << 20  # the most bytes of one part: databases have limits
_LISTED: Final = 8  # so many chunks, up to a full one, are named by a part, not in the record
_CACHED: Final = 16 << 20  # bytes
_NEAR: Final = 1024  # so many places are looked at for a chunk that moved


class Missing(Exception):
    """A part is not there (any more)."""


class Kept(NamedTuple):
    """A value that is kept, as the next checkpoint must know it to share its parts."""

    reference: Reference
    parts: Sequence[str] = ()  # all that hold it
    chunks: Sequence[Chunk] = ()  # of a list


#: Before the first one.
NOTHING: Final = Kept([])


class Parts:
    """The parts of one thread: those that are there, and those that a write adds. ``at_hand``
    gives the bytes of those that need not be read."""

    def __init__(
        self,
        codec: Codec,
        key: bytes,
        known: Collection[str] = (),
        at_hand: Callable[[str], bytes | None] = lambda name: None,
    ) -> None:
        self.codec = codec
        self.key = key
        self.known = known
        self.added: dict[str, bytes] = {}
        self.at_hand = at_hand

    def hold(self, data: bytes, digests: Sequence[str]) -> bool:
        """Whether the bytes are those of these parts, which are there."""
        if len(digests) == 1 and (held := self.at_hand(digests[0])) is not None:
            return held == data  # it is quicker to compare than to make a digest
        return [name for name, _ in self._named(data)] == [*digests]

    def add(self, data: bytes) -> Sequence[str]:
        """Have the bytes kept; returns the digests of the parts that hold them."""
        digests = []
        for name, piece in self._named(data):
            if name not in self.known:
                self.added[name] = piece
            digests.append(name)
        return digests

    def _named(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            yield digest(piece, self.key), piece

    def puts(self, namespace: Namespace) -> list[Put]:
        """What writes the added ones."""
        return [
            Put(namespace, name, {"part": self.codec.seal(data, name)})
            for name, data in self.added.items()
        ]


class Shelf:
    """Reads parts, and keeps the latest ones at hand: what a digest names never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.at_hand: Final = self._kept.get  # the bytes of a part, if they need not be read
        self._size = 0
        self._lock = threading.Lock()

    def fetch(self, codec: Codec, wanted: Iterable[tuple[Namespace, str]]) -> dict[str, bytes]:
        """The bytes of the parts, by their digests. Raises Missing if one is not there."""
        found: dict[str, bytes] = {}
        absent: dict[str, Namespace] = {}
        with self._lock:
            for namespace, name in wanted:
                kept = self._kept.get(name)
                if kept is None:
                    absent[name] = namespace
                else:
                    self._kept.move_to_end(name)
                    found[name] = kept
        if absent:
            ids = [(namespace, name) for name, namespace in absent.items()]
            for id, record in zip(ids, self._store.read(ids), strict=True):
                if record is None:
                    raise Missing(id[1])
                found[id[1]] = codec.open(record.value["part"], id[1])
            self.keep({name: found[name] for name in absent})
        return found

    def keep(self, parts: Mapping[str, bytes]) -> None:
        """Have these at hand; the least recently used make room."""
        with self._lock:
            for name, data in parts.items():
                if len(data) <= _CACHED // 16 and name not in self._kept:
                    self._kept[name] = data
                    self._size += len(data)
            while self._size > _CACHED:
                self._size -= len(self._kept.popitem(last=False)[1])


# -- writing -----------------------------------------------------------------------------------


def pack(
    value: Any, codec: Codec, parts: Parts, before: Kept = NOTHING, small: int = SMALL
) -> Kept:
    """Where the value is kept; ``before`` is what it was, whose parts are there, and ``small`` is
    how many bytes may stand in the record."""
    if type(value) is _DeltaSnapshot:
        if before.reference[:1] == ["delta"]:
            before = before._replace(reference=before.reference[1])
        inner = pack(value.value, codec, parts, before, small)
        return inner._replace(reference=["delta", inner.reference])
    if type(value) is list:
        return _pack_list(value, codec, parts, before, small)
    kind, data = codec.dump(value)
    if len(data) <= small:
        return Kept(["value", kind, data])
    digests = parts.add(data)
    return Kept(["parts", kind, digests], digests)


def _pack_list(items: list[Any], codec: Codec, parts: Parts, before: Kept, small: int) -> Kept:
    dump, length = codec.dumper(items), len(items)
    whole = dump(0, length)
    if len(whole) <= small:
        return Kept(["list", None, [], whole])
    chunks, start, at = _as_before(before.chunks, whole, length, parts)
    if len(chunks) == len(before.chunks):  # what follows them is new
        last = _head(length - start) + whole[at:]
        if chunks and len(last) <= small and before.reference[0] == "list":
            return Kept([*before.reference[:3], last], before.parts, before.chunks)
    else:
        changed, start = _cut_again(before.chunks[len(chunks) :], start, length, dump, parts)
        chunks += changed
        last = dump(start, length)
    if len(last) > small:
        start = _cut_end(chunks, start, length, dump, small)
        last = dump(start, length)
    made: list[Chunk] = []
    names: list[str] = []
    end = 0
    for chunk in chunks:
        start, end = end, end + chunk[0]
        if not chunk[2]:
            data = dump(start, end)
            chunk = chunk[0], len(data), parts.add(data)
        made.append(chunk)
        names += chunk[2]
    older, cut = None, 0
    if len(made) >= _LISTED:
        till = len(made)
        while till and _grade(made[till - 1][1]) < _GRADES:
            till -= 1
        cut = till // _LISTED * _LISTED
    if cut:
        older = parts.add(frame(made[:cut]))
        names += older
    return Kept(["list", older, made[cut:], last], names, made)


def _as_before(
    before: Sequence[Chunk], whole: bytes, length: int, parts: Parts
) -> tuple[list[Chunk], int, int]:
    """The chunks that a list of that length still begins with, and where they end: at which item,
    and at which byte of the whole, in which the items follow each other."""
    chunks: list[Chunk] = []
    start, at = 0, len(_head(length))
    for chunk in before:
        head = _head(chunk[0])
        end = at + chunk[1] - len(head)
        if not parts.hold(head + whole[at:end], chunk[2]):
            break
        chunks.append(chunk)
        start, at = start + chunk[0], end
    return chunks, start, at


def _head(count: int) -> bytes:
    """What msgpack begins a list of so many items with
    (https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family)."""
    if count < 16:
        return (0x90 + count).to_bytes()
    return b"\xdc" + count.to_bytes(2) if count < 1 << 16 else b"\xdd" + count.to_bytes(4)


def _cut_again(
    before: Sequence[Chunk], start: int, length: int, dump: Dump, parts: Parts
) -> tuple[list[Chunk], int]:
    """Chunks of the list from ``start`` on, where it was cut before, and where they end."""
    chunks: list[Chunk] = []
    seek = True
    for place, (count, _, digests) in enumerate(before):
        end = start + count
        data = dump(start, end)
        same = parts.hold(data, digests)
        if seek and not same and place + 1 < len(before):
            moved = _moved(before[place + 1], start, end, length, dump, parts)
            seek = moved is not None  # else too much has changed
            if moved is not None and moved != end:
                end, data = moved, dump(start, moved)
                if len(data) > 2 * _FULL:  # many were added
                    middle = (start + end + 1) // 2
                    chunks.append((middle - start, len(dump(start, middle)), ()))
                    start, data = middle, dump(middle, end)
        if end > length:
            break
        if end > start:
            chunks.append((end - start, len(data), digests if same else ()))
        start = end
    return chunks, start


def _moved(chunk: Chunk, start: int, end: int, length: int, dump: Dump, parts: Parts) -> int | None:
    """Where a chunk begins now that began at ``end``, if items between ``start`` and it were
    removed, added or changed; None if that cannot be told."""
    count, _, digests = chunk
    data = parts.at_hand(digests[0]) if len(digests) == 1 else None
    if data is None:
        return None
    head = len(_head(count))
    near: Iterable[int] = (end, *range(start, min(2 * end - start, start + _NEAR)))
    few = min(count, 15)  # one item, of a list of numbers, is soon found where it is not
    for at in near:
        if at < length and all(data.startswith(dump(at, at + n)[1:], head) for n in (1, few)):
            return at
    return None


def _cut_end(chunks: list[Chunk], start: int, length: int, dump: Dump, small: int) -> int:
    """Make chunks of the items from ``start`` on, but for the last ones, which may yet change and
    stay in the record; where these begin."""
    end, sizes = start, [len(dump(at, at + 1)) - 1 for at in range(start, length)]
    size = sum(sizes)
    while size > small:
        held = 0
        while size > small // 2 and held < max(_FULL, small):
            added = sizes[end - length]
            held, size, end = held + added, size - added, end + 1
        chunks.append((end - start, len(_head(end - start)) + held, ()))
        start = end
        for grade in range(_GRADES):
            _merge(chunks, grade)
    return start


def _merge(chunks: list[Chunk], grade: int) -> None:
    """Make one of the last chunks if there are enough of a size, or if the very last one is larger
    than those before it."""
    larger = _grade(chunks[-1][1]) > grade
    first, found = len(chunks) - larger, 0
    while first and (this := _grade(chunks[first - 1][1])) <= grade:
        first, found = first - 1, found + (this == grade)
    last = chunks[first:]
    if found >= _FAN or (larger and len(last) > 1):
        count = sum(chunk[0] for chunk in last)
        items = sum(size - len(_head(each)) for each, size, _ in last)
        chunks[first:] = [(count, len(_head(count)) + items, ())]


def _grade(size: int) -> int:
    """Which of the sizes a chunk is of, from 0 to _GRADES (full)."""
    return (size >= _FULL // _FAN) + (size >= _FULL)


# -- reading -----------------------------------------------------------------------------------


def chunks_of(reference: Reference | None, fetched: Mapping[str, bytes]) -> list[Chunk]:
    """The chunks of a list; of anything else none."""
    if reference is None or reference[0] not in ("list", "delta"):
        return []
    if reference[0] == "delta":
        return chunks_of(reference[1], fetched)
    _, older, chunks, _ = reference
    known = [] if older is None else unframe(b"".join(fetched[name] for name in older))
    return [*known, *chunks]


def older_parts(reference: Reference) -> list[str]:
    """The parts that must be fetched before one can tell which others there are."""
    if reference[0] == "delta":
        return older_parts(reference[1])
    return reference[1] or [] if reference[0] == "list" else []


def parts_of(reference: Reference, fetched: Mapping[str, bytes]) -> Iterator[str]:
    """All parts that hold a value; ``fetched`` has its :func:`older_parts`."""
    if reference[0] == "delta":
        yield from parts_of(reference[1], fetched)
        return
    if reference[0] == "parts":
        yield from reference[2]
    yield from older_parts(reference)
    for _, _, digests in chunks_of(reference, fetched):
        yield from digests


def kept(reference: Reference, fetched: Mapping[str, bytes]) -> Kept:
    """What was read of a value, as :func:`pack` gave it; ``fetched`` has its older parts."""
    return Kept(reference, [*parts_of(reference, fetched)], chunks_of(reference, fetched))


def unpack(reference: Reference, codec: Codec, fetched: Mapping[str, bytes]) -> Any:
    """The value, from its parts."""
    match reference:
        case ["value", kind, data]:
            return codec.load((kind, data))
        case ["parts", kind, digests]:
            return codec.load((kind, b"".join(fetched[name] for name in digests)))
        case ["delta", inner]:
            return _DeltaSnapshot(unpack(inner, codec, fetched))
        case ["list", _, _, last]:
            value: list[Any] = []
            for _, _, digests in chunks_of(reference, fetched):
                value += codec.load_all(b"".join(fetched[name] for name in digests))
            return value + codec.load_all(last if type(last) is bytes else frame(last))
    raise CorruptStore(f"a checkpoint holds a value of form {reference[0]!r}: not ours")
