"""``memory.recall`` over every store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from lc_memory import Clear, Memory
from lc_memory.errors import InvalidQuery, Unsupported
from lc_memory.records import Limits
from lc_memory.search.asking import Scope, Search
from lc_memory.search.ranking import Rules
from lc_memory.search.recall import Recall

#: Words that mean the same, for a model that knows only these.
CONCEPTS = (
    {"peanut", "peanuts", "nuts", "allergy", "allergic"},
    {"dog", "puppy", "terrier"},
    {"rain", "wet", "umbrella"},
)


def concepts(texts: list[str]) -> list[list[float]]:
    """An embedding function: how much a text has of each concept."""
    vectors = []
    for text in texts:
        words = set(text.casefold().replace(".", "").replace("?", "").split())
        vectors.append([*(float(len(words & concept)) for concept in CONCEPTS), 0.01])
    return vectors


@pytest.fixture(params=["words", "meaning"])
def recalling(request: pytest.FixtureRequest, memory_url: str) -> Iterator[Memory]:
    """A memory over each kind of store, with recall by words, and also by meaning."""
    by_words = request.param == "words"
    settings = Recall(refresh=0) if by_words else Recall(embeddings=concepts, refresh=0)
    with Memory(memory_url, recall=settings) as memory:
        yield memory


def texts(memory: Memory, query: str, **given: Any) -> list[str]:
    return [hit.text for hit in memory.recall(query, **given)]


def test_documents_messages_items_and_the_store_are_searched_alike(recalling: Memory) -> None:
    recalling.store_memory("notes", {"id": "1", "title": "Food", "text": "peanuts are out"})
    recalling.chat_history("s").add_messages([HumanMessage("No peanuts for me")])
    recalling.backend.write(
        recalling.session("t")._log.operations([{"role": "user", "content": "Peanuts? Never"}])
    )
    recalling.store().put(("prefs",), "a", {"text": "hates peanuts"})
    recalling.checkpointer()
    recalling.key_value().mset([("peanuts", b"peanuts")])
    found = recalling.recall("peanuts")
    assert sorted(hit.source.split("/")[0] for hit in found) == [
        "documents",
        "items",
        "messages",
        "store",
    ]
    for hit in found:
        assert hit.score > 0
        assert abs(hit.score - sum(hit.parts.values())) < 1e-9
        assert "peanut" in hit.why
        assert hit.record == recalling.backend.read([hit.record.id])[0]


def test_one_sentence_is_found_among_many(recalling: Memory) -> None:
    history = recalling.as_user("ada").chat_history("s")
    history.add_messages([HumanMessage(f"We talked about topic {i}.") for i in range(60)])
    history.add_messages([HumanMessage("I am allergic to peanuts.")])
    history.add_messages([AIMessage(f"Topic {i} is done.") for i in range(60)])
    assert texts(recalling, "Is she allergic to anything?", user="ada", k=1) == [
        "I am allergic to peanuts."
    ]


def test_users_are_kept_apart(recalling: Memory) -> None:
    for user in ("ada", "adam", "bob"):
        recalling.as_user(user).store_memory("notes", {"text": f"peanuts of {user}"})
    assert texts(recalling, "peanuts", user="ada") == ["peanuts of ada"]
    assert texts(recalling.as_user("adam"), "peanuts") == ["peanuts of adam"]
    assert len(texts(recalling, "peanuts")) == 3
    with pytest.raises(InvalidQuery, match="ada"):
        recalling.as_user("ada").recall("peanuts", user="bob")


def test_updates_and_deletions_are_seen_at_once(recalling: Memory) -> None:
    recalling.store_memory("notes", {"id": "1", "text": "a terrier"})
    recalling.store_memory("notes", {"id": "2", "text": "a terrier too"})
    recalling.store_memory("notes", {"id": "1", "text": "an umbrella"})
    assert "an umbrella" not in texts(recalling, "terrier", k=1)
    assert texts(recalling, "umbrella", k=1) == ["an umbrella"]
    recalling.update_memory("notes", {"text": "a parrot"}, id="2")
    assert texts(recalling, "parrot", k=1) == ["a parrot"]
    recalling.delete_memory("notes", id="2")
    assert "a parrot" not in texts(recalling, "parrot")
    recalling.backend.write([Clear(("documents",))])
    assert recalling.recall("umbrella terrier parrot") == []


def test_what_others_change_is_seen_though_it_was_remembered(
    recalling: Memory, memory_url: str
) -> None:
    """A search remembers what it read; another opener writes, and the next search tells it."""
    if memory_url == "memory://":
        pytest.skip("is nobody else's")
    notes = ("documents", "notes")
    for id, name in {"a": "Rex", "b": "Tom", "c": "Pip"}.items():
        recalling.store_memory("notes", {"id": id, "text": f"The dog is called {name}."})
    assert len(recalling.recall("dog")) == 3
    with Memory(memory_url) as other:
        other.store_memory("notes", {"id": "a", "text": "The dog was called Rex."})
        other.delete_memory("notes", id="b")
        past = datetime.now(UTC) - timedelta(minutes=1)
        other.backend.put(notes, "c", {"text": "The dog!"}, expires_at=past)
    hits = recalling.recall("dog")
    assert [(hit.text, hit.value["text"]) for hit in hits] == [("The dog was called Rex.",) * 2]


def test_what_is_deleted_while_a_search_ranks_is_made_up_for() -> None:
    """The hits are read last; the next best stands in for one that has gone by then."""
    with Memory("memory://", recall=True) as memory:
        for number in range(5):
            memory.store_memory("notes", {"id": str(number), "text": "A dog. " * (number + 1)})
        before = texts(memory, "dog", k=5)
        store, states = memory._layers.store, memory._layers.store.states
        gone = next(hit.record.key for hit in memory.recall("dog", k=1))

        def then_delete(ids: Any) -> Any:
            found = states(ids)
            store.delete(("documents", "notes"), gone)
            return found

        store.states = then_delete  # type: ignore[method-assign]
        assert texts(memory, "dog", k=3) == before[1:4]


NUMBERS = [f"2024-{number:04}" for number in range(90, 110)]


def invoices(memory: Memory) -> None:
    said: list[HumanMessage | AIMessage] = []
    for number in NUMBERS:
        said.append(HumanMessage(f"Is invoice {number} paid?"))
        said.append(
            AIMessage(f"Yes, invoice {number} has been paid." if number[-1] < "5" else "No.")
        )
    memory.chat_history("s").add_messages(said)
    for error in range(4700, 4720):
        text = f"The customer saw ERR-{error}." if error % 2 else f"Form not saved: ERR-{error}"
        memory.store_memory("notes", {"id": str(error), "text": text})


class Mistaken(Embeddings):
    """A model to which codes are one like another: it takes each for the next."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._of(text, 0) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._of(text, 1)

    def _of(self, text: str, further: int) -> list[float]:
        numbers = [int(number) for number in re.findall(r"\d{4}", text)]
        return [float(any((n + further) % 64 == i for n in numbers[-1:])) for i in range(64)]


@pytest.mark.parametrize("kind", ["sqlite", "json"])
@pytest.mark.parametrize("by_words", [True, False])
def test_the_very_code_comes_before_one_like_it(kind: str, by_words: bool, tmp_path: Path) -> None:
    def wrong(rules: Rules) -> int:
        recall = Recall(embeddings=None if by_words else Mistaken(), rules=rules)
        count = 0
        with Memory(f"{kind}:///{tmp_path}/memory", recall=recall) as memory:
            if not memory.recall("invoice", k=1):
                invoices(memory)
            for code in [*NUMBERS, *(f"ERR-{error}" for error in range(4700, 4720))]:
                for query in (code, f"When did anyone ask about {code}, and was it saved or paid?"):
                    count += code not in memory.recall(query)[0].text
        return count

    assert wrong(Rules(exact=0)) > 0
    assert wrong(Rules()) == 0


def test_a_code_at_the_end_of_a_long_question_is_looked_for(recalling: Memory) -> None:
    recalling.store_memory("notes", {"id": "1", "text": "The customer saw ERR-4711."})
    words = " ".join(f"{a}{b}" for a in "bcdfghjk" for b in "aeiou" for _ in "x")
    padded = " ".join(f"{word}q{word}" for word in words.split())
    assert texts(recalling, f"{padded} ERR-4711", k=1) == ["The customer saw ERR-4711."]


def test_what_has_expired_is_not_recalled(recalling: Memory) -> None:
    recalling.store_memory("notes", {"id": "1", "text": "peanuts"}, ttl=1e-6)
    recalling.store_memory("notes", {"id": "2", "text": "more peanuts"})
    assert texts(recalling, "peanuts") == ["more peanuts"]
    recalling.backend.sweep()
    assert texts(recalling, "peanuts") == ["more peanuts"]


def test_filters_are_made_up_for_however_rare_the_match(recalling: Memory) -> None:
    recalling.batch_store(
        [("notes", {"id": str(i), "text": "peanuts", "kind": "plain"}) for i in range(250)]
    )
    recalling.store_memory("notes", {"id": "x", "text": "some peanuts at last", "kind": "rare"})
    assert texts(recalling, "peanuts", filter={"kind": "rare"}) == ["some peanuts at last\nrare"]
    assert len(recalling.recall("peanuts", k=20, filter={"kind": "plain"})) == 20


def test_times_bound_what_is_recalled(recalling: Memory) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    recalling.chat_history("s").add_messages(
        HumanMessage(
            f"peanuts {day}",
            additional_kwargs={"timestamp": (start + timedelta(days=day)).isoformat()},
        )
        for day in range(5)
    )
    since, until = start + timedelta(days=1), start + timedelta(days=3)
    found = texts(recalling, "peanuts", since=since, until=until)
    assert sorted(found) == ["peanuts 1", "peanuts 2"]
    assert sorted(texts(recalling, "peanuts", as_of=since)) == ["peanuts 0", "peanuts 1"]


def test_a_message_of_a_time_that_utc_does_not_know_is_kept(recalling: Memory) -> None:
    said = {"timestamp": "9999-12-31T23:59:59-14:00"}
    recalling.chat_history("s").add_message(HumanMessage("peanuts", additional_kwargs=said))
    assert texts(recalling, "peanuts") == ["peanuts"]


def test_documents_are_known_since_they_were_stored_whatever_date_they_bear(
    recalling: Memory,
) -> None:
    recalling.store_memory("notes", {"text": "peanuts for the party", "date": "2999-12-24"})
    now = datetime.now(UTC) + timedelta(minutes=1)
    assert len(recalling.recall("peanuts", as_of=now)) == 1
    assert recalling.recall("peanuts", as_of=now - timedelta(days=1)) == []
    assert recalling.recall("peanuts", until=now) == []


def test_long_texts_come_back_whole(recalling: Memory) -> None:
    long = "peanuts " + "and so on " * 5000
    recalling.store_memory("notes", {"text": long})
    assert texts(recalling, "peanuts") == [long]


def test_namespaces_bound_where(recalling: Memory) -> None:
    recalling.store_memory("notes", {"text": "peanuts in notes"})
    recalling.store_memory("notes-old", {"text": "peanuts in old notes"})
    recalling.chat_history("s").add_messages([HumanMessage("peanuts said")])
    assert texts(recalling, "peanuts", namespaces=[("documents", "notes")]) == ["peanuts in notes"]
    assert texts(recalling, "peanuts", namespaces=["messages"]) == ["peanuts said"]
    with pytest.raises(InvalidQuery, match="checkpoints"):
        recalling.recall("peanuts", namespaces=["checkpoints"])


def test_limits_of_access_hold_in_every_index(recalling: Memory) -> None:
    for user in ("ada", "bob"):
        recalling.as_user(user).chat_history("s").add_messages(
            [HumanMessage(f"{user}: {i} peanuts") for i in range(3)]
        )
    layer: Any = recalling._layers.indexed
    one = (("users", "bob", "messages", "s"), f"{1:016d}")
    limits = Limits((("users", "ada"),), (one,))
    found = recalling.backend.search(Search("peanuts", Scope(within=limits)))
    assert sorted(hit.text for hit in found) == [
        "ada: 0 peanuts",
        "ada: 1 peanuts",
        "ada: 2 peanuts",
        "bob: 1 peanuts",
    ]
    for nothing in (Scope(()), Scope(within=Limits())):
        assert recalling.backend.search(Search("peanuts", nothing)) == []
        assert layer._keywords.counts(["xxpeanut"], nothing) == (0, {})
    total, counts = layer._keywords.counts(["xxpeanut"], Scope(within=limits))
    assert (total, counts) == (4, {"xxpeanut": 4})
    assert set(layer._keywords.best({"xxpeanut": 1.0}, Scope(within=limits), 99)) == {
        hit.record.id for hit in found
    }
    if layer._meaning is not None:
        vector = layer._meaning.asked("peanuts")
        near = layer._meaning.nearest(vector, Scope(within=limits), 99)
        assert set(near) == {hit.record.id for hit in found}


def test_chinese_and_japanese_are_found_by_parts(recalling: Memory) -> None:
    recalling.store_memory("notes", {"id": "zh", "text": "她对花生过敏"})
    recalling.store_memory("notes", {"id": "ja", "text": "東京都に住んでいます"})
    assert texts(recalling, "花生", k=1) == ["她对花生过敏"]
    assert texts(recalling, "東京", k=1) == ["東京都に住んでいます"]


@pytest.mark.parametrize(
    "query",
    ['"', "' OR 1=1 --", "peanuts* NEAR(x)", "a:b", "xx" * 3000, "(((", "\x00", "+-~<>@", "😀"],
)
def test_any_text_may_be_a_query(recalling: Memory, query: str) -> None:
    recalling.store_memory("notes", {"id": "1", "text": "peanuts"})
    assert len(recalling.recall(query)) <= 1


def test_a_query_says_something(recalling: Memory) -> None:
    for empty in ("", "   ", None):
        with pytest.raises(InvalidQuery, match="query"):
            recalling.recall(empty)  # type: ignore[arg-type]
    for k in (0, -1, "1", True):
        with pytest.raises(InvalidQuery, match="k:"):
            recalling.recall("peanuts", k=k)  # type: ignore[arg-type]
    with pytest.raises(InvalidQuery, match="since"):
        recalling.recall("peanuts", since=datetime(2026, 1, 1))


def test_only_what_people_and_models_said_is_searched_of_a_chat(recalling: Memory) -> None:
    recalling.chat_history("s").add_messages(
        [
            SystemMessage("Remember the peanuts"),
            HumanMessage([{"type": "text", "text": "I said peanuts"}]),
            AIMessage("", tool_calls=[{"name": "recall", "args": {"q": "peanuts"}, "id": "1"}]),
            ToolMessage("Recalled: peanuts", tool_call_id="1"),
        ]
    )
    assert texts(recalling, "peanuts") == ["I said peanuts"]


async def test_async_callers_recall_too(recalling: Memory) -> None:
    await recalling.astore_memory("notes", {"text": "peanuts"})
    assert [hit.text for hit in await recalling.arecall("peanuts")] == ["peanuts"]


def test_reindexing_finds_what_was_written_without_recall(memory_url: str) -> None:
    if memory_url == "memory://":
        pytest.skip("is gone when it is closed")
    with Memory(memory_url) as plain:
        plain.store_memory("notes", {"id": "1", "text": "peanuts before"})
    seen: list[tuple[int, int]] = []
    with Memory(memory_url, recall=True) as memory:
        assert texts(memory, "peanuts") == ["peanuts before"]
        assert memory.reindex(lambda done, total: seen.append((done, total))) == 1
        assert texts(memory, "peanuts") == ["peanuts before"]
    assert seen
    assert seen[-1][0] == seen[-1][1]


def test_another_process_without_recall_keeps_a_databases_index(memory_url: str) -> None:
    if memory_url == "memory://":
        pytest.skip("belongs to one process")
    with Memory(memory_url, recall=Recall(refresh=0)) as memory, Memory(memory_url) as plain:
        plain.store_memory("notes", {"id": "1", "text": "peanuts from elsewhere"})
        assert texts(memory, "peanuts") == ["peanuts from elsewhere"]
        plain.store_memory("notes", {"id": "1", "text": "umbrella from elsewhere"})
        assert texts(memory, "peanuts") == []
        assert texts(memory, "umbrella") == ["umbrella from elsewhere"]
        plain.delete_memory("notes")
        assert texts(memory, "umbrella") == []


def test_a_sqlite_without_its_text_search_is_searched_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lc_memory.stores.sql_words.there", lambda database: False)
    with Memory(f"sqlite:///{tmp_path}/memory.db", recall=True) as memory:
        memory.store_memory("notes", {"id": "1", "text": "peanuts"})
        assert texts(memory, "peanut") == ["peanuts"]
        memory.delete_memory("notes")
        assert texts(memory, "peanut") == []


def test_without_recall_nothing_is_kept_and_the_error_says_what_to_do(memory: Memory) -> None:
    memory.store_memory("notes", {"text": "peanuts"})
    with pytest.raises(Unsupported, match="recall=True"):
        memory.recall("peanuts")
    with pytest.raises(Unsupported, match="recall=True"):
        memory.reindex()
    assert memory._layers.indexed is None
