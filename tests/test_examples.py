"""The examples run as a reader would run them, in a folder of their own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.openai_server import Call, OpenAIServer, Say

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, folder: Path, **settings: str) -> str:
    """What an example prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "agents")])
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(ROOT / "examples" / name)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"} | settings,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    return done.stdout


def test_langchain_agent(tmp_path: Path) -> None:
    printed = run("langchain_agent.py", tmp_path)
    _, known = printed.split("> What do you know about me?")
    assert "Ada" in known
    assert "short answers" in known
    assert "functions" in known


def test_chat_history(tmp_path: Path) -> None:
    assert "(4 messages are kept)" in run("chat_history.py", tmp_path)
    assert "(8 messages are kept)" in run("chat_history.py", tmp_path)


def test_langgraph_graph(tmp_path: Path) -> None:
    printed = run("langgraph_graph.py", tmp_path)
    _, tuesday = printed.split("> What do you know about me?")
    assert "violin" in tuesday
    assert "Graz" in tuesday
    assert "(4 messages in thread 'monday')" in printed
    assert "(2 messages in thread 'tuesday')" in tuesday


def test_openai_agents_session(tmp_path: Path) -> None:
    script = [Call("add", {"a": 17, "b": 25}), Say("42, Ada."), Say("You are Ada.")]
    with OpenAIServer(script) as server:
        printed = run(
            "openai_agents_session.py",
            tmp_path,
            OPENAI_API_KEY="test",
            OPENAI_BASE_URL=server.base_url,
        )
    assert "> Who am I?\nYou are Ada." in printed
    assert "42, Ada." in str(server.requests[-1].body["messages"])
    assert "tool 42" in printed


def test_openai_agents_session_says_what_it_needs(tmp_path: Path) -> None:
    assert "OPENAI_API_KEY" in run("openai_agents_session.py", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_tested_and_says_how_to_run_it(path: Path) -> None:
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert f"python examples/{path.name}" in doc
