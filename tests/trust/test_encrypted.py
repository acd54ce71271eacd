"""The encrypted store keeps the contract, and nothing of what it holds can be read outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lc_memory.keys import Keyring, NeedKey
from lc_memory.layers.encrypted import Encrypted
from lc_memory.store import Store
from lc_memory.stores.files import FileStore
from lc_memory.stores.sql import SQLStore
from lc_memory.testing import PropertyContract, StoreContract

KEY = b"k" * 32


class OtherPlace(Keyring):
    """Keys in a store of their own, so that the contract sees its own records only."""

    def active(self, user: str) -> tuple[str, AESGCM]:
        try:
            return super().active(user)
        except NeedKey:
            self.provide(user)
            return super().active(user)


class Sealed(Encrypted):
    def close(self) -> None:
        super().close()
        self.keyring.store.close()


def sealed(
    store: Store, folder: Path, fields: list[tuple[str, ...]] | None = None, **options: Any
) -> Store:
    keys = SQLStore(f"sqlite:///{folder}/keys.db", durability="normal")
    over = Sealed(store, OtherPlace(keys, [KEY]), fields)
    over.declare(options.get("indexes", ()))
    return over


class SealedContract(StoreContract):
    def test_a_layer_has_the_last_word_on_what_is_stored(self, store: Store) -> None:
        """It is this layer that has it."""
        store.put(("n",), "k", {"a": 1})
        assert isinstance(store, Encrypted)
        raw = store.inner.get(("n",), "k")
        assert raw is not None
        assert "sealed" in raw.value


class TestWholeValues(SealedContract, PropertyContract):
    examples = 10

    def open_store(self, folder: Path, **options: Any) -> Store:
        clock = options.pop("clock", None)
        return sealed(SQLStore(f"sqlite:///{folder}/m.db", clock=clock), folder, **options)


class TestChosenFields(SealedContract, PropertyContract):
    examples = 10

    def open_store(self, folder: Path, **options: Any) -> Store:
        clock = options.pop("clock", None)
        fields = [("a",), ("text",), ("b", "c"), ("name",)]
        return sealed(SQLStore(f"sqlite:///{folder}/m.db", clock=clock), folder, fields, **options)


class TestFiles(SealedContract):
    def open_store(self, folder: Path, **options: Any) -> Store:
        return sealed(FileStore(f"json:///{folder}/m.json", clock=options.get("clock")), folder)
