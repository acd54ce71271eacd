"""LangChain's cache of model answers (``BaseCache``) over a store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.caches import BaseCache
from langchain_core.messages import message_to_dict, messages_from_dict
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)

from lc_memory import values
from lc_memory.aio import AsyncStore
from lc_memory.errors import InvalidValue
from lc_memory.records import Clear, Delete, Namespace, Put, Record, Value, check_namespace
from lc_memory.store import Store

_TYPES: Final = {
    kind.__name__: kind
    for kind in (Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk)
}


class LLMCache(BaseCache):
    """Answers of models, by prompt and by the model with its parameters.

    >>> langchain_core.globals.set_llm_cache(memory.llm_cache(ttl=24 * 60))

    Answers are kept as plain data and built again by type; nothing stored can name a class. An
    answer that would not come back equal (a parsed object in it, a type of one's own) is not
    cached. ``ttl`` is how long an answer is good for, in minutes (None: for ever).
    """

    def __init__(
        self,
        store: Store,
        bridge: AsyncStore,
        scope: Namespace = (),
        ttl: float | None = None,
    ) -> None:
        store.expiry(ttl)  # raises now, not at the first answer
        self._store = store
        self._bridge = bridge
        self._namespace = check_namespace((*scope, "llm_cache"))
        self._ttl = ttl

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to exactly this prompt by exactly this model, or None."""
        record = self._store.get(self._namespace, _digest(prompt, llm_string))
        return _answer(record, prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep an answer in place of the one before."""
        self._store.write([self._write(prompt, llm_string, return_val)])

    def clear(self, **kwargs: Any) -> None:
        """Forget all answers."""
        self._store.write([Clear(self._namespace)])

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` for asyncio."""
        (record,) = await self._bridge.read([(self._namespace, _digest(prompt, llm_string))])
        return _answer(record, prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """:meth:`update` for asyncio."""
        await self._bridge.write([self._write(prompt, llm_string, return_val)])

    async def aclear(self, **kwargs: Any) -> None:
        """:meth:`clear` for asyncio."""
        await self._bridge.write([Clear(self._namespace)])

    def _write(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> Put | Delete:
        key = _digest(prompt, llm_string)
        try:
            entry = {"prompt": prompt, "llm_string": llm_string, "answer": _entries(answer)}
            if _generations(values.decode(values.encode(entry))) == list(answer):
                return Put(self._namespace, key, entry, self._store.expiry(self._ttl))
        except ValueError:  # InvalidValue is one, and so is what LangChain cannot build again
            pass
        return Delete(self._namespace, key)  # the one before is not the answer any more


def _digest(prompt: str, llm_string: str) -> str:
    digest = hashlib.sha256()
    for text in (prompt, llm_string):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(data), data))
    return digest.hexdigest()


def _answer(record: Record | None, prompt: str, llm_string: str) -> list[Generation] | None:
    if record is None:
        return None
    asked = (record.value["prompt"], record.value["llm_string"])
    return _generations(record.value) if asked == (prompt, llm_string) else None


def _entries(answer: Sequence[Generation]) -> list[Value]:
    entries: list[Value] = []
    for generation in answer:
        entry: Value = {"type": type(generation).__name__, "info": generation.generation_info}
        if isinstance(generation, ChatGeneration):
            entry["message"] = message_to_dict(generation.message)
        else:
            entry["text"] = generation.text
        entries.append(entry)
    return entries


def _generations(value: Value) -> list[Generation]:
    return [_generation(entry) for entry in value["answer"]]


def _generation(entry: Value) -> Generation:
    kind = _TYPES.get(entry["type"])
    if kind is None:
        raise InvalidValue("type", f"{entry['type']!r} is not a generation of LangChain's own")
    fields: Value = {"generation_info": entry["info"]}
    if "message" in entry:
        (fields["message"],) = messages_from_dict([entry["message"]])
    else:
        fields["text"] = entry["text"]
    return kind(**fields)
