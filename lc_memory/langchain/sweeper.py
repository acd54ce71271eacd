"""Deleting what has expired, now and then, in the background."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from concurrent.futures import Future, InvalidStateError
from typing import Final

from lc_memory.errors import AccessDenied, InvalidInput, StoreClosed
from lc_memory.store import Store

DEFAULT_MINUTES: Final = 5.0

_logger = logging.getLogger(__name__)


class Sweeper:
    """A thread that sweeps a store; it ends with the store, and with this object."""

    def __init__(self, store: Store, minutes: float | None = None) -> None:
        self._store = store
        self._minutes = minutes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ended: Future[None] = Future()

    def start(self, minutes: float | None = None) -> Future[None]:
        """Start sweeping, every so many minutes, if that is not being done."""
        interval = minutes or self._minutes or DEFAULT_MINUTES
        if not 0 < interval * 60 <= threading.TIMEOUT_MAX:
            raise InvalidInput(f"sweep interval: {interval!r} is not a number of minutes above 0")
        with self._lock:
            if self._thread is not None and not self._stopping.is_set():
                return self._ended
            stopping, ended = threading.Event(), Future[None]()
            ended.add_done_callback(lambda _: stopping.set())  # also when it is cancelled
            weakref.finalize(self, stopping.set)
            self._thread = threading.Thread(
                target=_sweep, args=(self._store, interval * 60, stopping, ended), daemon=True
            )
            self._stopping, self._ended = stopping, ended
            self._thread.start()
            return ended

    def stop(self, timeout: float | None = None) -> bool:
        """Stop sweeping; says whether the thread has ended within so many seconds."""
        self._stopping.set()
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()


def _sweep(store: Store, seconds: float, stopping: threading.Event, ended: Future[None]) -> None:
    while not stopping.wait(seconds):
        try:
            store.sweep()
        except StoreClosed:
            break
        except AccessDenied as error:  # nor would it be allowed the next time
            _logger.error("expired items are not swept: %s", error)
            with contextlib.suppress(InvalidStateError):
                ended.set_exception(error)
            return
        except Exception:  # busy, full, out of reach: it may be better next time
            _logger.warning("sweeping expired items failed; it is tried again", exc_info=True)
    with contextlib.suppress(InvalidStateError):  # cancelled
        ended.set_result(None)
