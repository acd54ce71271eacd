"""Nothing leaks through an index: recall with encryption, access control and the audit log."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory
from lc_memory.errors import AccessDenied
from lc_memory.search.recall import Recall
from tests.search.test_recall import concepts

KEY = base64.b64encode(bytes(range(32))).decode()
SECRET = "xylophone"


def texts(memory: Memory, query: str, **given: Any) -> list[str]:
    return sorted(hit.text for hit in memory.recall(query, **given))


def recall_of(folder: Path, kind: str) -> Recall:
    if kind == "words":
        return Recall(refresh=0)
    if kind == "meaning":
        return Recall(embeddings=concepts, refresh=0)
    pytest.importorskip("chromadb")
    return Recall(embeddings=concepts, model="concepts", chroma=folder / "vectors")


@pytest.fixture(params=["words", "meaning", "chroma"])
def recall(request: pytest.FixtureRequest, tmp_path: Path) -> Recall:
    return recall_of(tmp_path, request.param)


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_with_encryption_no_file_shows_a_word(recall: Recall, kind: str, tmp_path: Path) -> None:
    url = f"{kind}:///{tmp_path}/memory.{kind}"
    with Memory(url, recall=recall, encryption_key=KEY) as memory:
        memory.store_memory("notes", {"id": "1", "text": f"a dog with a {SECRET}"})
        memory.as_user("ada").store_memory("notes", {"id": "2", "text": f"{SECRET} of a puppy"})
        assert len(texts(memory, SECRET)) == 2
        assert texts(memory, "terrier dog", k=1)
        during = [path for path in tmp_path.rglob("*") if path.is_file()]
        for path in during:
            data = path.read_bytes().lower()
            assert SECRET.encode() not in data, path
            assert b"xyloph" not in data, path
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"xyloph" not in path.read_bytes().lower(), path
    with Memory(url, recall=recall, encryption_key=KEY) as memory:  # made anew, or kept
        assert len(texts(memory, SECRET)) >= 2
        memory.delete_memory("notes", id="1")
        assert texts(memory, SECRET, k=1) == [f"{SECRET} of a puppy"]


@pytest.fixture
def guarded(recall: Recall, tmp_path: Path) -> Iterator[Memory]:
    url = f"sqlite:///{tmp_path}/guarded.db"
    with Memory(url, recall=recall, access_control=True, admins=["root"], audit=True) as memory:
        for user in ("ada", "bob"):
            memory.acting_as(user).as_user(user).batch_store(
                [("notes", {"id": f"{user}{i}", "text": f"a dog of {user} {i}"}) for i in range(3)]
            )
        yield memory


def test_a_principal_recalls_what_it_may_read_and_no_more(guarded: Memory) -> None:
    ada = guarded.acting_as("ada")
    assert texts(ada, "dog") == ["a dog of ada 0", "a dog of ada 1", "a dog of ada 2"]
    assert texts(ada, "dog", user="ada") == texts(ada, "dog")
    with pytest.raises(AccessDenied):
        ada.recall("dog", user="bob")
    with pytest.raises(AccessDenied):
        guarded.recall("dog")
    assert len(texts(guarded.acting_as("root"), "dog")) == 6


def test_a_shared_document_is_recalled_and_its_neighbours_are_not(guarded: Memory) -> None:
    bobs = guarded.acting_as("bob").as_user("bob")
    bobs.share("notes", "bob1", with_user="ada")
    ada = guarded.acting_as("ada")
    assert texts(ada, "dog", user="bob") == ["a dog of bob 1"]
    assert "a dog of bob 1" in texts(ada, "dog")
    assert "a dog of bob 0" not in texts(ada, "dog")
    bobs.unshare("notes", "bob1", with_user="ada")
    assert "a dog of bob 1" not in texts(ada, "dog")


def test_nobody_else_may_reindex(guarded: Memory) -> None:
    with pytest.raises(AccessDenied):
        guarded.acting_as("ada").reindex()
    guarded.acting_as("root").reindex()


def test_a_search_is_on_record(guarded: Memory) -> None:
    guarded.acting_as("ada").recall("dog", k=1)
    entries = guarded.acting_as("root").audit.entries()
    searches = [entry for entry in entries if "search" in str(entry)]
    assert searches
    assert "ada" in str(searches[-1])


def test_a_forgotten_user_is_recalled_no_more(guarded: Memory) -> None:
    ada = guarded.acting_as("ada").as_user("ada")
    ada.delete_memory("notes")
    assert texts(guarded.acting_as("root"), "dog", user="ada") == []


def test_what_a_backup_brings_back_is_recalled(recall: Recall, tmp_path: Path) -> None:
    with Memory(f"sqlite:///{tmp_path}/m.db", recall=recall, encryption_key=KEY) as memory:
        memory.store_memory("notes", {"id": "1", "text": "a dog"})
        memory.backup_data(tmp_path / "backup")
        memory.delete_memory("notes")
        memory.store_memory("notes", {"id": "2", "text": "an umbrella"})
        assert texts(memory, "dog", k=1) != ["a dog"]
        memory.restore_data(tmp_path / "backup")
        assert texts(memory, "dog") == ["a dog"]
        assert "an umbrella" not in texts(memory, "umbrella")
