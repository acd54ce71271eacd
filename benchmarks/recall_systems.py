"""What ``benchmarks.recall`` measures: ours, and what people use instead, over the same texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from benchmarks.recall import Turn


class System(Protocol):
    def add(self, turns: Sequence[Turn]) -> None:
        """Store a conversation, and index it."""

    def search(self, query: str, k: int) -> list[str]:
        """The ids of the turns found, best first."""

    def close(self) -> None: ...


class Ours:
    """``memory.recall`` over chat histories, one for each session."""

    def __init__(self, url: str, **recall: Any) -> None:
        from lc_memory import Memory
        from lc_memory.search.recall import Recall

        self.memory = Memory(url, recall=Recall(**recall))

    def add(self, turns: Sequence[Turn]) -> None:
        from langchain_core.messages import HumanMessage

        for session, said in groupby(turns, key=lambda turn: turn.session):
            messages = [
                HumanMessage(
                    turn.text,
                    name=turn.speaker,
                    id=turn.id,
                    additional_kwargs={"timestamp": turn.at.isoformat()},
                )
                for turn in said
            ]
            self.memory.chat_history(f"session-{session}").add_messages(messages)

    def search(self, query: str, k: int) -> list[str]:
        return [hit.value["data"]["id"] for hit in self.memory.recall(query, k=k)]

    def close(self) -> None:
        self.memory.close()


class PlainBM25:
    """SQLite's FTS5 with its Porter stemmer, the question's words joined by OR."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "plain.db")
        self.db.execute("CREATE VIRTUAL TABLE turns USING fts5(id, text, tokenize = 'porter')")

    def add(self, turns: Sequence[Turn]) -> None:
        rows = [(turn.id, dated(turn)) for turn in turns]
        with self.db:
            self.db.executemany("INSERT INTO turns VALUES (?, ?)", rows)

    def search(self, query: str, k: int) -> list[str]:
        words = "".join(c if c.isalnum() else " " for c in query).split()
        match = "text : (" + " OR ".join(f'"{word}"' for word in words) + ")"
        sql = "SELECT id FROM turns WHERE turns MATCH ? ORDER BY rank LIMIT ?"
        return [id for (id,) in self.db.execute(sql, [match, k])]

    def close(self) -> None:
        self.db.close()


class PlainVectors:
    """The embedded model's vectors of the texts, compared by cosine, and nothing else."""

    def __init__(self, folder: Path) -> None:
        from lc_memory.search.embeddings import MiniLM

        self.model = MiniLM()

    def add(self, turns: Sequence[Turn]) -> None:
        import numpy as np

        self.ids = [turn.id for turn in turns]
        self.matrix = np.array(self.model.embed_documents([dated(turn) for turn in turns]))

    def search(self, query: str, k: int) -> list[str]:
        import numpy as np

        order = np.argsort(-(self.matrix @ np.array(self.model.embed_query(query))))
        return [self.ids[i] for i in order[:k]]

    def close(self) -> None:
        pass


class LangGraphInMemory:
    """LangGraph's ``InMemoryStore`` with its semantic search and the same model."""

    def __init__(self, folder: Path) -> None:
        from langgraph.store.memory import InMemoryStore

        from lc_memory.search.embeddings import MiniLM

        self.store = InMemoryStore(index={"dims": 384, "embed": MiniLM(), "fields": ["text"]})

    def add(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            self.store.put(("turns",), turn.id, {"text": dated(turn)})

    def search(self, query: str, k: int) -> list[str]:
        return [item.key for item in self.store.search(("turns",), query=query, limit=k)]

    def close(self) -> None:
        pass


class Mem0:
    """mem0 with ``infer=False``: each turn as it was said, the same model, its default store."""

    def __init__(self, folder: Path) -> None:
        import os

        os.environ["MEM0_TELEMETRY"] = "False"
        os.environ["MEM0_DIR"] = str(folder)
        os.environ.setdefault("OPENAI_API_KEY", "none: nothing is asked of it")
        from mem0 import Memory

        from lc_memory.search.embeddings import MiniLM

        store = {"path": str(folder / "qdrant"), "embedding_model_dims": 384}
        self.memory = Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": store},
                "embedder": {"provider": "langchain", "config": {"model": MiniLM()}},
                "history_db_path": str(folder / "history.db"),
            }
        )

    def add(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            self.memory.add(dated(turn), user_id="locomo", metadata={"turn": turn.id}, infer=False)

    def search(self, query: str, k: int) -> list[str]:
        try:
            found = self.memory.search(query, user_id="locomo", limit=k)
        except (TypeError, ValueError):  # newer versions ask otherwise
            found = self.memory.search(query, filters={"user_id": "locomo"}, top_k=k, threshold=0.0)
        return [hit["metadata"]["turn"] for hit in found["results"]]

    def close(self) -> None:
        pass


def dated(turn: Turn) -> str:
    """A turn as those who store plain text write it, so that nothing is withheld."""
    return f"({turn.at.day} {turn.at:%B %Y}) {turn.speaker}: {turn.text}"


SYSTEMS: dict[str, Callable[[Path], System]] = {
    "ours, words (SQLite)": lambda folder: Ours(f"sqlite:///{folder}/memory.db"),
    "ours, wordllama": lambda folder: Ours(f"sqlite:///{folder}/memory.db", embeddings="wordllama"),
    "ours, MiniLM": lambda folder: Ours(f"sqlite:///{folder}/memory.db", embeddings="minilm"),
    "ours, MiniLM in Chroma": lambda folder: Ours(
        f"sqlite:///{folder}/memory.db", embeddings="minilm", chroma=folder / "vectors"
    ),
    "ours, words (JSON file)": lambda folder: Ours(f"json:///{folder}/memory.json"),
    "BM25 alone (FTS5)": PlainBM25,
    "MiniLM alone": PlainVectors,
    "LangGraph InMemoryStore, MiniLM": LangGraphInMemory,
    "mem0 (infer=False), MiniLM": Mem0,
}
