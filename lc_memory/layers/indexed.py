"""The layer that makes a store searchable by words and meaning, and keeps its indexes in step."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from lc_memory.errors import Conflict, Unsupported
from lc_memory.layers.base import Layer
from lc_memory.records import ABSENT, Append, Clear, Delete, Namespace, Op, Put, Record, Restore
from lc_memory.search.asking import Hit, Progress, Search
from lc_memory.search.finding import Finder
from lc_memory.search.following import MemoryKeywords
from lc_memory.search.meaning import Meaning
from lc_memory.search.recall import Recall
from lc_memory.search.texts import is_searched
from lc_memory.store import Store

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_SETTINGS: Final[Namespace] = ("lc_memory", "recall")


class Indexed(Layer):
    """Searches the store below it.

    Words are indexed by the store itself where it can (in the same transaction as the write),
    else in memory; vectors as ``recall`` says. Above an encrypting layer the index of words is in
    memory, so that nothing on disk shows a word.
    """

    rank: ClassVar[int] = 50

    def __init__(self, inner: Store, recall: Recall) -> None:
        super().__init__(inner)
        self._recall = recall
        own = inner.keywords()
        self._noting = MemoryKeywords(inner, recall.refresh) if own is None else None
        self._keywords = own or self._noting
        assert self._keywords is not None
        self.embeddings: Embeddings | None = None
        self._meaning = self._made_meaning(inner, recall)
        self._finder = Finder(inner, self._keywords, self._meaning, recall.rules)

    def _made_meaning(self, inner: Store, recall: Recall) -> Meaning | None:
        if recall.embeddings is None:
            if recall.chroma is not None:
                raise Unsupported("Recall(chroma=…) wants embeddings=, such as 'minilm'")
            return None
        from lc_memory.search.embeddings import embeddings_of, name_of
        from lc_memory.search.vectors import MemoryVectors, VectorIndex

        self.embeddings = embeddings_of(recall.embeddings)
        index: VectorIndex = MemoryVectors()
        if recall.chroma is not None:
            from lc_memory.search.chroma import ChromaVectors

            index = ChromaVectors(
                recall.chroma,
                recall.collection,
                model=recall.model or name_of(self.embeddings),
                store=_identity(inner),
            )
        return Meaning(inner, index, self.embeddings, recall.refresh)

    # -- the verbs -------------------------------------------------------------------------

    def enter(self, ops: Sequence[Op]) -> Sequence[Op]:
        if self._meaning is not None:
            self._meaning.before(ops)
        return ops

    def leave(self, ops: Sequence[Op], results: list[Record | None]) -> list[Record | None]:
        if self._noting is not None:
            _note(self._noting, ops, results)
        if self._meaning is not None:
            self._meaning.after(ops, results)
        return results

    def search(self, search: Search) -> list[Hit]:
        return self._finder.find(search)

    def keywords(self) -> None:
        return None

    def sweep(self) -> int:
        swept = super().sweep()
        if swept and self._meaning is not None:
            self._meaning.prune()
        return swept

    # -- the indexes -----------------------------------------------------------------------

    def reindex(self, progress: Progress | None = None, *, anew: bool = False) -> int:
        """Make good what the indexes are missing; returns of how many records entries were made.

        The index of words is made anew, a page at a time, while it goes on answering. Vectors are
        compared with the store, record by record, and only what is missing or stale is embedded.
        Interrupted, both go on where they were. ``anew`` deletes all vectors first: for another
        embedding model. ``progress(done, total)`` is called now and then.
        """
        assert self._keywords is not None
        if anew and self._meaning is not None:
            self._meaning.start_anew()
        made = self._keywords.rebuild(progress)
        return made if self._meaning is None else self._meaning.reindex(progress)

    def reload(self) -> None:
        """Look at everything again: the store was written below this layer."""
        if self._noting is not None:
            self._noting.rebuild()
        if self._meaning is not None:
            self._meaning.reload()

    def check_embeddings(self, embed: object, dims: int | None) -> None:
        """Raise Unsupported unless these embeddings are the ones that the index is made with."""
        from lc_memory.search.embeddings import embeddings_of, name_of

        mine = self.embeddings
        if mine is None:
            raise Unsupported(
                "this memory recalls by words alone; for embeddings, open it with "
                "recall=Recall(embeddings=…)"
            )
        asked = embed if isinstance(embed, str) else name_of(embeddings_of(embed))  # type: ignore[arg-type]  # it raises for others
        if embed is not self._recall.embeddings and asked != name_of(mine):
            raise Unsupported(
                f"embed: this memory's vectors are of {name_of(mine)}, and not to be mixed with "
                f"those of {asked}; give these embeddings to Recall(embeddings=…)"
            )
        if dims is not None and (size := len(mine.embed_query("size"))) != dims:
            raise Unsupported(f"dims: {name_of(mine)} has {size} dimensions, not {dims}")

    def close(self) -> None:
        """Close the indexes; the store below is its opener's to close."""
        if self._meaning is not None:
            self._meaning.close()


def indexed_in(store: Store) -> Indexed | None:
    """The layer of indexes among those over a store, if there is one."""
    while isinstance(store, Layer):
        if isinstance(store, Indexed):
            return store
        store = store.inner
    return None


def _note(index: MemoryKeywords, ops: Sequence[Op], results: Sequence[Record | None]) -> None:
    for op, record in zip(ops, results, strict=True):
        if isinstance(op, Clear):
            index.clear(op.prefix)
        elif record is None or not is_searched(record.namespace):
            continue
        elif isinstance(op, Delete):
            index.remove(record.id)
        elif isinstance(op, Put | Append | Restore):
            index.put(record, anyway=isinstance(op, Restore))


def _identity(store: Store) -> str:
    """What tells this store from others, so that no two share a collection of vectors."""
    held = store.get(_SETTINGS, "identity")
    if held is None:
        new = Put(_SETTINGS, "identity", {"id": uuid.uuid4().hex})
        try:
            (held,) = store.write([new._replace(replacing=ABSENT)])
        except Conflict:  # somebody was first
            held = store.get(_SETTINGS, "identity")
    assert held is not None
    identity: str = held.value["id"]
    return identity
