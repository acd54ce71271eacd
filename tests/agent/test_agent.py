"""The tutor: what it says, what it keeps, and what a second process knows of the first."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from rich.console import Console

from lc_memory import Memory
from memory_agent.agent import WINDOW, MemoryAgent
from memory_agent.models import default_model, describe
from memory_agent.offline import OfflineModel
from memory_agent.terminal import HELP, Chat, export
from tests.openai_server import Call, Drop, Fail, OpenAIServer, Say, Step

MAIN = Path(__file__).parents[2] / "agents" / "main.py"
ADA = (
    "Hi, I'm Ada. I prefer short answers with Python examples. "
    "I've finished variables and functions."
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/agent.db"


def test_without_the_extra_only_talking_is_missing(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["langchain"] = sys.modules["rich"] = None
from lc_memory import MissingExtra
from memory_agent import agent
with agent.MemoryAgent(storage_type="database") as tutor:
    tutor.store_memory("user_preferences", {"name": "John"})
    print(tutor.retrieve_memory("user_preferences"))
    try:
        tutor.chat("Hello")
    except MissingExtra as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.stderr == ""
    assert run.stdout.startswith("{'name': 'John'}\n")
    assert 'pip install "lc-memory[agent]"' in run.stdout


def test_the_second_session_knows_the_first(url: str) -> None:
    with MemoryAgent(url=url) as agent:
        assert "Ada" in agent.chat(ADA)
    with MemoryAgent(url=url) as agent:
        greeting = agent.greeting()
        assert all(part in greeting for part in ("Ada", "variables and functions", "50", "classes"))
        known = agent.chat("What do you know about me?")
        assert all(part in known for part in ("Ada", "short", "Python", "functions"))
        assert "classes" in agent.chat("What's next?")
        assert "50" in agent.chat("How far am I?")
        lesson = agent.chat("Explain classes")
        assert "```python" in lesson
        profile = agent.retrieve_memory("user_profile")
        progress = agent.retrieve_memory("user_learning_progress")
    assert profile is not None
    assert progress is not None
    assert profile["profile"]["name"] == "Ada"
    assert progress["completed_topics"] == ["variables", "functions"]
    assert progress["progress_percentage"] == 50


def test_a_turn_is_kept_whole(url: str) -> None:
    with MemoryAgent(url=url) as agent:
        answer = agent.chat(ADA, session_id="s")
        turn = agent.chat_history("s").messages
        assert [turn[0].content, turn[-1].content] == [ADA, answer]
        assert {m.type for m in turn} == {"human", "ai", "tool"}
        assert "<memory>" not in str(turn)
        agent.chat("Hello", session_id="s")
        assert agent.chat_history("s").messages[: len(turn)] == turn
        assert agent.chat_history(agent.session_id).messages == []


async def test_it_streams_and_speaks_async(url: str) -> None:
    async with MemoryAgent(url=url) as agent:
        pieces = list(agent.stream("Hello"))
        assert len(pieces) > 3
        async_pieces = [piece async for piece in agent.astream("Hello")]
        assert "".join(pieces) == "".join(async_pieces)
        assert "Ada" in await agent.achat("I am Ada")
        assert len(await agent.chat_history(agent.session_id).aget_messages()) >= 6


def test_users_of_one_store_are_kept_apart(url: str) -> None:
    for name in ("Ada", "Bob"):
        with MemoryAgent(url=url, user_id=name.lower()) as agent:
            agent.chat(f"I'm {name}")
    with MemoryAgent(url=url, user_id="ada") as agent:
        assert "Ada" in agent.greeting()
        assert "Bob" not in agent.chat("What do you know about me?")
        agent.chat("Forget everything about me")
        assert "Ada" not in agent.greeting()
    with MemoryAgent(url=url, user_id="bob") as agent:
        assert "Bob" in agent.greeting()


def test_a_long_session_is_cut_at_a_question(url: str) -> None:
    with OpenAIServer([Say("ok")]) as server, MemoryAgent(url=url, model=_model(server)) as agent:
        history = agent.chat_history("s")
        for i in range(WINDOW):
            history.add_messages([HumanMessage(f"q{i}")])
            history.add_ai_message(f"a{i}")
        agent.chat("last", session_id="s")
        sent = server.requests[0].body["messages"]
        assert [sent[1]["content"], sent[-1]["content"]] == [f"q{WINDOW // 2}", "last"]


# -- the model ---------------------------------------------------------------------------------


def _model(server: OpenAIServer) -> BaseChatModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "test")
        patch.setenv("OPENAI_BASE_URL", server.base_url)
        return default_model()


def test_without_a_key_the_offline_model_says_so() -> None:
    assert isinstance(default_model(), OfflineModel)
    assert "Offline" in describe(default_model())


def test_over_http_with_tools(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    steps: list[Step] = [
        [
            Call("remember", {"content": "Ada", "kind": "name"}),
            Call("update_progress", {"completed": ["variables"]}),
        ],
        Say("Nice to meet you, Ada."),
    ]
    with OpenAIServer(steps) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        with MemoryAgent(url=url) as agent:
            assert server.base_url in describe(agent.model)
            assert agent.chat("I'm Ada") == "Nice to meet you, Ada."
            assert "Ada" in agent.greeting()
        first, second = (request.body for request in server.requests)
        assert {tool["function"]["name"] for tool in first["tools"]} == {
            *("remember", "recall", "forget", "update_progress", "review"),
        }
        assert '"name": "Ada"' in second["messages"][0]["content"]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Fail(401, "bad key"), openai.AuthenticationError),
        (Fail(500, "broken"), openai.InternalServerError),
        (Fail(429, "slow down"), openai.RateLimitError),
        (Drop(), openai.APIConnectionError),
        (Drop("half an ans"), Exception),
        (Drop("half an ans", clean=True), ConnectionError),
    ],
    ids=["401", "500", "429", "dropped", "dropped in the middle", "closed in the middle"],
)
def test_a_failing_model_leaves_no_half_turn(url: str, step: Step, error: type[Exception]) -> None:
    with OpenAIServer([step] * 5) as server, MemoryAgent(url=url, model=_model(server)) as agent:
        with pytest.raises(error):
            agent.chat("Hello", session_id="s")
        assert agent.chat_history("s").messages == []


async def test_half_an_answer_is_none_for_async_callers_either(url: str) -> None:
    with (
        OpenAIServer([Drop("half an ans", clean=True), Say("All of it.")]) as server,
        MemoryAgent(url=url, model=_model(server)) as agent,
    ):
        with pytest.raises(ConnectionError, match="cut off"):
            await agent.achat("Hello", session_id="s")
        assert await agent.achat("Hello", session_id="s") == "All of it."
        assert len(agent.chat_history("s").messages) == 2


def test_half_a_surrogate_pair_does_not_end_a_conversation(url: str) -> None:
    likes = Call("remember", {"content": "likes \ud83d", "kind": "preference"})
    script: list[Step] = [Say("cut \ud83d"), likes, Say("Kept."), Say("Still here.")]
    with (
        OpenAIServer(script) as server,
        MemoryAgent(url=url, model=_model(server)) as agent,
    ):
        for text, answer in (("Hi", "cut \ud83d"), ("I \ud83d", "Kept."), ("?", "Still here.")):
            assert agent.chat(text, session_id="s") == answer
        assert agent.chat_history("s").messages[1].text == "cut \ud83d"
        sent = [m["content"] for m in server.requests[-1].body["messages"]]
        assert {"cut \ufffd", "I \ufffd"} <= set(map(str, sent))


def test_a_turn_is_kept_whole_behind_messages_of_the_same_id(url: str) -> None:
    """Others may have stored a message twice."""
    with (
        OpenAIServer([Say("All of it.")]) as server,
        MemoryAgent(url=url, model=_model(server)) as agent,
    ):
        history = agent.chat_history("s")
        history.add_messages([HumanMessage("a", id="1"), HumanMessage("a", id="1")])
        assert agent.chat("Hello", session_id="s") == "All of it."
        assert [m.text for m in history.messages] == ["a", "a", "Hello", "All of it."]


def test_what_was_said_can_be_corrected_later(url: str) -> None:
    """Each time by an agent that only knows what is stored."""

    def said(text: str) -> str:
        with MemoryAgent(url=url, model=OfflineModel()) as agent:
            return agent.chat(text)

    said("I'm Bob, a beginner, and I like long answers and Rust examples.")
    said("I've finished variables, functions and classes. I'm learning inheritance.")
    said("My name isn't Bob, it's Bea.")
    said("I'm intermediate now.")
    said("I no longer like long answers. I no longer like Rust examples.")
    said("I haven't finished classes yet.")
    with MemoryAgent(url=url, model=OfflineModel()) as agent:
        known = agent.knowledge.snapshot()
        assert known["profile"] == {
            "name": "Bea",
            "experience_level": "intermediate",
            "preferences": {"answer length": "short"},
        }
        assert known["progress"]["completed_topics"] == ["variables", "functions"]
        told = "You have finished variables and functions (50%). You are learning inheritance."
        assert agent.greeting() == f"Welcome back, Bea! {told}"
        assert agent.chat("Where do I stand?").startswith(told)
        agent.chat("Reset my progress and forget my preferences.")
        known = agent.knowledge.snapshot()
        assert known["progress"]["completed_topics"] == []
        assert known["profile"]["preferences"] == {}


# -- the terminal ------------------------------------------------------------------------------


def test_the_tour_is_two_processes_over_one_memory(tmp_path: Path) -> None:
    """What ``make demo`` prints without a terminal."""
    done = subprocess.run(
        [sys.executable, str(MAIN)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.split("Session 2")
    assert "Offline model" in first
    second = " ".join(second.split())
    assert "Welcome back, Ada!" in second
    assert "50" in second
    assert "Next: classes" in second
    assert "class Cat" in second
    with Memory(f"sqlite:///{tmp_path}/demo/agent_memory.db") as memory:
        assert memory.retrieve_memory("user_profile")


def test_a_conversation_at_a_terminal(tmp_path: Path) -> None:
    """Typed at a real (pseudo) terminal, with commands; what is broken ends nothing."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, str(MAIN), "--db", str(tmp_path / "a.db")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        screen = _read_until(ours, "/quit leaves")
        for line, expected in (
            (ADA, "Nice to meet you, Ada"),
            ("/memory", "functions"),
            ("/progress", "50%"),
            ("/forget name", "name: Ada"),
            ("/what", "/memory"),
        ):
            os.write(ours, line.encode() + b"\n")
            screen = _read_until(ours, expected)
        os.write(ours, b"/quit\n")
        assert process.wait(30) == 0
    os.close(ours)
    assert "Traceback" not in screen


def test_the_arrow_keys_bring_back_what_was_said_in_an_earlier_session(tmp_path: Path) -> None:
    database = str(tmp_path / "a.db")
    with MemoryAgent(db_path=database) as agent:
        agent.chat("Explain inheritance", session_id="first")
    with _terminal("--db", database, TERM="xterm-256color") as (process, keys):
        _read_until(keys, "/quit leaves")
        os.write(keys, b"\x1b[A")  # up
        _read_until(keys, "Explain inheritance")
        os.write(keys, b"\r")
        _read_until(keys, "print(Cat")
        _read_until(keys, "You:")
        os.write(keys, b"/prog\t")  # completed by the tab key
        _read_until(keys, "/progress")
        os.write(keys, b"\r")
        _read_until(keys, "after classes")
        _read_until(keys, "You:")
        os.write(keys, b"\x03\x04")  # Ctrl-C empties the line, Ctrl-D leaves
        assert process.wait(30) == 0


def test_sessions_export_and_models_at_a_terminal(tmp_path: Path) -> None:
    database, file = str(tmp_path / "a.db"), tmp_path / "all.json"
    with MemoryAgent(db_path=database) as agent:
        agent.chat("I'm Ada", session_id="first")
        agent.chat("Explain classes", session_id="second")
    with _terminal("--db", database) as (process, keys):
        _read_until(keys, "/quit leaves")
        for line, expected in (
            ("/sessions", "2 I'm Ada"),
            ("/sessions 2", "We go on here"),
            ("/sessions 9", "name one of the numbers"),
            ("Who am I?", "You are Ada"),
            ("/new", "A new conversation"),
            (f"/export {file}", "conversations: 2"),
            (f"/export {file}", "name another file"),
            ("/model", "Offline model"),
            ("/model gpt-x", "set OPENAI_API_KEY"),
            ("/model offline", "Offline model"),
        ):
            os.write(keys, line.encode() + b"\n")
            _read_until(keys, expected)
        os.write(keys, b"/quit\n")
        assert process.wait(30) == 0
    exported = json.loads(file.read_text())
    assert exported["profile"]["name"] == "Ada"
    talks = {talk["session_id"]: talk["messages"] for talk in exported["conversations"]}
    said = {id: messages[-2]["data"]["content"] for id, messages in talks.items()}
    assert said == {"first": "Who am I?", "second": "Explain classes"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_export_holds_what_json_has_no_form_for(tmp_path: Path) -> None:
    with MemoryAgent(storage_type="memory") as agent:
        at = datetime(2026, 3, 4, tzinfo=UTC)
        said = HumanMessage("Hi", additional_kwargs={"timestamp": at, "sound": b"la"})
        agent.chat_history("s").add_messages([said])
        assert export(agent, tmp_path / "e.json") == 1
    assert "2026-03-04 00:00" in (tmp_path / "e.json").read_text()


@pytest.mark.parametrize("word", ["/quit", "quit", "EXIT"])
def test_who_says_quit_leaves(word: str) -> None:
    with MemoryAgent(storage_type="memory") as agent:
        Chat(agent, Console(file=io.StringIO())).talk([word, "I'm Ada"])
        assert agent.knowledge.profile().profile.name is None


def test_the_help_fits_a_screen() -> None:
    lines = HELP.splitlines()
    assert len(lines) < 12
    assert max(map(len, lines)) <= 80
    with MemoryAgent(storage_type="memory") as agent:
        commands = Chat(agent, Console()).commands
    assert {c for c in commands if c not in HELP} == set()


@contextmanager
def _terminal(*arguments: str, TERM: str = "dumb") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The chat at a (pseudo) terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": TERM, "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, str(MAIN), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
    os.close(ours)


def test_a_memory_that_cannot_be_opened_is_said_plainly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(MAIN), "--db", "missing/a.db", "--say", "Hi"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no folder" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def _read_until(terminal: int, text: str) -> str:
    seen = ""
    deadline = time.monotonic() + 60
    while text not in " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen).split()):
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen
