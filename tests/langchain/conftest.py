"""Fixtures for the tests of LangGraph's store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore

from lc_memory import Memory
from lc_memory.testing.clock import FakeClock


class Face:
    """A store's methods, called as sync or as async code calls them (each in a new loop)."""

    def __init__(self, store: BaseStore, asynchronous: bool) -> None:
        self.store = store
        self.asynchronous = asynchronous

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not self.asynchronous or name.endswith("ttl"):
            return getattr(self.store, name)
        method = getattr(self.store, f"a{name}")
        return lambda *args, **kwargs: asyncio.run(method(*args, **kwargs))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def clocked(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Memory]:
    """A memory whose time is the clock's."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/m.db"
    with Memory(url, clock=clock) as memory:
        yield memory


@pytest.fixture(params=["sync", "async"])
def open_face(clocked: Memory, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens LangGraph's store, with a TTL configuration, for sync and for async callers."""
    return lambda **ttl: Face(clocked.store(ttl=ttl or None), request.param == "async")


@pytest.fixture
def store(open_face: Callable[..., Any]) -> Any:
    return open_face()
