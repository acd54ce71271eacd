"""For those who write a store: the contract that it must keep, as tests to inherit.

    from lc_memory.testing import StoreContract

    class TestMyStore(StoreContract):
        def open_store(self, folder, **options):
            return MyStore(folder / "data", **options)

A subclass supplies the store and never a test. Needs ``pip install "lc-memory[testing]"``.
"""

from lc_memory.testing.clock import FakeClock as FakeClock
from lc_memory.testing.contract import StoreContract as StoreContract
from lc_memory.testing.properties import PropertyContract as PropertyContract

__all__ = ["FakeClock", "PropertyContract", "StoreContract"]
