"""LangGraph's own suite for checkpointers, whole, over every kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from lc_memory import Checkpointer, Memory


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_the_official_suite(memory_url: str, encrypted: bool) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 32) if encrypted else None

    @checkpointer_test(name="lc_memory")
    async def ours() -> AsyncIterator[Checkpointer]:
        async with Memory(memory_url) as memory:
            yield memory.checkpointer(serde)

    report = await validate(ours)
    assert {name: result.failures for name, result in report.results.items()} == {
        capability.value: [] for capability in ALL_CAPABILITIES
    }
    assert all(result.passed for result in report.results.values())
    assert sum(result.tests_passed for result in report.results.values()) >= 81
