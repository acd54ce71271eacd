"""The audit log's layer: an entry for everything that a principal reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from lc_memory.audit import AUDIT, Item, Trail
from lc_memory.errors import AccessDenied, CommitUnknown, Unsupported
from lc_memory.layers.base import SYSTEM, Layer, asked
from lc_memory.records import (
    Append,
    Clear,
    Expect,
    Id,
    Limits,
    Namespace,
    Op,
    Page,
    Put,
    Query,
    Record,
    Restore,
)
from lc_memory.rows import prepare
from lc_memory.store import Outcome, Store

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit, Search


class Audited(Layer):
    """Tells a trail of every operation of one principal.

    The entry of a write is committed with it; the entry of a read before the answer is given. An
    entry that cannot be written is an error: nothing happens that is not on record.
    """

    rank: ClassVar[int] = 30

    def __init__(self, inner: Store, trail: Trail, principal: str | None) -> None:
        super().__init__(inner)
        if not inner.capabilities.atomic:
            raise Unsupported("an audit log needs a store that writes several records at once")
        self._trail = trail
        self._principal = principal

    # -- reading ---------------------------------------------------------------------------

    def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        for namespace, _ in ids:
            _keep_out(namespace)
        records = self.inner.read(ids, expired=expired)
        found = sum(record is not None for record in records)
        self._tell("read", [("read", n, k, None) for n, k in ids], f"{found} found")
        return records

    def find(self, query: Query) -> Page:
        _keep_out(query.prefix, query.within)
        page = self.inner.find(query)
        items: list[Item] = [("read", r.namespace, r.key, None) for r in page.records]
        self._tell("find", [("find", query.prefix, None, None), *items], f"{len(items)} found")
        return page

    def search(self, search: Search) -> list[Hit]:
        hits = self.inner.search(search)
        items: list[Item] = [("search", prefix, None, None) for prefix in search.scope.prefixes]
        items += [("read", hit.record.namespace, hit.record.key, None) for hit in hits]
        self._tell("search", items, f"{len(hits)} found")
        return hits

    def count(self, query: Query | None = None) -> int:
        query = query or Query()
        _keep_out(query.prefix, query.within)
        count = self.inner.count(query)
        self._tell("count", [("count", query.prefix, None, None)], f"{count} counted")
        return count

    def namespaces(
        self,
        prefix: Namespace = (),
        *,
        after: Namespace | None = None,
        limit: int | None = None,
        expired: bool = False,
    ) -> list[Namespace]:
        if prefix:
            _keep_out(prefix)
        found = self.inner.namespaces(prefix, after=after, limit=limit, expired=expired)
        self._tell("namespaces", [("namespaces", prefix, None, None)], f"{len(found)} found")
        return found

    def _tell(self, action: str, items: Sequence[Item], outcome: str) -> None:
        self._trail.record(self._principal, action, items, outcome)

    # -- writing ---------------------------------------------------------------------------

    def write(self, ops: Sequence[Op]) -> list[Record | None]:
        result = self.write_many([ops])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        """Each batch goes with its entry, on a chain of its own; what was refused is told after."""
        if len(batches) > 1 and not all(map(_is_sound, batches)):
            return Store.write_many(self, batches)  # one's fault is not the others'
        prepared = [self._prepared(ops) for ops in batches]
        chains = [self._trail.begin() for _ in batches]
        told = [
            self._trail.entries(chain, self._principal, action, items, "done")
            for chain, (_, action, items) in zip(chains, prepared, strict=True)
        ]
        entered = [
            [*spared, *entries]
            for (spared, _, _), (entries, _, _) in zip(prepared, told, strict=True)
        ]
        outcomes: list[Outcome] = []
        try:
            outcomes = self.inner.write_many(entered)
        finally:
            for place, chain in enumerate(chains):
                met = outcomes[place] if outcomes else CommitUnknown("interrupted")
                if isinstance(met, CommitUnknown):
                    self._trail.end(chain, None, "")
                elif isinstance(met, Exception):
                    self._trail.end(chain, chain.number, chain.hash)
                else:
                    self._trail.end(chain, *told[place][1:])
        results: list[Outcome] = []
        for ops, sent, (_, action, items), met in zip(
            batches, entered, prepared, outcomes, strict=True
        ):
            if isinstance(met, Exception):
                try:
                    self._tell(action, items, type(met).__name__)
                except Exception as error:  # noqa: BLE001 - what the write met is what counts
                    met.add_note(f"and it could not be put on record: {error}")
                results.append(met)
            else:
                results.append(asked(ops, sent, met))
        return results

    def _prepared(self, ops: Sequence[Op]) -> tuple[list[Op], str, list[Item]]:
        items = [self._item(op) for op in ops if not isinstance(op, Expect)]
        actions = {item[0] for item in items}
        action = actions.pop() if len(actions) == 1 else "batch"
        return list(ops), action, items

    def _item(self, op: Op) -> Item:
        action = "admin" if op.namespace[:2] == (*SYSTEM, "access") else type(op).__name__.lower()
        _keep_out(op.namespace)
        if isinstance(op, Clear):
            return action, op.prefix, None, None
        if isinstance(op, Restore):
            record = op.record
            return action, record.namespace, record.key, self._trail.digest(record.value)
        if isinstance(op, Put | Append):
            key = op.key if isinstance(op, Put) else None
            return action, op.namespace, key, self._trail.digest(op.value)
        return action, op.namespace, op.key, None

    def sweep(self) -> int:
        swept = self.inner.sweep()
        self._tell("sweep", [], f"{swept} deleted")
        return swept


def _is_sound(ops: Sequence[Op]) -> bool:
    """Whether a digest can be made of all that is written."""
    try:
        prepare(ops)
    except Exception:  # noqa: BLE001 - what it was, the store will say
        return False
    return True


def _keep_out(namespace: Namespace, within: Limits | None = None) -> None:
    """Raise AccessDenied for what reaches into the log."""
    reached = within.prefixes if within is not None and namespace in ((), SYSTEM) else [namespace]
    if any(place[: len(AUDIT)] == AUDIT or place in ((), SYSTEM) for place in reached):
        raise AccessDenied("the audit log is out of reach; read it through memory.audit")
