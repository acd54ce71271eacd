"""Vectors in Chroma: an index that can be made anew from the store at any time.

It holds ids, vectors, the marks of the records they were made of, and tokens of the places that
the records lie in; never a text. One process at a time may have a folder open; several share a
server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import filelock

from lc_memory.errors import InvalidInput, MissingExtra, StoreUnavailable, Unsupported
from lc_memory.records import Id, Namespace
from lc_memory.search.asking import Scope
from lc_memory.search.texts import id_token, prefix_token
from lc_memory.search.vectors import Entry

try:
    import chromadb
    from chromadb.config import Settings
except ImportError as error:
    raise MissingExtra("Chroma", "chroma") from error

if TYPE_CHECKING:
    from lc_memory.search.embeddings import Vectors

#: Entries a call.
_PAGE: Final = 1000
#: How many labels of a namespace are kept apart, to search under: more than anything uses.
_DEPTH: Final = 16

_REMEDY: Final = (
    "its vectors are not to be mixed with others; call memory.reindex(anew=True) to make all "
    "vectors anew, or name another collection"
)


class ChromaVectors:
    """The vectors of one store, in one collection.

    Raises StoreUnavailable if another process has the folder open, or the server cannot be
    reached; Unsupported, from the first use on, if the collection is of another embedding model
    or another store.
    """

    durable = True

    def __init__(
        self, where: str | os.PathLike[str], collection: str, *, model: str, store: str
    ) -> None:
        self._name = collection
        self._lock: filelock.FileLock | None = None
        self._want = {"lc_memory_model": model, "lc_memory_store": store}
        settings = Settings(anonymized_telemetry=False)
        place = os.fspath(where)
        try:
            if place.startswith(("http://", "https://")):
                url = urlsplit(place)
                self._client = chromadb.HttpClient(
                    host=url.hostname or "localhost",
                    port=url.port or (443 if url.scheme == "https" else 8000),
                    ssl=url.scheme == "https",
                    settings=settings,
                )
            else:
                self._lock = _alone(Path(place))
                self._client = chromadb.PersistentClient(place, settings=settings)
            self._open()
        except (ValueError, OSError) as error:
            self.close()
            raise StoreUnavailable(f"Chroma at {place}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        metadata = {"hnsw:space": "cosine", **self._want, "lc_memory_whole": False}
        self._collection = self._client.get_or_create_collection(
            self._name, metadata=metadata, embedding_function=None
        )

    def check(self) -> None:
        """Raise Unsupported unless the collection is of this model and this store."""
        held = self._collection.metadata or {}
        for name, what in (("lc_memory_model", "embedding model"), ("lc_memory_store", "store")):
            if held.get(name) != self._want[name]:
                raise Unsupported(
                    f"Chroma's collection {self._name!r} is of the {what} {held.get(name)!r}, not "
                    f"{self._want[name]!r}; {_REMEDY}"
                )

    @property
    def whole(self) -> bool:
        """Whether all that was stored has been indexed at least once."""
        return bool((self._collection.metadata or {}).get("lc_memory_whole"))

    @whole.setter
    def whole(self, value: bool) -> None:
        held = {k: v for k, v in self._collection.metadata.items() if not k.startswith("hnsw")}
        self._collection.modify(metadata={**held, "lc_memory_whole": value})

    def start_anew(self) -> None:
        """Delete all vectors, and take on the present model and store."""
        self._client.delete_collection(self._name)
        self._open()

    def nearest(self, vector: Vectors, scope: Scope, limit: int) -> list[Id]:
        self.check()
        count = self._collection.count()
        if not count or not limit:
            return []
        found = self._collection.query(
            query_embeddings=[vector.tolist()],
            n_results=min(limit, count),
            where=_where(scope),
            include=[],
        )
        return [_id(name) for name in found["ids"][0]]

    def fetch(self, ids: Sequence[Id]) -> dict[Id, Entry]:
        import numpy as np

        self.check()
        entries: dict[Id, Entry] = {}
        for part in _pages(ids):
            found = self._collection.get(
                ids=[_name(id) for id in part], include=["embeddings", "metadatas"]
            )
            rows = zip(found["ids"], _there(found, "metadatas"), _there(found, "embeddings"))  # noqa: B905 - Chroma's are of one length
            for name, metadata, vector in rows:
                id = _id(name)
                entries[id] = Entry(id, metadata["mark"], np.asarray(vector, dtype=np.float32))
        return entries

    def put(self, entries: Sequence[Entry]) -> None:
        self.check()
        for part in _pages(entries):
            try:
                self._collection.upsert(
                    ids=[_name(entry.id) for entry in part],
                    embeddings=cast(Any, [entry.vector for entry in part]),
                    metadatas=cast(Any, [_metadata(entry) for entry in part]),
                )
            except chromadb.errors.InvalidArgumentError as error:  # another size, above all
                raise Unsupported(f"Chroma's collection {self._name!r}: {error}; {_REMEDY}") from (
                    error
                )

    def remove(self, ids: Iterable[Id]) -> None:
        self.check()
        for part in _pages(list(ids)):
            self._collection.delete(ids=[_name(id) for id in part])

    def clear(self, prefix: Namespace) -> None:
        self.remove(self.marks(prefix))

    def marks(self, prefix: Namespace) -> Mapping[Id, str]:
        self.check()
        found: dict[Id, str] = {}
        while True:
            page = self._collection.get(
                where=_where(Scope((prefix,))),
                limit=_PAGE,
                offset=len(found),
                include=["metadatas"],
            )
            if not page["ids"]:
                return found
            for name, metadata in zip(page["ids"], _there(page, "metadatas"), strict=True):
                found[_id(name)] = metadata["mark"]

    def close(self) -> None:
        client = getattr(self, "_client", None)
        if client is not None:
            client.close()
            for part in (client, getattr(client, "_admin_client", None)):
                # Chroma leaves its connections to a server open.
                session = getattr(getattr(part, "_server", None), "_session", None)
                if session is not None:
                    session.close()
        if self._lock is not None:
            self._lock.release()


def _alone(folder: Path) -> filelock.FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lc_memory.lock", timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StoreUnavailable(
            f"Chroma at {folder}: another process or memory has this folder open, and two would "
            "answer stale; start a server (chroma run --path …) and give its URL"
        ) from None
    return lock


def _metadata(entry: Entry) -> dict[str, str]:
    namespace = entry.id[0]
    if len(namespace) > _DEPTH:
        namespace = namespace[:_DEPTH]
    places = {f"p{size}": prefix_token(namespace[:size]) for size in range(1, len(namespace) + 1)}
    return {"mark": entry.mark, "id": id_token(entry.id), **places}


def _where(scope: Scope) -> Any:
    """The scope as a condition of Chroma's."""
    groups: list[list[dict[str, Any]]] = []
    if () not in scope.prefixes:
        groups.append([_under(prefix) for prefix in scope.prefixes])
    limits = scope.within
    if limits is not None and () not in limits.prefixes:
        ids = [{"id": id_token(id)} for id in limits.ids]
        groups.append([*map(_under, limits.prefixes), *ids])
    conditions = [group[0] if len(group) == 1 else {"$or": group} for group in groups]
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _under(prefix: Namespace) -> dict[str, Any]:
    if len(prefix) > _DEPTH:
        raise InvalidInput(f"namespaces: {prefix!r} has more than {_DEPTH} labels")
    return {f"p{len(prefix)}": prefix_token(prefix)}


def _name(id: Id) -> str:
    return json.dumps([*id[0], id[1]], ensure_ascii=True, separators=(",", ":"))


def _id(name: str) -> Id:
    *namespace, key = json.loads(name)
    return tuple(namespace), key


def _there(found: Any, name: str) -> Any:
    assert found[name] is not None  # it was asked for
    return found[name]


def _pages(entries: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (entries[start : start + _PAGE] for start in range(0, len(entries), _PAGE))
