"""For those who write a store: the contract that it must keep, as tests to inherit.

    from lc_memory.testing import StoreContract

    class TestMyStore(StoreContract):
        def open_store(self, folder, **options):
            return MyStore(folder / "data", **options)

A subclass supplies the store and never a test. Needs ``pip install "lc-memory[testing]"``.
"""

from lc_memory.errors import MissingExtra

try:
    from lc_memory.testing.clock import FakeClock as FakeClock
    from lc_memory.testing.contract import StoreContract as StoreContract
    from lc_memory.testing.properties import PropertyContract as PropertyContract
except ImportError as error:
    raise MissingExtra("The contract of stores", "testing") from error

__all__ = ["FakeClock", "PropertyContract", "StoreContract"]
