"""The reference store keeps its own contract."""

from pathlib import Path
from typing import Any

from lc_memory.stores.memory import MemoryStore
from lc_memory.testing import StoreContract


class TestMemoryStore(StoreContract):
    def open_store(self, folder: Path, **options: Any) -> MemoryStore:
        return MemoryStore(**options)
