"""What it means to fork a process that has stores open.

A child has none of its parent's threads, but everything that they held. So whoever forks waits for
a moment until no thread is in the middle of something; then the child begins with locks that are
free, and with connections and files of its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Final

#: How long a fork waits for what other threads are doing, in seconds.
PATIENCE: Final = 5.0


class Holder:
    """Something that keeps locks, threads, connections or a file."""

    def resting(self, deadline: float) -> AbstractContextManager[object]:
        """Keep other threads from being in the middle of something, if they get out of it before
        the deadline (of the monotonic clock). A fork is what happens meanwhile."""
        return nullcontext()

    def forked(self) -> None:
        """Leave to the parent what is its own. Called in the child, with no other thread about."""


_holders: Final[weakref.WeakSet[Holder]] = weakref.WeakSet()
_resting: Final = threading.local()
#: Held while somebody forks, or the holders change; a signal's handler may fork meanwhile.
_one_at_a_time: Final = threading.RLock()


def watch(holder: Holder) -> None:
    """Have something learn of forks."""
    with _one_at_a_time:
        _holders.add(holder)


@contextmanager
def held(deadline: float, *locks: threading.Lock) -> Iterator[bool]:
    """Hold these locks meanwhile, or those before the first that cannot be had in time; whether
    all of them are held."""
    with ExitStack() as stack:
        for lock in locks:
            if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                yield False
                return
            stack.callback(lock.release)
        yield True


def _before() -> None:
    stack = ExitStack()
    stack.callback(setattr, _resting, "stack", getattr(_resting, "stack", None))
    _resting.stack = stack
    stack.enter_context(_one_at_a_time)
    deadline = time.monotonic() + PATIENCE
    for holder in list(_holders):
        stack.enter_context(holder.resting(deadline))


def _after() -> None:
    _resting.stack.close()


def _in_child() -> None:
    _after()
    for holder in list(_holders):
        holder.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
