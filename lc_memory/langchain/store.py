"""LangGraph's long-term memory (``BaseStore``) over a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from itertools import groupby, islice, takewhile
from typing import Any, Final

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidQuery, InvalidValue, Unsupported
from lc_memory.langchain.store_filters import translate
from lc_memory.langchain.sweeper import Sweeper
from lc_memory.records import (
    NEWEST,
    Delete,
    Id,
    Namespace,
    Put,
    Query,
    Record,
    Touch,
    check_namespace,
)
from lc_memory.store import Store

_PAGE: Final = 1000
_NO_INDEX: Final = (
    "query= and index= want recall: open the memory with recall=True (by words) or "
    "recall=Recall(embeddings=…) (also by meaning), or search by filter= alone"
)


class LangGraphStore(BaseStore):
    """Items in namespaces, for LangGraph's ``compile(store=...)`` and for direct use.

    One object serves sync and async callers, from any number of threads and event loops. It is
    over an open memory and lives as long: there is nothing to close.

    **Batches.** Reads see what was there before the batch's writes; the last write of a key
    wins; all writes are one transaction: done together, or not at all and an error.

    **Search** gives the most recently updated items first. Prefixes match whole labels. In
    ``filter`` names are literal top-level fields; a dict is a subset (which may hold operators),
    a list has the same elements in the same order, None equals a missing field; ``$eq $ne $gt
    $gte $lt $lte`` compare numbers as numbers and strings as strings, and different types are
    never greater or less. ``$in $nin $exists $regex $options $size $all $elemMatch $not`` (on
    fields) and ``$and $or $nor`` (around filters) are those of :mod:`lc_memory.filters`, which
    look into lists. ``query`` gives those that are most like it first, each with its ``score``;
    it wants a memory with ``recall=``, else it raises Unsupported. ``index`` says, as in
    LangGraph, which ``fields`` of an item are searched (by default all its strings); its
    ``embed`` must be the memory's own, whose vectors are not mixed with others.

    **TTLs** are minutes, and may be fractions. An item expires that long after it was last
    written or, unless ``refresh_ttl`` or the configuration's ``refresh_on_read`` says no, read.
    An expired item is still found until it is swept, unless ``omit_expired`` is set; reading it
    does not bring it back, and who may not write an item only reads it. Nothing is swept by
    itself: see :meth:`start_ttl_sweeper`.

    Errors: InvalidNamespaceError for a namespace that LangGraph refuses; InvalidValue, naming
    the JSON path, InvalidKey, InvalidFilter, InvalidQuery (each a ValueError).
    """

    supports_ttl = True

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        scope: Namespace = (),
        *,
        ttl: TTLConfig | None = None,
        index: IndexConfig | None = None,
        may_renew: Callable[[Sequence[Id]], Sequence[Id]] = list,
    ) -> None:
        self._fields = _indexed_fields(store, index)
        self.index_config = index
        self.ttl_config = None if ttl is None else ttl.copy()
        config = ttl or TTLConfig()
        store.expiry(config.get("default_ttl"))  # raises now, not at the first put
        self._refresh = config.get("refresh_on_read", True)
        self._see_expired = not config.get("omit_expired", False)
        self._store = store
        self._bridge = bridge
        self._may_renew = may_renew
        self._root = check_namespace((*scope, "store"))
        self._sweeper = Sweeper(store, config.get("sweep_interval_minutes"))

    # -- batches: everything that BaseStore offers comes through here ----------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out several operations; see the class for what a batch is."""
        ops = list(ops)
        writes = self._writes(ops)
        results: list[Result] = [None] * len(ops)
        read: list[Record] = []
        if any(not isinstance(op, PutOp) for op in ops):
            results, read = self._answer(ops)
        self._write(read, writes)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """:meth:`batch` for asyncio. Writes of the same moment share a commit, not a fate."""
        ops = list(ops)
        writes = self._writes(ops)
        results: list[Result] = [None] * len(ops)
        read: list[Record] = []
        if any(not isinstance(op, PutOp) for op in ops):
            results, read = await self._bridge.run(self._answer, ops)
        while read or writes:
            try:
                done = await self._bridge.write([*self._renewals(read), *writes])
            except InvalidValue as error:
                raise _in_users_terms(error) from None
            read, writes = _overtaken(read, done), []
        return results

    def get(
        self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """The item of that key, or None; see the class for ``refresh_ttl``."""
        # A batch of one, without what only batches of several need.
        id = self._namespace(namespace), str(key)
        (record,) = self._store.read([id], expired=self._see_expired)
        if record is None:
            return None
        if "ttl" in record.value and (self._refresh if refresh_ttl is None else refresh_ttl):
            self._write(self._renewable([record]), [])
        return self._item(record)

    def _answer(self, ops: Sequence[Op]) -> tuple[list[Result], list[Record]]:
        """The results of a batch, and the records whose TTLs its reading renews."""
        results: list[Result] = [None] * len(ops)
        gets: list[tuple[int, GetOp]] = []
        read: list[Record] = []
        for place, op in enumerate(ops):
            if isinstance(op, PutOp):
                continue
            if isinstance(op, GetOp):
                gets.append((place, op))
            elif isinstance(op, SearchOp):
                hits = self._recall(op) if op.query else [(r, None) for r in self._search(op)]
                results[place] = [self._found(record, score) for record, score in hits]
                records = [record for record, _ in hits]
                if op.refresh_ttl:
                    read += records
            elif isinstance(op, ListNamespacesOp):
                results[place] = self._list(op)
            else:
                raise InvalidQuery(f"{type(op).__name__} is not an operation of a store")
        if gets:
            ids = [(self._namespace(op.namespace), op.key) for _, op in gets]
            held = self._store.read(ids, expired=self._see_expired)
            for (place, op), record in zip(gets, held, strict=True):
                if record is not None:
                    results[place] = self._item(record)
                    if op.refresh_ttl:
                        read.append(record)
        return results, self._renewable(read)

    # -- writing ---------------------------------------------------------------------------

    def _writes(self, ops: Sequence[Op]) -> list[Put | Delete]:
        """The writes of a batch: the last one of each key."""
        writes: dict[Id, Put | Delete] = {}
        labels: object = object()  # no namespace, whatever is given as one
        for op in ops:
            if isinstance(op, PutOp):
                if op.namespace is not labels:  # batches often have but one
                    labels, namespace = op.namespace, self._namespace(op.namespace)
                key = op.key
                if op.value is None:
                    writes[namespace, key] = Delete(namespace, key)
                else:
                    expires_at = None if op.ttl is None else self._store.expiry(op.ttl)
                    envelope = _envelope(op, self._fields)
                    writes[namespace, key] = Put(namespace, key, envelope, expires_at)
        return list(writes.values())

    def _write(self, read: list[Record], writes: list[Put | Delete]) -> None:
        while read or writes:
            try:
                done = self._store.write([*self._renewals(read), *writes])
            except InvalidValue as error:
                raise _in_users_terms(error) from None
            read, writes = _overtaken(read, done), []

    def _renewable(self, read: Sequence[Record]) -> list[Record]:
        """Those that have a TTL, have not expired, and are the reader's to change, each once."""
        mortal = {record.id: record for record in read if "ttl" in record.value}
        if not mortal:
            return []
        now = self._store.now()
        living = {id: record for id, record in mortal.items() if record.lives_at(now)}
        return [living[id] for id in self._may_renew(list(living))]

    def _renewals(self, read: Sequence[Record]) -> list[Touch]:
        expiry = self._store.expiry
        return [Touch(r.namespace, r.key, expiry(r.value.get("ttl"))) for r in read]

    # -- reading ---------------------------------------------------------------------------

    def _namespace(self, labels: Namespace) -> Namespace:
        if isinstance(labels, str):
            raise InvalidNamespaceError(
                f"Namespace {labels!r} is a string; use a tuple of labels, such as ({labels!r},)."
            )
        return _placed(self._root, tuple(labels))

    def _recall(self, op: SearchOp) -> list[tuple[Record, float | None]]:
        """What is most like the query, best first."""
        from lc_memory.layers.indexed import indexed_in
        from lc_memory.search.asking import Scope, Search

        if indexed_in(self._store) is None:
            raise Unsupported(_NO_INDEX)
        if op.limit < 0 or op.offset < 0:
            raise InvalidQuery("limit and offset are whole numbers from 0 up")
        search = Search(
            str(op.query),
            Scope((self._namespace(op.namespace_prefix),)),
            op.offset + op.limit,
            translate(op.filter) if op.filter else None,
            expired=self._see_expired,
        )
        hits = self._store.search(search)[op.offset :]
        return [(hit.record, hit.score) for hit in hits]

    def _search(self, op: SearchOp) -> list[Record]:
        prefix = self._namespace(op.namespace_prefix)
        query = Query(
            prefix,
            translate(op.filter) if op.filter else None,
            NEWEST,
            op.limit,
            op.offset,
            # The newest of one namespace are found along an index; those of several are sorted.
            exact=self._store.namespaces(prefix, limit=2, expired=self._see_expired) == [prefix],
            expired=self._see_expired,
        )
        return self._store.find(query).records

    def _list(self, op: ListNamespacesOp) -> list[Namespace]:
        validate_op_namespace(op)
        if op.limit < 0 or op.offset < 0:
            raise InvalidQuery("limit and offset are whole numbers from 0 up")
        if op.max_depth is not None and op.max_depth < 0:
            raise InvalidQuery(f"max_depth: {op.max_depth} is not a whole number from 0 up")
        conditions = op.match_conditions or ()
        known = [_known_prefix(condition) for condition in conditions]
        end = op.offset + op.limit
        found = self._namespaces(max(known, key=len, default=()), end)
        if conditions:
            found = (n for n in found if all(_matches(condition, n) for condition in conditions))
        if op.max_depth is not None:
            found = (cut for cut, _ in groupby(n[: op.max_depth] for n in found))
        return list(islice(found, op.offset, end))

    def _namespaces(self, prefix: Namespace, size: int) -> Iterator[Namespace]:
        """The namespaces of items under a prefix, in order; the first ``size`` in one go."""
        after: Namespace | None = None
        below = len(self._root)
        while True:
            page = self._store.namespaces(
                self._namespace(prefix), after=after, limit=size, expired=self._see_expired
            )
            yield from [namespace[below:] for namespace in page]
            if len(page) < size:
                return
            after, size = page[-1], _PAGE

    def _item(self, record: Record) -> Item:
        return Item(
            created_at=record.created_at,  # all that the record was told by is read for it
            updated_at=record.updated_at,
            value=record.value["value"],
            key=record.key,
            namespace=record.namespace[len(self._root) :],
        )

    def _found(self, record: Record, score: float | None) -> SearchItem:
        return SearchItem(
            created_at=record.created_at,
            updated_at=record.updated_at,
            value=record.value["value"],
            key=record.key,
            namespace=record.namespace[len(self._root) :],
            score=score,
        )

    # -- expiry ----------------------------------------------------------------------------

    def sweep_ttl(self) -> int:
        """Delete what has expired, in the whole memory; returns how many records that were."""
        return self._store.sweep()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Sweep now and then, in a thread of its own, until stopped.

        The interval, in minutes, is by default the configuration's ``sweep_interval_minutes``,
        else 5. Returns a future that is done when the sweeper has ended (with AccessDenied, where
        sweeping everything is an administrator's); cancelling it stops the sweeper. If one is
        running, it goes on, and its future is returned. It also ends when the memory is closed,
        or this object is not used any more.
        """
        return self._sweeper.start(sweep_interval_minutes)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the sweeper and wait for its end, for at most that many seconds (None: however
        long). Returns whether it has ended; True if none was running."""
        return self._sweeper.stop(timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._store!r}>"


@lru_cache(maxsize=4096)
def _placed(root: Namespace, labels: Namespace) -> Namespace:
    """The labels under the root, as plain strings, if LangGraph allows them."""
    validate_op_namespace(GetOp(labels, ""))
    return (*root, *(str.__str__(label) for label in labels))


def _envelope(op: PutOp, fields: list[str] | None) -> dict[str, Any]:
    """What is stored of an item: besides its value, what its TTL and its index are made of."""
    if not isinstance(op.value, (dict, Mapping)):  # dict: sooner
        raise InvalidValue("$", f"a {type(op.value).__name__}, not an object (a dict)")
    envelope: dict[str, Any] = {"value": op.value}
    if op.ttl is not None:
        envelope["ttl"] = op.ttl
    if op.index is not None:
        if op.index is not False and not _are_fields(op.index):
            raise InvalidValue("index", f"{op.index!r} is not False or a list of field paths")
        envelope["index"] = op.index
    elif fields is not None:
        envelope["index"] = fields
    return envelope


def _indexed_fields(store: Store, index: IndexConfig | None) -> list[str] | None:
    """The fields of items that a configuration says are searched; None: all."""
    if index is None:
        return None
    from lc_memory.layers.indexed import indexed_in

    layer = indexed_in(store)
    if layer is None:
        raise Unsupported(_NO_INDEX)
    embed = index.get("embed")
    if embed is not None:
        layer.check_embeddings(embed, index.get("dims"))
    fields = index.get("fields")
    if fields is not None and not _are_fields(fields):
        raise InvalidValue("index.fields", f"{fields!r} is not a list of field paths")
    return None if fields is None or list(fields) == ["$"] else list(fields)


def _are_fields(index: object) -> bool:
    return isinstance(index, (list, tuple)) and all(isinstance(field, str) for field in index)


def _overtaken(read: Sequence[Record], done: Sequence[Record | None]) -> list[Record]:
    """The records that were given a TTL which, meanwhile, is theirs no more."""
    pairs = zip(read, done, strict=False)  # after the renewals come the other writes' results
    return [now for seen, now in pairs if now and now.value.get("ttl") != seen.value.get("ttl")]


def _in_users_terms(error: InvalidValue) -> InvalidValue:
    """The error with the path in the user's value, not in the envelope."""
    reason = str(error).removeprefix(f"{error.path}: ")
    return type(error)("$" + error.path.removeprefix("$.value"), reason)


def _known_prefix(condition: MatchCondition) -> Namespace:
    """The labels that a namespace must begin with to meet the condition."""
    kind, path = condition
    if kind not in ("prefix", "suffix"):
        raise InvalidQuery(f"match type {kind!r}: use 'prefix' or 'suffix'")
    if isinstance(path, str):
        raise InvalidQuery(f"{kind}: {path!r} is a string; use a tuple, such as ({path!r},)")
    return tuple(takewhile(lambda label: label != "*", path)) if kind == "prefix" else ()


def _matches(condition: MatchCondition, labels: Namespace) -> bool:
    kind, path = condition
    if len(labels) < len(path):
        return False
    part = labels[: len(path)] if kind == "prefix" else labels[len(labels) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
