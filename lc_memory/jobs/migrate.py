"""Moving everything from one store to another: streamed, resumable, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

from lc_memory import values
from lc_memory.errors import Conflict, MigrationError
from lc_memory.jobs.parts import OURS
from lc_memory.jobs.progress import Progress, silent
from lc_memory.records import ABSENT, Namespace, Op, Put, Query, Record, Restore, Value
from lc_memory.store import Store

#: Where the target keeps how far the copying is, until it is done.
MARKER: Final[tuple[Namespace, str]] = (("lc_memory", "migrations"), "unfinished")

#: Records a batch.
PAGE: Final = 500


def users(namespace: Namespace) -> bool:
    """Whether the records of a namespace are users', and not the library's own."""
    return namespace[:1] != (OURS,)


@dataclass(frozen=True, slots=True)
class Migration:
    """What was copied (or, in a dry run, would be): records, and bytes of values as JSON."""

    records: int
    bytes: int
    verified: bool
    digest: str


def migrate(
    source: Store,
    target: Store,
    *,
    prefix: Namespace = (),
    dry_run: bool = False,
    merge: bool = False,
    name: str = "",
    progress: Progress | None = None,
    ending: Callable[[], None] = lambda: None,
) -> Migration:
    """Copy every record under the prefix, verbatim: values, versions, times, expiries, owners.

    The copy goes page by page, and each page is committed together with how far it got: after a
    crash the same call goes on from there. The library's own records (settings, keys, grants)
    are each store's own, and not copied. At the end every record is compared, by digest, in
    both stores. The source is only read; it should not be written meanwhile. ``dry_run`` counts
    and changes nothing. ``name`` says what is copied, so that another unfinished copy is noticed;
    ``ending`` is what else belongs to it: it is called when all was compared, before the copy
    counts as finished.

    Raises MigrationError if the target holds other records under the prefix (unless ``merge``,
    which overwrites and leaves the others), if another copy into it is unfinished, or if the
    comparison finds a difference.
    """
    if dry_run:
        return counted(source, prefix, progress)
    total = source.count(Query(prefix, expired=True))
    tell = progress or silent
    state = begun(target, prefix, merge, name)
    copy_pages(source, target, prefix, state, tell, total)
    copied = belonging(target, prefix)
    if merge:
        copied = _same_ids(source, target, prefix)
    result = _compared(belonging(source, prefix), copied, total, tell)
    ending()
    target.delete(*MARKER)
    return result


def counted(source: Store, prefix: Namespace, progress: Progress | None = None) -> Migration:
    """What a copy would take: a dry run, which needs no target."""
    total = source.count(Query(prefix, expired=True))
    return _summed(belonging(source, prefix), total, progress or silent, verified=False)


def copy_pages(
    source: Store,
    target: Store,
    prefix: Namespace,
    state: Value,
    tell: Progress,
    total: int,
    wanted: Callable[[Namespace], bool] = users,
    admitted: Callable[[Record], Op] = Restore,
) -> None:
    """Copy page by page from where the state says, and commit each with how far it got."""
    while not state["copied"]:
        cursor = state["cursor"]
        page = source.find(Query(prefix, limit=PAGE, cursor=cursor, expired=True))
        done = state["done"] + len(page.records)
        state |= {"cursor": page.cursor, "done": done, "copied": page.cursor is None}
        carry(target, [admitted(r) for r in page.records if wanted(r.namespace)], state)
        tell(done, max(done, total))


def carry(target: Store, ops: Sequence[Op], state: Value) -> None:
    """Write to the target, together with the state."""
    marker = Put(*MARKER, state)
    if target.capabilities.atomic:
        target.write([*ops, marker])
    else:  # one by one; copying a record again changes nothing
        for op in (*ops, marker):
            target.write([op])


def begun(
    target: Store,
    prefix: Namespace,
    merge: bool,
    name: str,
    wanted: Callable[[Namespace], bool] = users,
    **more: Any,
) -> Value:
    """Where to begin, or to go on from after an interruption."""
    marker = target.get(*MARKER)
    if marker is not None:
        if marker.value["name"] != name:
            raise MigrationError(
                f"an unfinished copy of {marker.value['name']!r} is in the target; finish it, or "
                f"give it up: open_store(…).delete{MARKER!r}"
            )
        return marker.value
    if not merge and any(True for _ in belonging(target, prefix, wanted)):
        raise MigrationError(
            f"the target holds records already{' under ' + '/'.join(prefix) if prefix else ''}; "
            "use an empty one, or merge=True to overwrite those of the same id"
        )
    state = {"name": name, "cursor": None, "done": 0, "copied": False, **more}
    try:
        return target.put(*MARKER, state, replacing=ABSENT).value
    except Conflict as error:
        raise MigrationError("another copy into the target has just begun") from error


def belonging(
    store: Store, prefix: Namespace, wanted: Callable[[Namespace], bool] = users
) -> Iterator[Record]:
    """The records that are copied."""
    query = Query(prefix, expired=True)
    return (record for record in store.records(query, PAGE) if wanted(record.namespace))


def _same_ids(source: Store, target: Store, prefix: Namespace) -> Iterator[Record]:
    """The target's records of the source's ids."""
    cursor: str | None = None
    while True:
        page = source.find(Query(prefix, limit=PAGE, cursor=cursor, expired=True))
        ids = [record.id for record in page.records if users(record.namespace)]
        yield from (record for record in target.read(ids, expired=True) if record)
        if page.cursor is None:
            return
        cursor = page.cursor


def _compared(
    left: Iterator[Record], right: Iterator[Record], total: int, tell: Progress
) -> Migration:
    def both() -> Iterator[Record]:
        for mine, copied in zip_longest(left, right):
            if mine is None or copied is None or digest_of(mine) != digest_of(copied):
                place = "/".join((*(mine or copied).namespace, (mine or copied).key))
                raise MigrationError(f"{place!r} is not the same in both stores; copy it again")
            yield mine

    return _summed(both(), total, tell, verified=True)


def _summed(records: Iterator[Record], total: int, tell: Progress, *, verified: bool) -> Migration:
    summary = Summary()
    for record in records:
        summary.add(record)
        if summary.count % PAGE == 0:
            tell(summary.count, total)
    return summary.migration(verified=verified)


class Summary:
    """What the records that were added come to."""

    def __init__(self) -> None:
        self.count = self.size = 0
        self._digest = hashlib.sha256()

    def add(self, record: Record) -> None:
        self._digest.update(digest_of(record))
        self.count += 1
        self.size += len(values.encode(record.value))

    def migration(self, *, verified: bool) -> Migration:
        return Migration(self.count, self.size, verified, self._digest.hexdigest())


def digest_of(record: Record) -> bytes:
    """A digest of everything that a record is."""
    rest = repr(replace(record, value={}))
    return hashlib.sha256((rest + values.encode(record.value)).encode("utf-8")).digest()
