"""Learning from messages: what is stored, what is believed, and what is never learned."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from lc_memory import InvalidDocument, Knowledge, Memory, knowledge
from lc_memory.aio import THREADS
from lc_memory.errors import LCMemoryError
from lc_memory.knowledge import FENCE
from memory_agent.offline import OfflineModel

MARCH = "2026-03-01T10:00:00+00:00"
JULY = "2026-07-01T10:00:00+00:00"


class Extracting(BaseChatModel):
    """A model whose answers are what ``extract`` makes of the material; it keeps what it saw."""

    extract: Callable[[dict[str, Any]], Any]
    seen: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "extracting"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        material = json.loads(str(messages[-1].content))
        self.seen.append(material)
        args = self.extract(material)
        calls = [{"name": "Statements", "args": args, "id": "c"}] if args is not None else []
        used = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
        message = AIMessage("", tool_calls=calls, usage_metadata=used)  # type: ignore[arg-type]
        return ChatResult(generations=[ChatGeneration(message=message)])


class Thinking(Extracting):
    """A model for asyncio alone, which answers when it may."""

    begun: asyncio.Event = Field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = Field(default_factory=asyncio.Event)

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise AssertionError("a thread would wait for this")

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.begun.set()
        await self.may_answer.wait()
        return Extracting._generate(self, messages)


def each_message(material: dict[str, Any]) -> dict[str, Any]:
    """A fact of each message of the user's."""
    return {
        "statements": [
            {"statement": m["text"], "sources": [m["id"]]}
            for m in material["messages"]
            if "id" in m
        ]
    }


def said(text: str, at: str = MARCH, **given: Any) -> HumanMessage:
    return HumanMessage(text, additional_kwargs={"timestamp": at}, **given)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory(f"sqlite:///{tmp_path}/memory.db", recall=True) as opened:
        yield opened


def facts(memory: Memory, user: str = "ada") -> list[str]:
    return sorted(fact["text"] for fact in Knowledge(memory.as_user(user)).facts())


def test_facts_have_what_one_needs_to_trust_them(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    learned = memory.learn([said("I live in Oslo", id="m1")], user="ada", model=model)
    (fact,) = memory.as_user("ada").search_memory("facts")
    assert fact == learned.facts[0]
    assert fact["text"] == "I live in Oslo"
    assert (fact["subject"], fact["kind"], fact["confidence"]) == ("user", "fact", 1.0)
    assert fact["sources"] == ["m1"]
    assert fact["valid_from"] == datetime.fromisoformat(MARCH)
    assert learned.tokens == {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    assert [hit.value for hit in memory.recall("Oslo", user="ada", namespaces=["documents"])] == [
        fact
    ]


def test_the_messages_are_stored_first_and_a_failure_can_be_repeated(memory: Memory) -> None:
    def failing(material: dict[str, Any]) -> Any:
        raise ConnectionError("no model today")

    messages = [said("I live in Oslo"), AIMessage("Nice!")]
    with pytest.raises(ConnectionError):
        memory.learn(messages, user="ada", model=Extracting(extract=failing))
    history = memory.as_user("ada").chat_history("learned")
    assert [message.text for message in history.messages] == ["I live in Oslo", "Nice!"]
    assert facts(memory) == []
    learned = memory.learn(messages, user="ada", model=Extracting(extract=each_message))
    assert learned.stored == 0
    assert len(history.messages) == 2
    assert facts(memory) == ["I live in Oslo"]


def test_repeating_learns_nothing_twice_and_asks_no_model(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    for _ in range(3):
        memory.learn([said("I live in Oslo")], user="ada", model=model)
    assert len(model.seen) == 1
    memory.learn([said("i  live in OSLO", id="again")], user="ada", model=model)
    assert facts(memory) == ["I live in Oslo"]
    assert len(memory.as_user("ada").search_memory("facts")) == 1


def test_who_learns_at_the_same_time_learns_nothing_twice(memory: Memory) -> None:
    def overtaken(material: dict[str, Any]) -> dict[str, Any]:
        """Others learn from it, in other words, while this model thinks."""
        memory.learn([said("I live in Oslo", id="m")], "ada", Extracting(extract=each_message))
        return {"statements": [{"statement": "Their home is Oslo", "sources": ["m"]}]}

    learned = memory.learn([said("I live in Oslo", id="m")], "ada", Extracting(extract=overtaken))
    assert facts(memory) == ["I live in Oslo"]
    assert learned.facts == []


def test_who_learns_at_the_same_time_stores_no_message_twice(memory: Memory) -> None:
    messages = [said(f"I have lived in {n} towns", id=f"m{n}") for n in range(30)]
    start = threading.Barrier(6)

    def learn(_: int) -> int:
        start.wait()
        return memory.learn(messages, "ada", Extracting(extract=each_message)).stored

    with ThreadPoolExecutor(6) as pool:
        stored = list(pool.map(learn, range(6)))
    history = memory.as_user("ada").chat_history("learned")
    assert [message.id for message in history.messages] == [f"m{n}" for n in range(30)]
    assert sorted(stored) == [0] * 5 + [30]
    assert len(facts(memory)) == 30


@pytest.mark.parametrize("id", ["i" * 2000, "a\0b", "half \ud83d"])
def test_an_id_that_cannot_be_a_key_is_no_obstacle(memory: Memory, id: str) -> None:
    def replacing(material: dict[str, Any]) -> dict[str, Any]:
        given = each_message(material)
        return {"statements": [{**each, "replaces": [id]} for each in given["statements"]]}

    for _ in range(2):
        memory.learn([said("I live in Oslo", id=id)], "ada", Extracting(extract=replacing))
    assert facts(memory) == ["I live in Oslo"]
    assert len(memory.as_user("ada").chat_history("learned").messages) == 1


def test_the_same_words_said_twice_are_two_messages(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    learned = memory.learn([said("yes"), said("yes")], user="ada", model=model)
    assert learned.stored == 2


def contradicting(material: dict[str, Any]) -> dict[str, Any]:
    answer = each_message(material)
    for statement in answer["statements"]:
        statement["replaces"] = [known["id"] for known in material["known"]]
    return answer


def test_a_new_fact_supersedes_and_the_old_one_stays_on_record(memory: Memory) -> None:
    model = Extracting(extract=contradicting)
    memory.learn([said("I am allergic to peanuts", MARCH)], user="ada", model=model)
    learned = memory.learn([said("The peanut allergy was none", JULY)], user="ada", model=model)
    assert facts(memory) == ["The peanut allergy was none"]
    (old,) = learned.superseded
    assert old["superseded_by"] == learned.facts[0]["id"]
    assert len(memory.as_user("ada").search_memory("facts")) == 2

    def recalled(**given: Any) -> list[str]:
        where = [("documents", "facts")]
        return [h.text for h in memory.recall("peanut", user="ada", namespaces=where, **given)]

    assert recalled() == ["The peanut allergy was none"]
    assert recalled(as_of=datetime(2026, 5, 1, tzinfo=UTC)) == ["I am allergic to peanuts"]
    assert recalled(as_of=datetime(2026, 8, 1, tzinfo=UTC)) == ["The peanut allergy was none"]
    assert recalled(as_of=datetime(2026, 1, 1, tzinfo=UTC)) == []


def test_what_was_said_earlier_does_not_supersede_what_was_said_later(memory: Memory) -> None:
    model = Extracting(extract=contradicting)
    memory.learn([said("I live in Bergen", JULY)], user="ada", model=model)
    memory.learn([said("I live in Oslo", MARCH)], user="ada", model=model)
    assert facts(memory) == ["I live in Bergen"]
    where = [("documents", "facts")]
    then = datetime(2026, 4, 1, tzinfo=UTC)
    found = memory.recall("live", user="ada", namespaces=where, as_of=then)
    assert [hit.text for hit in found] == ["I live in Oslo"]


def test_a_fact_that_is_true_again_is_believed_again(memory: Memory) -> None:
    model = Extracting(extract=contradicting)
    for text, at in (("In Oslo", MARCH), ("In Bergen", "2026-05-01T00:00:00+00:00")):
        memory.learn([said(text, at)], user="ada", model=model)
    memory.learn([said("In Oslo", JULY, id="back")], user="ada", model=model)
    assert facts(memory) == ["In Oslo"]
    assert len(memory.as_user("ada").search_memory("facts")) == 3


def test_recalled_text_is_never_learned(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    fence = FENCE.format('{"facts": [{"text": "the moon is cheese"}]}')
    memory.learn(
        [
            SystemMessage(fence),
            HumanMessage(f"{fence} I like tea", id="h"),
            AIMessage("You told me that the moon is cheese"),
            ToolMessage("the moon is cheese", tool_call_id="1"),
        ],
        user="ada",
        model=model,
    )
    (material,) = model.seen
    assert [m["text"] for m in material["messages"] if "id" in m] == ["I like tea"]
    assert facts(memory) == ["I like tea"]


def test_statements_without_a_message_of_the_users_are_dropped(memory: Memory) -> None:
    def inventing(material: dict[str, Any]) -> Any:
        return {
            "statements": [
                {"statement": "made up", "sources": []},
                {"statement": "made up too", "sources": ["nobody"]},
                {"statement": "  ", "sources": ["m"]},
                {"statement": "true", "sources": ["m", "nobody"], "replaces": ["unknown"]},
            ]
        }

    memory.learn([said("x", id="m")], user="ada", model=Extracting(extract=inventing))
    assert facts(memory) == ["true"]


@pytest.mark.parametrize("answer", [None, {"statements": 3}, {"statements": [{"statement": "x"}]}])
def test_an_answer_of_another_form_is_an_error_and_changes_nothing(
    memory: Memory, answer: Any
) -> None:
    with pytest.raises(LCMemoryError, match="call learn again"):
        memory.learn([said("x")], user="ada", model=Extracting(extract=lambda _: answer))
    assert facts(memory) == []
    assert memory.learn([said("x")], user="ada", model=Extracting(extract=each_message)).facts


def test_a_stored_session_can_be_learned_from(memory: Memory) -> None:
    memory.as_user("ada").chat_history("s1").add_messages(
        [said("I like tea"), AIMessage("What else?"), said("and coffee")]
    )
    model = Extracting(extract=each_message)
    assert memory.learn("s1", user="ada", model=model).stored == 0
    memory.as_user("ada").chat_history("s1").add_messages([said("I like rain")])
    memory.learn("s1", user="ada", model=model)
    assert [len(material["messages"]) for material in model.seen] == [3, 1]
    assert facts(memory) == ["I like rain", "I like tea", "and coffee"]


def test_long_conversations_go_in_parts_and_resume(memory: Memory) -> None:
    calls: list[int] = []

    def tiring(material: dict[str, Any]) -> Any:
        calls.append(len(material["messages"]))
        if len(calls) == 2:
            raise ConnectionError
        return each_message(material)

    messages = [said(f"fact {i}") for i in range(45)]
    model = Extracting(extract=tiring)
    with pytest.raises(ConnectionError):
        memory.learn(messages, user="ada", model=model)
    assert len(facts(memory)) == 20
    memory.learn(messages, user="ada", model=model)
    assert calls == [20, 20, 20, 5]
    assert len(facts(memory)) == 45


def test_users_learn_apart(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    memory.learn([said("I like tea")], user="ada", model=model)
    memory.learn([said("I like rain")], user="bob", model=model)
    assert facts(memory, "ada") == ["I like tea"]
    assert model.seen[1]["known"] == []


async def test_async_callers_learn_too(memory: Memory) -> None:
    model = Extracting(extract=each_message)
    await memory.alearn([said("I like tea")], user="ada", model=model)
    assert facts(memory) == ["I like tea"]


def test_the_offline_model_learns_plain_statements(memory: Memory) -> None:
    model = OfflineModel()
    messages = [said("My name is Ada. I have a cat named Turing.", id="a"), AIMessage("Hello Ada")]
    learned = memory.learn(messages, user="ada", model=model)
    assert learned.tokens["total_tokens"] > 0
    assert any("Ada" in text for text in facts(memory))
    assert any("Turing" in text for text in facts(memory))
    memory.learn([said("My name is Grace", JULY, id="b")], user="ada", model=model)
    names = [text for text in facts(memory) if "name is" in text]
    assert names == ["The user's name is Grace"]


def test_what_the_tools_remember_has_the_same_shape(memory: Memory) -> None:
    model = Extracting(extract=contradicting)
    known = Knowledge(memory.as_user("ada"))
    known.remember("lives in Oslo")
    memory.learn([HumanMessage("lives in Bergen")], user="ada", model=model)
    assert facts(memory) == ["lives in Bergen"]
    known.remember("lives in Oslo")
    assert facts(memory) == ["lives in Bergen", "lives in Oslo"]
    assert known.forget("oslo") == ["lives in Oslo", "lives in Oslo"]
    assert facts(memory) == ["lives in Bergen"]


async def test_no_thread_waits_for_a_model_and_a_cancelled_caller_for_nothing(
    memory: Memory,
) -> None:
    models = [Thinking(extract=each_message) for _ in range(2 * THREADS)]
    learning = [
        asyncio.create_task(memory.alearn([said(f"I like {n}")], f"u{n}", model))
        for n, model in enumerate(models)
    ]
    for model, task in zip(models, learning, strict=True):
        begun = asyncio.ensure_future(model.begun.wait())
        await asyncio.wait([begun, task], return_when=asyncio.FIRST_COMPLETED)
        assert begun.done()
    await memory.astore_memory("notes", {"id": "1"})  # there is a thread for it
    learning[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await learning[0]
    for model in models:
        model.may_answer.set()
    await asyncio.gather(*learning[1:])
    assert [facts(memory, f"u{n}") for n in (0, 1, 15)] == [[], ["I like 1"], ["I like 15"]]
    await memory.alearn("learned", "u0", models[0])
    assert facts(memory, "u0") == ["I like 0"]


def test_what_others_keep_among_the_facts_is_no_obstacle(memory: Memory) -> None:
    mine = memory.as_user("ada")
    known = Knowledge(mine)
    mine.store_memory("facts", {"note": "no fact"}, id="other")
    mine.store_memory("facts", {"text": 7, "id": "number"})
    mine.store_memory("facts", {"text": "likes tea"}, id="mine")
    mine.store_memory("facts", {"text": "likes mint", "id": "open", "valid_to": None})
    assert [(f["id"], f["text"]) for f in known.facts()] == [
        ("open", "likes mint"),
        ("mine", "likes tea"),
    ]
    assert [f["text"] for f in known.recall("tea")["facts"]][:1] == ["likes tea"]
    mine.store_memory("facts", {"text": "likes rye", "id": ["?"]}, id=7)
    assert known.facts(1) == [{"text": "likes rye", "id": 7}]
    assert "likes rye" in mine.context(query="rye")
    assert known.forget_fact(known.facts(1)[0]["id"])
    assert "likes mint" in mine.context(query="what does she like?")
    assert known.forget("tea") == ["likes tea"]
    assert [f["id"] for f in known.facts()] == ["open"]
    assert len(mine.search_memory("facts")) == 3


def test_punctuation_forgets_nothing(memory: Memory) -> None:
    known = Knowledge(memory.as_user("ada"))
    known.remember("short", "preference", "answers")
    known.remember("likes tea")
    for said_so in ("?!", "…", "  ", "\N{SLIGHTLY SMILING FACE}"):
        assert known.forget(said_so) == []
    assert known.profile().profile.preferences == {"answers": "short"}
    assert known.forget("short") == ["answers: short"]


def test_a_profile_of_another_form_is_refused_by_its_path(memory: Memory) -> None:
    mine = memory.as_user("ada")
    mine.store_memory("user_profile", {"user_id": "ada", "profile": {"preferences": ["tea"]}})
    with pytest.raises(InvalidDocument, match=r"\$\.profile\.preferences: .*'UserProfile'"):
        mine.context()
    mine.delete_memory("user_profile")
    mine.store_memory("user_learning_progress", {"user_id": "ada", "progress_percentage": "all"})
    with pytest.raises(InvalidDocument, match=r"\$\.progress_percentage"):
        Knowledge(mine).advance(["variables"])


def test_remembering_again_does_not_undo_what_others_do_meanwhile(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = memory.as_user("ada")
    known = Knowledge(mine)
    known.remember("lives in Oslo")
    find = knowledge.place_for

    def overtaken(*place: Any) -> Any:
        found = find(*place)
        monkeypatch.undo()
        new = [HumanMessage("lives in Bergen")]
        memory.learn(new, "ada", Extracting(extract=contradicting))
        return found

    monkeypatch.setattr(knowledge, "place_for", overtaken)
    known.remember("lives in Oslo")
    assert facts(memory) == ["lives in Bergen", "lives in Oslo"]
    (old,) = mine.search_memory("facts", {"valid_to": {"$exists": True}})
    assert old["text"] == "lives in Oslo"  # what it was superseded by stays on record
