"""Encryption: AES-256-GCM for each record, with a data key per user.

What is stored of a value is

    {"sealed": "<key id>.<base64>", "index": {"d1f…": ["<digest>"]}, "open": {…}}

``index`` holds keyed digests of declared fields, for equality; ``open`` stands there only when
chosen fields are sealed instead of whole values, and holds the rest. Namespace, key, version,
times and owner of the record, the digests and the open part are associated data: a sealed value
opens in its own place only.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson
from cryptography.exceptions import InvalidTag

from lc_memory import values
from lc_memory.errors import AccessDenied, Conflict, CorruptStore, Unsupported
from lc_memory.filters import And, Equal, In, Node, Or, Path, Where, reach
from lc_memory.jobs.parts import UNDER_LAYERS
from lc_memory.keys import KEYS, Keyring, NeedKey, Source
from lc_memory.layers.base import SYSTEM, Layer, find_through
from lc_memory.layers.settings import SETTINGS
from lc_memory.records import (
    Append,
    Clear,
    Delete,
    Id,
    Namespace,
    Op,
    Page,
    Put,
    Query,
    Record,
    Restore,
    State,
    Touch,
    Value,
)
from lc_memory.rows import Row
from lc_memory.store import Index, Outcome, Store

if TYPE_CHECKING:
    from lc_memory.layers.stack import Stack

#: What must be read before anything can be opened, or by who has no key: nothing in it is a
#: user's.
PLAIN: Final = (SETTINGS, KEYS, *UNDER_LAYERS)
_NONCE: Final = 12


class Encryption:
    """``memory.encryption``: changing keys, online and resumable. Needs the right ``admin`` on
    everything, where access control is on."""

    def __init__(self, stack: Stack, principal: str | None) -> None:
        stack.require(principal, "admin", ())
        if stack.keyring is None:
            raise Unsupported("this store is not encrypted: open a new one with encryption_key=")
        self._stack = stack
        self._principal = principal
        self._keyring = stack.keyring
        assert isinstance(stack.sealed, Encrypted)
        self._layer = stack.sealed

    def rotate_master(self, new: Source) -> int:
        """Change the master key; no record is rewritten. See
        :meth:`lc_memory.keys.Keyring.rotate_master`."""
        count = self._keyring.rotate_master(new)
        self._stack.tell(self._principal, "admin", KEYS, detail="master key changed")
        return count

    def rotate(self, user: str = "") -> int:
        """Change a user's data key (without a user: the store's own) and seal their records anew.

        Records may be read and written meanwhile; versions and times stay. An interrupted change
        is finished by calling it again. Returns how many records were sealed anew. Old keys are
        deleted once no record needs them and no process can still be writing with them: at the
        earliest by a later call.
        """
        self._keyring.rotate(user)
        self._keyring.provide(user)
        count = self._layer.reseal(user)
        self._stack.tell(self._principal, "admin", KEYS, user or None, detail="data key changed")
        self.sweep()
        return count

    def sweep(self) -> int:
        """Delete the data keys that no record is sealed with any more, those of forgotten users
        above all; returns how many. A key stays for ten minutes after it was replaced, because
        other processes may still write with it."""
        count = self._keyring.retire(self._layer.used())
        if count:
            self._stack.tell(self._principal, "admin", KEYS, detail=f"{count} data keys deleted")
        return count


class Encrypted(Layer):
    """Seals every value, or with ``fields`` only those fields of every value. Strings in
    declared fields (:meth:`declare`) can be asked for by equality in the store itself."""

    rank: ClassVar[int] = 70

    def __init__(
        self,
        inner: Store,
        keyring: Keyring,
        fields: Iterable[Path] | None = None,
    ) -> None:
        super().__init__(inner)
        self.keyring = keyring
        self.fields = None if fields is None else _outermost(fields)
        self._digests: list[tuple[Index, str]] = []

    def declare(self, indexes: Sequence[Index]) -> None:
        """Declare the fields as they are stored: the digests of those that are sealed."""
        stored: list[Index] = []
        for index in indexes:
            if self._is_sealed(index.path):
                name = self.keyring.digest_name(".".join(index.path))
                self._digests.append((index, name))
                stored.append(Index(index.namespace, ("index", name)))
            else:
                stored.append(Index(index.namespace, ("open", *index.path)))
        self.inner.declare(stored)

    # -- writing ---------------------------------------------------------------------------

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        return [self._sealed(op) for op in ops]

    def _sealed(self, op: Op) -> Op:
        namespace = op.namespace
        if namespace in ((SYSTEM, *PLAIN) if isinstance(op, Clear) else (KEYS,)):
            raise AccessDenied(f"{'/'.join(namespace)!r} holds what opens the store")
        if isinstance(op, Put | Append | Touch | Restore) and namespace not in PLAIN:
            return op._replace(seal=self._seal)
        return op

    def leave(self, ops: Sequence[Op], results: list[Record | None]) -> list[Record | None]:
        if not any(isinstance(op, Delete | Touch) for op in ops):
            return results
        return [
            self._lift(record) if record is not None and isinstance(op, Delete | Touch) else record
            for op, record in zip(ops, results, strict=False)
        ]

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        while True:
            try:
                return super().write(ops)
            except NeedKey as need:  # the keys cannot be fetched inside the store's transaction
                self.keyring.provide(need.user)

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        outcomes = super().write_many(batches)
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, NeedKey):
                try:
                    outcomes[place] = self.write(batches[place])
                except Exception as error:  # noqa: BLE001 - it is the batch's outcome
                    outcomes[place] = error
        return outcomes

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        found = self.inner.read(ids, expired=expired)
        return [None if record is None else self._lift(record) for record in found]

    def states(self, ids: Sequence[Id]) -> list[State | None]:
        return self.inner.states(ids)

    def find(self, query: Query) -> Page:
        return find_through(self.inner, query, self._weaker(query), self._lift)

    def count(self, query: Query | None = None) -> int:
        if query is None or query.node is None:
            return self.inner.count(query)
        return Store.count(self, query)

    def _weaker(self, query: Query) -> Node | None:
        """What of the filter can be asked of the stored form."""
        if query.node is None or not query.prefix or query.prefix[:1] == SYSTEM:
            return None
        digests = {
            index.path: name
            for index, name in self._digests
            if query.exact and index.covers(query.prefix)
        }
        return _weaker(query.node, digests, self.fields, self.keyring.digest)

    # -- changing keys ---------------------------------------------------------------------

    def reseal(self, user: str) -> int:
        """Seal a user's records with their active key; returns how many were not."""
        active, _ = self.keyring.active(user)
        count = 0
        for record in self._of(user):
            if record.value["sealed"].startswith(f"{active}."):
                continue
            count += self._seal_again(record)
        return count

    def used(self) -> set[str]:
        """The keys that records are sealed with."""
        return {record.value["sealed"].partition(".")[0] for record in self._sealed_ones()}

    def _of(self, user: str) -> Iterable[Record]:
        """A user's records as they are stored."""
        return (r for r in self._sealed_ones() if user_of(r.namespace, r.owner) == user)

    def _sealed_ones(self) -> Iterable[Record]:
        for record in self.inner.records(Query(expired=True)):
            if record.namespace not in PLAIN and "sealed" in record.value:
                yield record

    def _seal_again(self, record: Record) -> bool:
        try:
            self.write([Restore(self._lift(record), replacing=record)])
        except Conflict:  # written meanwhile, and so sealed with a key of now
            return False
        return True

    # -- one record ------------------------------------------------------------------------

    def _seal(self, row: Row, held: Row | None) -> str:
        user = user_of(row.namespace, row.owner)
        id, cipher = self.keyring.active(user)
        text = row.text if held is None else self._opened_text(held)
        stored: Value = {}
        secret = text
        if self.fields is not None:
            whole = values.decode(text)
            hidden = [
                [place, _take(whole, place)]
                for field in self.fields
                for place in list(_places(whole, field))
            ]
            stored["open"] = whole
            secret = values.encode({"fields": hidden})
        index = self._index(row.namespace, text)
        if index:
            stored["index"] = index
        nonce = os.urandom(_NONCE)
        data = secret.encode("utf-8", "surrogatepass")
        box = nonce + cipher.encrypt(nonce, data, _context(row, id, stored))
        stored["sealed"] = f"{id}.{base64.b64encode(box).decode()}"
        return values.encode(stored)

    def _index(self, namespace: Namespace, text: str) -> Value:
        covering = [pair for pair in self._digests if pair[0].covers(namespace)]
        if not covering:
            return {}
        value = values.decode(text)
        return {
            name: sorted({self.keyring.digest(name, s) for s in _strings(value, index.path)})
            for index, name in covering
        }

    def _is_sealed(self, path: Path) -> bool:
        return self.fields is None or any(path[: len(field)] == field for field in self.fields)

    def _lift(self, record: Record) -> Record:
        if record.namespace in PLAIN:
            return record
        row = Row.of(record, "")
        return replace(record, value=values.decode(self._opened(row, record.value)))

    def _opened_text(self, row: Row) -> str:
        return self._opened(row, values.decode(row.text))

    def _opened(self, row: Row, stored: Value) -> str:
        """The value as JSON text. Raises CorruptStore."""
        stored = dict(stored)
        sealed = stored.pop("sealed", None)
        place = "/".join((*row.namespace, row.key))
        if not isinstance(sealed, str) or "." not in sealed:
            raise CorruptStore(f"{place}: not encrypted, and everything in this store must be")
        id, _, text = sealed.partition(".")
        cipher = self.keyring.cipher(user_of(row.namespace, row.owner), id)
        try:
            box = base64.b64decode(text, validate=True)
            context = _context(row, id, stored)
            opened = cipher.decrypt(box[:_NONCE], box[_NONCE:], context)
        except (InvalidTag, binascii.Error, ValueError):
            raise CorruptStore(
                f"{place}: does not open: it was changed, or moved from another place"
            ) from None
        plain = opened.decode("utf-8", "surrogatepass")
        if "open" not in stored:
            return plain
        whole = stored["open"]
        for path, value in reversed(values.decode(plain)["fields"]):
            _give(whole, path, value)
        return values.encode(whole)


def user_of(namespace: Namespace, owner: str | None) -> str:
    """Whose data key seals a record: the user's of its scope, else its owner's, else the store's
    own (an empty name, which no user can have)."""
    if len(namespace) > 1 and namespace[0] == "users":
        return namespace[1]
    return owner or ""


def _context(row: Row, id: str, rest: Value) -> bytes:
    """The associated data: everything of the record that is not sealed."""
    parts = [row.namespace, row.key, row.version, row.created, row.updated, row.expires, row.owner]
    return orjson.dumps(["lc_memory 1", id, *parts]) + (values.sort_key(rest) if rest else b"")


def _weaker(
    node: Node,
    digests: dict[Path, str],
    fields: tuple[Path, ...] | None,
    digest: Callable[[str, str], str],
) -> Node | None:
    """A filter on the stored form that lets every match through, or None."""
    if isinstance(node, And | Or):
        parts = [_weaker(child, digests, fields, digest) for child in node.nodes]
        known = tuple(part for part in parts if part is not None)
        if isinstance(node, And):
            return And(known) if known else None
        return Or(known) if len(known) == len(parts) else None
    if not isinstance(node, Where) or node.exact:
        return None
    if fields is not None and not any(_overlap(node.path, field) for field in fields):
        return replace(node, path=("open", *node.path))
    name = digests.get(node.path)
    wanted = node.test.values if isinstance(node.test, In) else None
    if isinstance(node.test, Equal):
        wanted = (node.test.value,)
    if name is None or wanted is None or not all(type(item) is str for item in wanted):
        return None
    # None: a record that was sealed before the field was declared has no digest, and may match.
    sought = (*(digest(name, item) for item in wanted), None)
    return Where(("index", name), In(sought))


def _overlap(path: Path, field: Path) -> bool:
    """Whether the path may lead into the field, or to what it is in; through arrays too."""
    plain = tuple(name for name in path if not (name.isascii() and name.isdigit()))
    return any(
        one[: min(len(one), len(field))] == field[: min(len(one), len(field))]
        for one in (path, plain)
    )


def _outermost(fields: Iterable[Path]) -> tuple[Path, ...]:
    """The fields, without those that lie in another one of them."""
    paths = dict.fromkeys(fields)
    return tuple(p for p in paths if not any(p[:size] in paths for size in range(1, len(p))))


def _strings(value: Value, path: Path) -> Iterable[str]:
    for found in reach(value, path):
        for item in found if type(found) is list else [found]:
            if type(item) is str:
                yield item


def _places(value: Any, path: Path, before: tuple[str | int, ...] = ()) -> Iterator[list[Any]]:
    """Every place in the value to which the path leads, through arrays."""
    if type(value) is list and path:
        for number, item in enumerate(value):
            yield from _places(item, path, (*before, number))
    elif not path:
        yield list(before)
    elif type(value) is dict and path[0] in value:
        yield from _places(value[path[0]], path[1:], (*before, path[0]))


def _take(value: Any, place: Sequence[Any]) -> Any:
    for name in place[:-1]:
        value = value[name]
    taken, value[place[-1]] = value[place[-1]], None  # its place stays: fields have an order
    return taken


def _give(value: Any, place: Sequence[Any], item: Any) -> None:
    for name in place[:-1]:
        value = value[name]
    value[place[-1]] = item
