"""The layers of one memory: which there are, in which order, and for whom."""

from __future__ import annotations

import weakref

from lc_memory.layers.base import Layer
from lc_memory.store import Store


class Stack:
    """Puts the layers in order over one store, for each handle of a memory.

    ``store`` is the store itself. A handle's own store (:meth:`handle`) is the outermost; when a
    layer is added later, every handle has it from then on.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
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
        store = self.store
        return store

    def rebuild(self) -> None:
        """Give every handle the layers that there are now."""
        for top, principal in list(self._handles.items()):
            top.inner = self.outer(principal)
