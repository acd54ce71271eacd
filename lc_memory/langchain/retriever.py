"""LangChain's retriever over ``memory.recall``."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from lc_memory.memory import Memory
from lc_memory.search.asking import Hit


class MemoryRetriever(BaseRetriever):
    """Gives a query's ``k`` best memories as documents, best first.

    >>> memory.as_user("ada").as_retriever(k=5).invoke("what can't she eat?")

    ``search`` are other arguments of :meth:`~lc_memory.memory.Memory.recall`, such as ``filter``
    and ``since``. A document's metadata holds ``source``, ``score``, ``why`` and ``time``.
    """

    memory: Any  # a Memory, which pydantic does not know
    k: int = 10
    search: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        memory: Memory = self.memory
        return [_document(hit) for hit in memory.recall(query, **self._asked(given))]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        memory: Memory = self.memory
        return [_document(hit) for hit in await memory.arecall(query, **self._asked(given))]

    def _asked(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"k": self.k, **self.search, **given}


def _document(hit: Hit) -> Document:
    metadata = {
        "source": hit.source,
        "score": hit.score,
        "why": hit.why,
        "time": None if hit.at is None else hit.at.isoformat(),
    }
    return Document(id=hit.source, page_content=hit.text, metadata=metadata)
