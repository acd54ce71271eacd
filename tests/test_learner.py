"""The model of the learner: mastery, prerequisites, and what is due when."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lc_memory import InvalidValue, Knowledge, Learner, LearningProgress, Memory, MissingExtra
from lc_memory.testing.clock import FakeClock
from memory_agent.agent import MemoryAgent

DAY = 86_400
COURSE = {
    "recursion": ["functions", "loops"],
    "variables": [],
    "functions": ["variables"],
    "loops": ["variables"],
}


def test_what_is_next_rests_on_what_is_mastered(memory: Memory) -> None:
    learner = Learner(memory, COURSE)
    assert learner.next_topic() == "variables"  # recursion comes first, and rests on it
    learner.advance(["variables"])
    assert learner.next_topic() == "functions"
    learner.advance(["functions"], current="loops")
    assert learner.next_topic() == "loops"
    learner.advance(["loops"])
    assert learner.next_topic() == "recursion"
    learner.review("Functions ", "again")
    assert learner.next_topic() == "functions"  # what was lost comes first again
    states = {row["topic"]: row["state"] for row in learner.overview()}
    assert states == {
        "recursion": "locked",
        "variables": "done",
        "functions": "ready",
        "loops": "done",
    }
    learner.advance(["functions"])
    assert learner.next_topic() == "recursion"
    learner.advance(["recursion"])
    assert learner.next_topic() is None


def test_the_percentage_follows_from_mastery(memory: Memory) -> None:
    learner = Learner(memory, COURSE)
    assert learner.advance(["variables", "functions"]).progress_percentage == 50
    progress = learner.review("functions", "hard")
    assert progress.mastery("functions") == 0.75
    assert progress.progress_percentage == 43.8
    progress = learner.review("loops", "good")  # a topic that nobody said was finished
    assert progress.completed_topics == ["variables", "functions", "loops"]
    assert progress.progress_percentage == 68.8
    assert learner.review("functions", "again").progress_percentage == 59.4
    assert learner.drop("functions").progress_percentage == 50
    stored = memory.retrieve_memory("user_learning_progress")
    assert stored is not None
    assert stored["progress_percentage"] == 50
    assert stored["completed_topics"] == ["variables", "loops"]


def test_due_tells_what_to_review_today(tmp_path: Path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url, clock=clock) as memory:
        learner = Learner(memory, COURSE)
        learner.advance(["variables", "functions"])
        assert learner.due() == []
        assert learner.due(clock() + timedelta(days=30)) == ["variables", "functions"]
        clock.forward(3 * DAY)
        learner.review("variables", "easy")
        learner.review("loops", "again")
        assert learner.due() == ["functions"]
    with Memory(url, clock=clock) as memory:  # another process, another day
        learner = Learner(memory, COURSE)
        clock.forward(DAY)
        assert learner.due() == ["loops", "functions"]  # the most faded first
        learner.review("functions", "good")
        assert learner.due() == ["loops"]
        rows = {row["topic"]: row for row in learner.overview()}
        assert rows["functions"]["due_at"] > rows["loops"]["due_at"]
        first = rows["functions"]["due_at"]
        clock.forward(10 * DAY)
        learner.review("functions", "good")
        again = {row["topic"]: row for row in learner.overview()}["functions"]["due_at"]
        assert again > first  # a memory that held is asked for less often


def test_documents_of_before_are_read_and_kept(memory: Memory) -> None:
    """A document as other programs have stored it, with its own fields and no more."""
    memory.store_memory(
        "user_learning_progress",
        {
            "user_id": "default",
            "completed_topics": ["variables", "functions", "classes"],
            "current_topic": "inheritance",
            "progress_percentage": 75,
            "teacher": "Grace",
        },
    )
    knowledge = Knowledge(memory)
    assert knowledge.progress().progress_percentage == 75
    assert knowledge.learner.next_topic() == "inheritance"
    assert knowledge.learner.due() == ["variables", "functions", "classes"]  # since when, unknown
    knowledge.review("classes", "good")
    assert knowledge.learner.due() == ["variables", "functions"]
    stored = memory.retrieve_memory("user_learning_progress")
    assert stored is not None
    assert stored["teacher"] == "Grace"
    assert stored["completed_topics"] == ["variables", "functions", "classes"]
    assert (stored["current_topic"], stored["progress_percentage"]) == ("inheritance", 75)
    assert LearningProgress.model_validate(stored).to_document() == stored


def test_the_course_is_checked(memory: Memory) -> None:
    with pytest.raises(InvalidValue, match=r"\$\.course: a circle"):
        Learner(memory, {"a": ["b"], "b": ["a"]})
    with pytest.raises(InvalidValue, match=r"\$\.course\.a: 'x' is not a topic"):
        Learner(memory, {"a": ["x"]})
    learner = Learner(memory, COURSE)
    for topic, rating in (("", "good"), (" ", "good"), ("loops", "great")):
        with pytest.raises(InvalidValue):
            learner.review(topic, rating)  # type: ignore[arg-type]
    assert memory.retrieve_memory("user_learning_progress") is None


def test_prerequisites_are_kept_with_the_learner(memory: Memory) -> None:
    Learner(memory, COURSE).advance(["variables"])
    plain = Learner(memory, list(COURSE))  # knows the topics only
    assert plain.next_topic() == "functions"
    assert plain.advance(["functions"]).topics["recursion"].prerequisites == ["functions", "loops"]


def test_reviews_of_many_threads_are_all_kept(memory: Memory) -> None:
    topics = [f"t{i}" for i in range(8)]
    learner = Learner(memory, topics)
    threads = [
        threading.Thread(target=learner.review, args=(topic, "good")) for topic in topics * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row["topic"]: row["reviews"] for row in learner.overview()} == dict.fromkeys(topics, 2)


def test_users_learn_apart(memory: Memory) -> None:
    Learner(memory.as_user("ada"), COURSE).review("loops", "easy")
    assert Learner(memory.as_user("bob"), COURSE).progress().topics["loops"].reviews == 0


def test_without_the_extra_only_reviews_are_missing() -> None:
    code = """
import sys
sys.modules["fsrs"] = None
from lc_memory import Knowledge, Memory, MissingExtra
with Memory("memory://") as memory:
    known = Knowledge(memory)
    assert known.advance(["variables"])["progress_percentage"] == 25
    assert "due_for_review" not in known.snapshot()["progress"]
    assert known.learner.next_topic() == "functions"
    assert "due" not in known.learner.overview()[0]
    for use in (known.learner.due, lambda: known.review("variables", "good")):
        try:
            use()
        except MissingExtra as error:
            print(error)
    assert known.progress().topics["variables"].reviews == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count('pip install "lc-memory[learning]"') == 2
    assert issubclass(MissingExtra, ImportError)


def test_the_documents_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "chatbot.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    space: dict[str, Any] = {}
    exec(compile(code, "chatbot.md", "exec"), space)
    assert space["learner"].next_topic() == "loops"
    assert space["learner"].progress().progress_percentage == 43.8
    space["memory"].close()


def test_the_tutor_plans_reviews_across_sessions(tmp_path: Path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/agent.db"
    with MemoryAgent(url=url, clock=clock) as agent:
        agent.chat("I've finished variables and functions")
        assert "Nothing is due" in agent.chat("What should I review?")
    clock.forward(3 * DAY)
    with MemoryAgent(url=url, clock=clock) as agent:
        assert "Due for review today: variables and functions." in agent.greeting()
        assert "Due for review today: variables and functions" in agent.chat("What is due today?")
        assert "functions: hard" in agent.chat("I reviewed functions, it was hard")
        assert "How did it go" in agent.chat("I've reviewed variables")
        assert "variables: easy" in agent.chat("It was easy")
    with MemoryAgent(url=url, clock=clock) as agent:
        assert "Nothing is due" in agent.chat("Which topics should I review?")
        rows = {row["topic"]: row for row in agent.knowledge.learner.overview()}
        assert rows["functions"]["mastery"] == 0.75
        assert rows["variables"]["due_at"] > rows["functions"]["due_at"]
