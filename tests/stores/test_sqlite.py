"""SQLite keeps the contract."""

from pathlib import Path
from typing import Any

from lc_memory import Index, Order, Put, Query
from lc_memory.stores.sql import SQLStore
from lc_memory.testing import PropertyContract, StoreContract

LATEST = Order("updated_at", descending=True)


class TestSQLite(StoreContract, PropertyContract):
    def open_store(self, folder: Path, **options: Any) -> SQLStore:
        return SQLStore(f"sqlite:///{folder}/memory.db", **options)

    def test_a_range_that_half_of_all_match_is_not_walked_for_a_page(self, tmp_path: Path) -> None:
        """Counted are SQLite's own instructions, in thousands."""
        with self.open_store(tmp_path, indexes=[Index.of(("docs",), "n")]) as store:
            store.write([Put(("docs",), f"{i:05}", {"n": i}) for i in range(20_000)])
            query = Query(("docs",), {"n": {"$gte": 10_000}}, exact=True, order=LATEST, limit=10)
            counted: list[None] = []
            for _, connection in store._db._connections:  # type: ignore[attr-defined]
                connection.set_progress_handler(lambda: counted.append(None), 1000)
            assert [record.value["n"] for record in store.find(query).records][-1] == 19_990
            assert len(counted) < 30
