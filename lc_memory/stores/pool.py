"""Connections to a server, kept open from one use to the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from lc_memory.forks import Holder, watch


class Pool(Holder):
    """At most ``most`` connections at once; ``kept`` of them stay open while nobody uses them.

    ``timeout`` (seconds) bounds the wait for one. Every connection that was taken is to be given
    back or dropped.
    """

    def __init__(self, connect: Callable[[], Any], *, kept: int, most: int, timeout: float) -> None:
        self._connect = connect
        self._kept = kept
        self._most = most
        self._timeout = timeout
        self._open = True
        self.forked()
        watch(self)

    def forked(self) -> None:
        """Begin with none. (A parent's are its own: who reads from one may get its answers.)"""
        self._room: SimpleQueue[None] = SimpleQueue()  # a semaphore in C
        for _ in range(self._most):
            self._room.put(None)
        self._idle: list[Any] = []

    def take(self) -> Any:
        """A connection: the one that was used last, or a new one. Raises TimeoutError, and what
        connecting raises."""
        try:
            self._room.get(timeout=self._timeout)
        except Empty:
            raise TimeoutError from None
        try:
            try:
                idle = self._idle.pop()
            except IndexError:
                idle = None
            return self._connect() if idle is None else idle
        except BaseException:
            self._room.put(None)
            raise

    def give(self, connection: Any) -> None:
        """Take it back, to be used again."""
        if self._open and len(self._idle) < self._kept:
            self._idle.append(connection)
            if not self._open:  # closed by another thread just now
                self.empty()
        else:
            _close(connection)
        self._room.put(None)

    def drop(self, connection: Any) -> None:
        """Take it back and close it."""
        _close(connection)
        self._room.put(None)

    def empty(self) -> None:
        """Close what nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                _close(self._idle.pop())

    def close(self) -> None:
        """Close everything; what is in use now, when it is given back."""
        self._open = False
        self.empty()


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):  # it may be dead
        connection.close()
