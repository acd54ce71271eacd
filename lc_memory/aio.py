"""The one bridge from asyncio to the stores."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from lc_memory.errors import StoreClosed
from lc_memory.forks import Holder, watch
from lc_memory.records import Id, Op, Page, Query, Record
from lc_memory.store import Outcome, Store, closed

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8


class _Group:
    """Writes of one turn of a loop, and a future that is done when all of them are."""

    __slots__ = ("batches", "done", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.batches: list[list[Op]] = []
        self.waiting: list[asyncio.Future[list[Record | None]]] = []

    def deliver(self, done: Future[list[Outcome]]) -> None:
        error = done.exception()
        self.settle([error] * len(self.waiting) if error else done.result())

    def settle(self, outcomes: Sequence[Outcome | BaseException]) -> None:
        for future, outcome in zip(self.waiting, outcomes, strict=True):
            if future.done():  # cancelled
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self.done.set_result(None)


class _Threads(Holder):
    """A bounded pool of threads. A child process begins with none, and makes its own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._closed = False
        self.forked()
        watch(self)

    def forked(self) -> None:
        if not self._closed:
            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="lc_memory")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        return self._pool.submit(work)

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown()


class AsyncStore:
    """A store for asyncio: the same verbs as coroutines, from any number of event loops.

    Work is done in a bounded pool of threads, with the caller's context variables. Writes that
    come in the same turn of the loop are committed together. A caller who is cancelled while its
    write is under way sees the cancellation once the write has finished; nothing is left halfway.
    """

    def __init__(self, store: Store, threads: int = THREADS) -> None:
        self._bind(store, _Threads(threads))

    def _bind(self, store: Store, threads: _Threads) -> None:
        self.store = store
        self._grouped = store.capabilities.grouped
        self._threads = threads
        self._groups: dict[asyncio.AbstractEventLoop, _Group] = {}

    async def read(self, ids: Sequence[Id], *, expired: bool = False) -> list[Record | None]:
        return await asyncio.wrap_future(self._submit(self.store.read, ids, expired=expired))

    async def find(self, query: Query) -> Page:
        return await asyncio.wrap_future(self._submit(self.store.find, query))

    async def write(self, ops: Sequence[Op]) -> list[Record | None]:
        if not self._grouped:
            return await self.run(lambda: _decode_long(self.store.write(ops)))
        loop = asyncio.get_running_loop()
        group = self._groups.get(loop)
        if group is None:
            for other in list(self._groups):
                if other.is_closed():  # before the turn that would have flushed it
                    self._groups.pop(other, None)
            group = self._groups[loop] = _Group(loop)
            loop.call_soon(self._flush, loop)
        future: asyncio.Future[list[Record | None]] = loop.create_future()
        group.batches.append(list(ops))
        group.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            await _ended(group.done)
            raise

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do some synchronous work on the store, reads and writes, in a thread."""
        submitted = self._submit(work, *args, **kwargs)
        return await _finished(asyncio.wrap_future(submitted), submitted)

    def over(self, store: Store) -> AsyncStore:
        """A bridge to another store, such as the same with other layers, on the same threads."""
        other = object.__new__(AsyncStore)
        other._bind(store, self._threads)
        return other

    def close(self) -> None:
        """Wait for the work under way and release the threads; the store stays open."""
        self._threads.close()

    def _write_many(self, batches: Sequence[Sequence[Op]]) -> list[Outcome]:
        outcomes = self.store.write_many(batches)
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                _decode_long(outcome)
        return outcomes

    def _submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        context = contextvars.copy_context()
        try:
            return self._threads.submit(partial(context.run, work, *args, **kwargs))
        except RuntimeError as error:  # the pool was shut down
            raise closed("memory") from error

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        group = self._groups.pop(loop)

        def deliver(done: Future[list[Outcome]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(group.deliver, done)

        try:
            submitted = self._submit(self._write_many, group.batches)
        except StoreClosed as error:
            group.settle([error] * len(group.waiting))
        else:
            submitted.add_done_callback(deliver)


def _decode_long(records: list[Record | None]) -> list[Record | None]:
    """The same, with long values decoded here, where no loop waits for it."""
    for record in records:
        if record is not None:
            record.decode_long()
    return records


async def _finished(future: asyncio.Future[T], submitted: Future[Any]) -> T:
    """Await the future; a cancellation goes on only when the work is done, or never began."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if submitted.cancel():
            raise
        await _ended(future)
        if not future.cancelled():
            future.exception()  # seen, so that asyncio does not report it
        raise


async def _ended(future: asyncio.Future[Any]) -> None:
    """Await the end of it, whoever cancels the waiting."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
