"""How long an event loop was kept from its other work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from time import perf_counter
from typing import Any

from benchmarks.harness import Told

_TICK = 0.001


async def longest_stall(work: Iterable[Coroutine[Any, Any, object]]) -> Told:
    """Run the coroutines together beside a ticker; the longest that the ticker was late."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            due = perf_counter() + _TICK
            try:
                await asyncio.sleep(_TICK)
            finally:
                late = max(late, perf_counter() - due)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(2 * _TICK)
    late = 0.0
    started = perf_counter()
    await asyncio.gather(*work)
    seconds = perf_counter() - started
    ticker.cancel()
    await asyncio.gather(ticker, return_exceptions=True)
    return Told(seconds, late)
