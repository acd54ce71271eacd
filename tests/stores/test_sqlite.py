"""SQLite keeps the contract."""

from pathlib import Path
from typing import Any

from lc_memory.stores.sql import SQLStore
from lc_memory.testing import PropertyContract, StoreContract


class TestSQLite(StoreContract, PropertyContract):
    def open_store(self, folder: Path, **options: Any) -> SQLStore:
        return SQLStore(f"sqlite:///{folder}/memory.db", **options)
