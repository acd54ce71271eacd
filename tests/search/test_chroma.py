"""Vectors in Chroma: a real folder, a real server, a real crash."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Clear, Memory
from lc_memory.errors import StoreUnavailable, Unsupported
from lc_memory.search.recall import Recall
from tests.search.test_recall import concepts
from tests.servers import _free_port as free_port

pytest.importorskip("chromadb")


def other_model(texts: list[str]) -> list[list[float]]:
    return [[1.0, 0.0] for _ in texts]


class Place:
    """A SQLite store, and Chroma in a folder beside it."""

    def __init__(self, folder: Path, chroma: str | None = None) -> None:
        self.url = f"sqlite:///{folder}/memory.db"
        self.chroma = chroma or str(folder / "vectors")

    def open(self, embeddings: Any = concepts, **settings: Any) -> Memory:
        settings = {"chroma": self.chroma, "model": "concepts", **settings}
        return Memory(self.url, recall=Recall(embeddings=embeddings, **settings))

    def held(self, memory: Memory) -> list[str]:
        """The keys that Chroma itself holds, asked without the library."""
        collection = memory._layers.indexed._meaning._index._collection  # type: ignore[attr-defined]
        client = memory._layers.indexed._meaning._index._client  # type: ignore[attr-defined]
        found = client.get_collection(collection.name, embedding_function=None).get(
            include=["metadatas", "documents", "embeddings"]
        )
        assert not any(found["documents"]), "no text is kept in Chroma"
        assert len(found["embeddings"]) == len(found["ids"])
        return sorted(name.split('"')[-2] for name in found["ids"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_updates_and_deletions_leave_no_vector_behind(place: Place) -> None:
    with place.open() as memory:
        memory.batch_store([("notes", {"id": str(i), "text": "a dog"}) for i in range(4)])
        memory.as_user("ada").store_memory("notes", {"id": "ada", "text": "a dog"})
        assert place.held(memory) == ["0", "1", "2", "3", "ada"]
        memory.store_memory("notes", {"id": "0", "text": "an umbrella"})
        assert place.held(memory) == ["0", "1", "2", "3", "ada"]
        assert memory.recall("rain", k=1)[0].record.key == "0"
        memory.store_memory("notes", {"id": "1", "count": 1})  # no text any more
        memory.delete_memory("notes", id="2")
        assert place.held(memory) == ["0", "3", "ada"]
        memory.backend.write([Clear(("users", "ada"))])
        assert place.held(memory) == ["0", "3"]
        memory.delete_memory("notes")
        assert place.held(memory) == []


def test_what_is_swept_leaves_no_vector_behind(place: Place) -> None:
    with place.open() as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"}, ttl=1e-6)
        memory.store_memory("notes", {"id": "2", "text": "a dog"})
        time.sleep(0.01)
        memory.backend.sweep()
        assert place.held(memory) == ["2"]


def test_vectors_outlive_the_process_and_are_not_made_twice(place: Place) -> None:
    embedded: list[str] = []

    def counting(texts: list[str]) -> list[list[float]]:
        embedded.extend(texts)
        return concepts(texts)

    with place.open(counting) as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
    with place.open(counting) as memory:
        assert memory.recall("puppy")[0].record.key == "1"
        assert memory.reindex() == 0
    assert embedded == ["a dog", "puppy"]


def test_nothing_is_left_noted_after_closing(place: Place) -> None:
    with place.open() as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
        noted = ("lc_memory", "recall", "behind")
        assert [noted] == memory.backend.namespaces(noted)
        memory.recall("dog")
    with Memory(place.url) as plain:
        assert plain.backend.namespaces(noted) == []


CRASH = """
import os, sys
from lc_memory import Memory
from lc_memory.search.recall import Recall
from tests.search.test_recall import concepts

def dying(texts):
    if any("umbrella" in text for text in texts):
        os._exit(9)  # the write is committed, its vector is not made
    return concepts(texts)

url, chroma = sys.argv[1:]
memory = Memory(url, recall=Recall(embeddings=dying, chroma=chroma, model="concepts"))
memory.store_memory("notes", {"id": "1", "text": "a dog"})
memory.recall("dog")
memory.store_memory("notes", {"id": "gone", "text": "a dog"})
memory._layers.indexed._meaning.after = lambda *given: None  # as if killed before this
memory.delete_memory("notes", id="gone")
del memory._layers.indexed._meaning.after
memory.store_memory("notes", {"id": "2", "text": "an umbrella"})
"""


def test_what_a_crash_left_undone_is_caught_up_with(place: Place) -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CRASH), place.url, place.chroma],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 9, child.stderr
    with place.open() as memory:
        assert place.held(memory) == ["1", "gone"]  # what the crash left
        assert memory.recall("rain", k=1)[0].record.key == "2"
        assert place.held(memory) == ["1", "2"]


def test_a_failing_model_fails_no_write_and_is_made_good(place: Place) -> None:
    broken = [True]

    def moody(texts: list[str]) -> list[list[float]]:
        if broken[0]:
            raise ConnectionError("no model today")
        return concepts(texts)

    with place.open(moody) as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
        assert place.held(memory) == []
        with pytest.raises(ConnectionError):
            memory.recall("puppy")
        broken[0] = False
        assert memory.recall("puppy")[0].record.key == "1"
        assert place.held(memory) == ["1"]


def test_writes_without_recall_are_found_after_reindexing(place: Place) -> None:
    with place.open() as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
        memory.recall("dog")
    with Memory(place.url) as plain:
        plain.store_memory("notes", {"id": "2", "text": "an umbrella"})
        plain.delete_memory("notes", id="1")
    seen: list[tuple[int, int]] = []
    with place.open() as memory:
        assert memory.reindex(lambda done, total: seen.append((done, total))) == 1
        assert place.held(memory) == ["2"]
    assert seen


def test_an_interrupted_reindex_goes_on_where_it_was(place: Place) -> None:
    with Memory(place.url) as plain:
        plain.batch_store([("notes", {"id": str(i), "text": "a dog"}) for i in range(600)])
    embedded: list[int] = []

    def tiring(texts: list[str]) -> list[list[float]]:
        if len(embedded) == 1:
            embedded.append(0)
            raise KeyboardInterrupt
        embedded.append(len(texts))
        return concepts(texts)

    with place.open(tiring) as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.reindex()
        first = embedded[0]
        assert 0 < first < 600
        assert memory.reindex() == 600 - first
        assert len(place.held(memory)) == 600


def test_another_model_is_refused_with_the_remedy(place: Place) -> None:
    with place.open() as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
    with place.open(other_model, model="another") as memory:
        with pytest.raises(Unsupported, match=r"concepts.*another.*reindex\(anew=True\)"):
            memory.recall("dog")
        assert memory.reindex(anew=True) == 1
        assert memory.recall("dog")[0].record.key == "1"
    with place.open() as memory, pytest.raises(Unsupported, match="reindex"):
        memory.recall("dog")


def test_two_stores_share_no_collection(place: Place, tmp_path: Path) -> None:
    with place.open() as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
    other = Place(tmp_path)
    other.url = f"sqlite:///{tmp_path}/other.db"
    with other.open() as memory:
        with pytest.raises(Unsupported, match="store"):
            memory.recall("dog")
        assert place.held(memory) == ["1"]


def test_one_folder_has_one_opener(place: Place) -> None:
    with place.open(), pytest.raises(StoreUnavailable, match="chroma run"):
        place.open()
    with place.open() as memory:
        assert memory.recall("dog") == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    folder = tmp_path_factory.mktemp("chroma")
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--path", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_several_processes_share_a_server(server: str, tmp_path: Path) -> None:
    place = Place(tmp_path, server)
    deadline = time.monotonic() + 60
    while True:
        try:
            one = place.open(collection="shared")
            break
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    with one, place.open(collection="shared") as two:
        one.store_memory("notes", {"id": "1", "text": "a dog"})
        assert two.recall("puppy")[0].record.key == "1"
        two.store_memory("notes", {"id": "1", "text": "an umbrella"})
        assert one.recall("rain")[0].text == "an umbrella"
        two.delete_memory("notes")
        assert one.recall("rain") == []
        assert place.held(one) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable, match=url):
        Place(tmp_path, url).open()
