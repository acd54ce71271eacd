"""The layers of one memory: which there are, in which order, and for whom."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lc_memory.errors import WrongKey
from lc_memory.layers.base import SYSTEM, Layer
from lc_memory.layers.settings import change_setting, read_settings
from lc_memory.store import Index, Store

if TYPE_CHECKING:
    from lc_memory.keys import Keyring, Source

#: Where the encryption key comes from if none is given.
KEY_VARIABLE: Final = "LC_MEMORY_ENCRYPTION_KEY"


class Stack:
    """Puts the layers in order over one store, for each handle of a memory.

    ``store`` is the store itself. A handle's own store (:meth:`handle`) is the outermost; when a
    layer is added later, every handle has it from then on.
    """

    def __init__(
        self,
        store: Store,
        *,
        encryption_key: Source | list[Source] | None = None,
        encrypt_fields: Sequence[str] | None = None,
        indexes: Sequence[Index] = (),
    ) -> None:
        self.store = store
        self.settings = read_settings(store)
        self.sealed: Store = store
        self.keyring: Keyring | None = None
        if encryption_key is None:
            encryption_key = os.environ.get(KEY_VARIABLE)
        if encryption_key is not None or "encryption" in self.settings:
            self._encrypt(encryption_key, encrypt_fields)
        elif encrypt_fields is not None:
            raise TypeError("encrypt_fields needs an encryption_key")
        if indexes:
            self.sealed.declare(indexes)
        self._handles: weakref.WeakKeyDictionary[Layer, str | None] = weakref.WeakKeyDictionary()

    def handle(self, principal: str | None) -> Layer:
        """The store that a principal (None: nobody in particular) works on."""
        top = Layer(self.outer(principal))
        self._handles[top] = principal
        return top

    def outer(self, principal: str | None) -> Store:
        """All the layers, for a principal."""
        return self.inner(principal)

    def inner(self, principal: str | None) -> Store:
        """The layers below access control: for the library's own work on a principal's behalf."""
        store = self.sealed
        return store

    def _encrypt(self, key: Source | list[Source] | None, fields: Sequence[str] | None) -> None:
        if key is None:
            raise WrongKey(
                f"this store is encrypted: give its encryption_key=, or set {KEY_VARIABLE}"
            )
        if "encryption" not in self.settings and self._holds_plaintext():
            raise WrongKey(
                "this store holds records that are not encrypted; copy them into a new, encrypted "
                "one: Memory(old).copy_to(Memory(new, encryption_key=…))"
            )
        from lc_memory.keys import Keyring
        from lc_memory.layers.encrypted import Encrypted

        sources = key if isinstance(key, list) else [key]
        self.keyring = Keyring(self.store, sources)
        held = self.settings.get("encryption", {}).get("fields")
        chosen = held if fields is None else list(fields)
        if chosen != held:
            change_setting(self.store, "encryption", {"fields": chosen})
        paths = None if chosen is None else [tuple(field.split(".")) for field in chosen]
        self.sealed = Encrypted(self.store, self.keyring, paths)

    def _holds_plaintext(self) -> bool:
        names = self.store.namespaces(expired=True)
        return any(name[:1] != SYSTEM for name in names)

    def rebuild(self) -> None:
        """Give every handle the layers that there are now."""
        for top, principal in list(self._handles.items()):
            top.inner = self.outer(principal)
