"""Moving to another store while others go on writing: copied, caught up with, verified.

    with memory.migrate_to("postgresql://…") as move:
        print(move.estimate())  # reads a sample, changes nothing
        move.run()              # copies, and follows the writers; may be interrupted and repeated
        …                       # stop the writers
        move.finish()           # the last changes, and every record compared
        …                       # let the writers go on with the new store; look whether all is well
        move.confirm()          # or move.rollback(), which brings what was written since back

The source is only read, until a rollback. How far it got is kept in the target, so that any
process can go on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from lc_memory import values
from lc_memory.errors import MigrationError
from lc_memory.jobs.migrate import (
    MARKER,
    PAGE,
    Migration,
    Summary,
    begun,
    belonging,
    carry,
    copy_pages,
    digest_of,
)
from lc_memory.jobs.parts import STAYS_BEHIND, belongs, joined, staying
from lc_memory.jobs.progress import Progress, shown, silent
from lc_memory.jobs.rights import Rights
from lc_memory.records import Delete, Namespace, Op, Order, Query, Record, Restore, Value
from lc_memory.store import Store

#: Writers' clocks may differ by so much, and so long may a write be under way.
_OVERLAP: Final = timedelta(minutes=2)
#: Following the writers ends when a round finds no more changes than these.
_FEW: Final = 100
_ROUNDS: Final = 10
_LATEST: Final = Order("updated_at", descending=True)
_SAMPLE: Final = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a move would take: records, bytes of values as JSON, and seconds of reading both
    stores and writing one, judged by a sample that was read."""

    records: int
    bytes: int
    seconds: float


class Move:
    """A move of everything under the prefix. Use it in a ``with`` block, or close it.

    ``phase`` is ``"new"``, ``"copying"``, ``"following"``, ``"finished"``, or where a rollback was
    interrupted, ``"rolling back"`` (it takes changes back) or ``"emptying"`` (the target).
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        prefix: Namespace = (),
        *,
        owns_target: bool = False,
        progress: Progress | None = None,
        rights: tuple[Rights, Rights] | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.prefix = prefix
        self._name = "live " + "/".join(prefix)
        self._owns_target = owns_target
        self._progress = progress
        self._tell = progress or silent
        #: What the layers of the source and of the target have to say.
        self._from, self._into = rights or (Rights(), Rights())

    @property
    def phase(self) -> str:
        marker = self.target.get(*MARKER)
        return "new" if marker is None else str(marker.value.get("phase", "another"))

    def estimate(self) -> Estimate:
        """Read a sample of the source, and judge; nothing is changed."""
        total = self.source.count(Query(self.prefix, expired=True))
        began = time.perf_counter()
        sample = self.source.find(Query(self.prefix, limit=_SAMPLE, expired=True)).records
        size = sum(len(values.encode(record.value)) for record in sample)
        seconds = time.perf_counter() - began
        share = total / max(1, len(sample))
        # Read to copy, and twice to compare; writing takes some four times as long as reading.
        return Estimate(total, int(size * share), round(seconds * share * 7, 1))

    def run(self) -> int:
        """Copy what is not copied yet, then follow the writers until little is left to do.

        Returns how many changes were carried over after the copying. Raises MigrationError if the
        target holds other records, or another copy into it is unfinished.
        """
        self._put_on_record("copying")
        now = self.source.now()
        state = begun(
            self.target, self.prefix, False, self._name, _moves, phase="copying", since=now
        )
        if state["phase"] == "finished":
            raise MigrationError("the move is finished: confirm() it, or rollback()")
        if state["phase"] in ("rolling back", "emptying"):
            raise MigrationError("the move is being rolled back: call rollback() again")
        total = self.source.count(Query(self.prefix, expired=True))
        copy_pages(
            self.source, self.target, self.prefix, state, self._tell, total, _moves, self._admitted
        )
        if state["phase"] == "copying":
            self._save(state | {"phase": "following"})
        changes = self._align(self.source, self.target)
        for _ in range(_ROUNDS):
            carried = self._follow()
            changes += carried
            if carried <= _FEW:
                break
        return changes

    def finish(self) -> Migration:
        """Carry over the last changes and compare every record, while nobody writes.

        This reads both stores once. Raises MigrationError, with everything still in place, if
        the source is written meanwhile: stop the writers, and call it again. Called once more it
        takes what came late to the source; raises MigrationError if the target is in use already.
        """
        state = self._state("following", "finished")
        if state["phase"] == "finished":
            for record in self._changed_since(state["finished"], self.target, self.source):
                raise MigrationError(
                    f"the target was written since it was finished ({'/'.join(record.namespace)}), "
                    "and finishing again would undo that: confirm() the move, or rollback()"
                )
        self._put_on_record("finishing")
        with self._watched("Comparing"):
            return self._finish()

    def _finish(self) -> Migration:
        self._follow()
        self._align(self.source, self.target)
        summary = Summary()
        late = self._align(self.source, self.target, only_look=True, summary=summary)
        if late:
            raise MigrationError(
                f"{late} records changed while they were compared: somebody still writes to "
                "the source; stop that, and call finish() again"
            )
        state = self._state("following", "finished")
        self._save(state | {"phase": "finished", "finished": self.source.now()})
        return summary.migration(verified=True)

    def confirm(self) -> None:
        """The target is the memory from now on; the source is left as it is."""
        self._state("finished")
        self._into.tell("move", self.prefix, "confirmed")
        self.target.delete(*MARKER)
        self._from.tell("move", self.prefix, "confirmed")

    def rollback(self, *, take_back: bool = True) -> int:
        """Undo the move: the target is emptied, and the source goes on as before.

        After :meth:`finish`, what was written to the target since is taken back to the source
        first (``take_back=False``: it is dropped); returns how many changes that were. Stop the
        writers for it; if it is interrupted, call it again before they go on. Raises
        MigrationError, changing nothing, if the source was written since.
        """
        state = self._state("copying", "following", "finished", "rolling back", "emptying")
        changes = 0
        if state["phase"] in ("finished", "rolling back") and take_back:
            for record in self._changed_since(
                state["finished"], self.source, self.target, state["phase"] == "rolling back"
            ):
                raise MigrationError(
                    f"the source was written after the move too ({'/'.join(record.namespace)}); "
                    "rollback(take_back=False) goes on with the source, and drops what the target "
                    "got since"
                )
            self._save(state | {"phase": "rolling back"})
            self._into.tell("move", self.prefix, "taking back")
            changes = self._align(self.target, self.source)
        self._save(state | {"phase": "emptying"})  # from now on the target tells nothing
        kept = [record for record in staying(self.target, STAYS_BEHIND) if record.id != MARKER]
        self.target.restore(lambda: [] if self.prefix else kept, [self.prefix])
        self.target.delete(*MARKER)
        self._put_on_record(f"rolled back, {changes} changes taken back")
        return changes

    def close(self) -> None:
        """Close the target, if it was opened for the move. The move may go on later."""
        if self._owns_target:
            self.target.close()

    # -- inside ----------------------------------------------------------------------------

    def _put_on_record(self, step: str) -> None:
        """Tell both audit logs. (Between finishing and a rollback only the target's: nobody may
        write to the source then.)"""
        for side in (self._from, self._into):
            side.tell("move", self.prefix, step)

    def _admitted(self, record: Record) -> Restore:
        """What brings a record into the target. Raises InvalidDocument."""
        self._into.check(record)
        return Restore(record)

    @contextmanager
    def _watched(self, title: str) -> Iterator[None]:
        with shown(title) as bar:
            self._tell = self._progress or bar
            yield

    def _state(self, *phases: str) -> Value:
        marker = self.target.get(*MARKER)
        if marker is None or marker.value["name"] != self._name:
            raise MigrationError("no such move has begun into this target; run() it first")
        if marker.value["phase"] not in phases:
            raise MigrationError(
                f"the move is {marker.value['phase']}; this wants it {' or '.join(phases)}"
            )
        return marker.value

    def _save(self, state: Value) -> None:
        self.target.put(*MARKER, state)

    def _changed_since(
        self, when: datetime, store: Store, other: Store, came_back: bool = False
    ) -> Iterator[Record]:
        """What was written to a store, or deleted from it, after a moment at which the other was
        the same."""
        yield from self._written_since(when, store, other, came_back)
        now = store.now()
        left, right = (belonging(each, self.prefix, _moves) for each in (store, other))
        for mine, theirs in joined(left, right):
            # What has expired may have been swept, which is no deletion.
            if mine is None and theirs and theirs.updated_at <= when and theirs.lives_at(now):
                yield theirs

    def _written_since(
        self, when: datetime, store: Store, other: Store, came_back: bool = False
    ) -> Iterator[Record]:
        """What a store got after a moment, and the other does not hold as it is (or, if some
        ``came_back`` from there, later)."""
        cursor: str | None = None
        while True:
            query = Query(self.prefix, order=_LATEST, limit=PAGE, cursor=cursor, expired=True)
            page = store.find(query)
            news = [r for r in page.records if r.updated_at > when and _moves(r.namespace)]
            there = other.read([record.id for record in news], expired=True)
            for new, old in zip(news, there, strict=True):
                if new != old and not (came_back and old and old.updated_at >= new.updated_at):
                    yield new
            if page.cursor is None or page.records[-1].updated_at <= when:
                return
            cursor = page.cursor

    def _follow(self) -> int:
        """Carry over what was written since the last time, the latest first."""
        state = self._state("following", "finished")
        began = self.source.now()
        since = state["since"] - _OVERLAP
        carried = 0
        cursor: str | None = None
        while True:
            query = Query(self.prefix, order=_LATEST, limit=PAGE, cursor=cursor, expired=True)
            page = self.source.find(query)
            news = [r for r in page.records if r.updated_at >= since and _moves(r.namespace)]
            copies = self.target.read([record.id for record in news], expired=True)
            changed = [new for new, old in zip(news, copies, strict=True) if new != old]
            ops = [self._admitted(record) for record in changed]
            if ops:
                carry(self.target, ops, state)
            carried += len(ops)
            if page.cursor is None or page.records[-1].updated_at < since:
                break
            cursor = page.cursor
        self._save(state | {"since": began})
        return carried

    def _align(
        self,
        source: Store,
        target: Store,
        *,
        only_look: bool = False,
        summary: Summary | None = None,
    ) -> int:
        """Make the target what the source is, walking through both; how much was different."""
        different = done = 0
        waiting: list[Op] = []

        def flush() -> None:
            if waiting and not only_look:
                if target.capabilities.atomic:
                    target.write(waiting)
                else:
                    for op in waiting:
                        target.write([op])
            waiting.clear()

        left, right = (belonging(store, self.prefix, _moves) for store in (source, target))
        for mine, theirs in joined(left, right):
            done += 1
            if done % PAGE == 0:
                self._tell(done, 0)
            if summary is not None and mine is not None:
                summary.add(mine)
            if mine is not None and theirs is not None and digest_of(mine) == digest_of(theirs):
                continue
            id = (mine or theirs).id  # type: ignore[union-attr]  # one of the two is
            now = source.read([id], expired=True)[0]  # it may have changed since its page was read
            there = target.read([id], expired=True)[0]
            if now is None and there is None:
                continue
            if now is not None and there is not None and digest_of(now) == digest_of(there):
                continue
            different += 1
            if now is None:
                waiting.append(Delete(*id))
            else:
                waiting.append(self._admitted(now) if target is self.target else Restore(now))
            if len(waiting) >= PAGE:
                flush()
        flush()
        return different

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Move of {self.source!r} to {self.target!r}>"


def _moves(namespace: Namespace) -> bool:
    return belongs(namespace, STAYS_BEHIND)
