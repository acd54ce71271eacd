"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lc_memory import Memory


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the machine's own settings, or talks to a service outside."""
    for name in ("LC_MEMORY_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture(params=["memory", "sqlite"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    """A memory over each store that needs no server."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/memory.db"}[request.param]
    with Memory(url) as opened:
        yield opened
