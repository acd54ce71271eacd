"""What a process that is forked does with its parent's connections and files: it opens its own."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Holder(Protocol):
    """Something that keeps connections, or a file, open."""

    def forked(self) -> None:
        """Leave them to the parent. Called in the child, with no other thread about."""


_holders: Final[weakref.WeakSet[Holder]] = weakref.WeakSet()

#: Have something learn that it is in a forked child.
watch = _holders.add


def _tell() -> None:
    for holder in list(_holders):
        holder.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
