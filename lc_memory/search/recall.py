"""How a memory is told to keep what recall needs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lc_memory.search.ranking import Rules

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from lc_memory.search.embeddings import EmbeddingFunction


@dataclass(frozen=True, slots=True)
class Recall:
    """What ``Memory(url, recall=…)`` searches by.

    >>> memory = Memory(url, recall=Recall(embeddings="minilm", chroma="./vectors"))

    :param embeddings: for search by meaning: ``"minilm"`` (offline, from ``lc-memory[recall]``),
        ``"wordllama"`` (from ``lc-memory[wordllama]``), LangChain's ``Embeddings``, or a function
        from a list of texts to a list of vectors. None: by words alone.
    :param chroma: where Chroma keeps the vectors: a folder (one process at a time) or a server's
        URL such as ``"http://localhost:8000"``. None: in memory, made anew by each process.
    :param collection: the name of Chroma's collection; each store wants one of its own.
    :param model: the name of the embedding model, if ``embeddings`` does not tell it. Vectors of
        another one are refused, not mixed.
    :param refresh: indexes in memory notice other processes' writes after so many seconds.
    :param rules: the constants of the ranking (:class:`~lc_memory.search.ranking.Rules`).
    """

    embeddings: Embeddings | EmbeddingFunction | str | None = None
    chroma: str | os.PathLike[str] | None = None
    collection: str = "lc_memory"
    model: str | None = None
    refresh: float = 2.0
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def of(cls, given: Recall | bool) -> Recall:
        """What ``recall=`` means: True is by words alone."""
        if isinstance(given, cls):
            return given
        if given is True:
            return cls()
        raise TypeError(f"recall: True, or a Recall, not a {type(given).__name__}")
