"""One record put by one message to MongoDB, without reading it first.

The write is guarded: it happens only if what it was made from is still so. If not, the store reads
the record and tries again. What was not met before is taken for new, or read first, as was right
for the one before it.
"""

from __future__ import annotations

from typing import Final

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from lc_memory.records import ABSENT, Id, Put, Record
from lc_memory.rows import Row, Step, settle
from lc_memory.store import Clock
from lc_memory.stores.mongo_client import is_collision
from lc_memory.stores.mongo_documents import Document, document_of, name_of
from lc_memory.stores.mongo_filters import alive, just

_MOST: Final = 10_000  # records that are remembered


class Singles:
    """Puts what the caller has seen, what must be new, and what was written here before."""

    def __init__(self, records: Collection[Document], clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._known: dict[Id, Row] = {}  # without their values, as far as we know
        self.expects_new = True  # of a record that is not known

    def remember(self, row: Row) -> None:
        """This is how the record was written."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[row[:2]] = row._replace(text="")

    def put(self, step: Step) -> Record | None:
        """Carry out a Put; None if the record must be read for it."""
        assert isinstance(step.op, Put)
        seen = step.op.replacing
        held = self._known.pop(step.id, None)
        if seen is ABSENT:
            held = None
        elif isinstance(seen, Record):
            held = Row.of(seen, "")
        elif held is None and not self.expects_new:
            return None
        if held is not None:  # whether it has expired is for the server to say
            held = held._replace(expires=None)
        tick = self._clock.ticks(1)
        row, record = settle(step, held, tick, self._clock.now())
        assert row is not None
        if not self._swapped(held, row):
            self._clock.release(tick, 1)
            return None
        self.remember(row)
        return record

    def _swapped(self, held: Row | None, row: Row) -> bool:
        """Write the row, if what is stored is still the one that is held."""
        try:
            if held is None:
                self._records.insert_one(document_of(row))
                return True
            same = {
                "_id": name_of(row[:2]),
                "version": just(held.version),
                "created_at": just(held.created),
                "updated_at": just(held.updated),
                "owner": just(held.owner),
                **alive(self._clock.now()),
            }
            return self._records.replace_one(same, document_of(row)).matched_count == 1
        except OperationFailure as error:
            if is_collision(error):
                return False
            raise
