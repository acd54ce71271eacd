"""Real graphs and agents: interrupted, killed, resumed, forked and looked back upon."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from lc_memory import Memory
from tests.servers import Server

#: Where these graphs keep their states; what tests/conftest.py can open may be added.
KINDS = ("sqlite", "postgres", "mongodb", "json")
CONFIG: RunnableConfig = {"configurable": {"thread_id": "thread"}}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind = request.param
    if kind in ("sqlite", "json"):
        return f"{kind}:///{tmp_path}/memory.{kind}"
    server: Server = request.getfixturevalue(kind)
    made: str = request.getfixturevalue("own_database")(server)
    return made


@pytest.fixture
def memory(url: str) -> Iterator[Memory]:
    with Memory(url) as opened:
        yield opened


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a graph's method, or its async twin in a loop of its own."""

    def run(graph: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            result = getattr(graph, method)(*args, **kwargs)
            return list(result) if method == "get_state_history" else result

        async def twin() -> Any:
            result = getattr(graph, f"a{method}")(*args, **kwargs)
            if method == "get_state_history":
                return [state async for state in result]
            return await result

        return asyncio.run(twin())

    return run


class Steps(TypedDict):
    log: Annotated[list[str], operator.add]


def steps(saver: Any, *names: str, **options: Any) -> Any:
    """A graph of nodes, one after the other, each of which logs its name."""
    builder = StateGraph(Steps)
    builder.add_sequence([(name, lambda _, name=name: {"log": [name]}) for name in names])
    builder.add_edge(START, names[0])
    return builder.compile(checkpointer=saver, **options)


class Scripted(BaseChatModel):
    """Calls the tool for a question, and answers with what the tool said."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(f"the tool said: {last.content}")
        else:
            args_ = {"amount": len(messages)}
            answer = AIMessage("", tool_calls=[{"name": "pay", "args": args_, "id": "call-1"}])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "scripted"


@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


# -- going on ----------------------------------------------------------------------------------


def test_a_thread_goes_on_after_a_restart(url: str, call: Callable[..., Any]) -> None:
    for _ in range(3):
        with Memory(url) as memory:
            result = call(steps(memory.checkpointer(), "a", "b"), "invoke", {"log": ["in"]}, CONFIG)
    assert result["log"] == ["in", "a", "b"] * 3


KILLED = """
import os, signal, sys
from typing import Annotated, TypedDict
import operator
from langgraph.graph import START, StateGraph
from lc_memory import Memory

class Steps(TypedDict):
    log: Annotated[list[str], operator.add]

def first(state):
    with open(sys.argv[2], "a") as ran:
        ran.write("first ")
    return {"log": ["first", "x" * 5000]}

def second(state):
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"log": [f"second after {len(state['log'])}"]}

with Memory(sys.argv[1]) as memory:
    builder = StateGraph(Steps).add_sequence([first, second]).add_edge(START, "first")
    graph = builder.compile(checkpointer=memory.checkpointer())
    given = {"log": ["in"]} if sys.argv[4] == "begin" else None
    config = {"configurable": {"thread_id": "thread"}}
    print(graph.invoke(given, config, durability="sync")["log"])
"""


def test_killed_between_two_nodes_and_resumed(url: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def run(how: str, begin: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, url, str(ran), how, begin]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    assert run("die", "begin").returncode == -signal.SIGKILL
    resumed = run("live", "go on")
    assert resumed.stdout.strip() == str(["in", "first", "x" * 5000, "second after 3"]), resumed
    assert ran.read_text() == "first "  # what was done is not done again


def test_a_failed_node_is_done_again_and_its_neighbours_are_not(
    memory: Memory, call: Callable[..., Any]
) -> None:
    ran: list[str] = []
    saver = memory.checkpointer()

    def written() -> Any:
        found = saver.get_tuple(CONFIG)
        return found.pending_writes if found else []

    def good(state: Steps) -> Any:
        ran.append("good")
        return {"log": ["good"]}

    def bad(state: Steps) -> Any:
        ran.append("bad")
        if ran.count("bad") == 1:
            while not any(write[1:] == ("log", ["good"]) for write in written()):
                time.sleep(0.01)  # a failure may overtake what others did and did not yet tell
            raise RuntimeError("the first time")
        return {"log": ["bad"]}

    builder = StateGraph(Steps).add_node("good", good).add_node("bad", bad)
    builder.add_edge(START, "good").add_edge(START, "bad")
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(RuntimeError, match="the first time"):
        call(graph, "invoke", {"log": []}, CONFIG)
    assert sorted(call(graph, "invoke", None, CONFIG)["log"]) == ["bad", "good"]
    assert sorted(ran) == ["bad", "bad", "good"]


# -- people in the loop ------------------------------------------------------------------------


def test_an_interrupt_waits_for_its_answer(url: str, call: Callable[..., Any]) -> None:
    def ask(state: Steps) -> Any:
        return {"log": [interrupt({"question": "name?"}), interrupt("age?")]}

    def graph(memory: Memory) -> Any:
        builder = StateGraph(Steps).add_node("ask", ask).add_edge(START, "ask")
        return builder.compile(checkpointer=memory.checkpointer())

    with Memory(url) as memory:
        result = call(graph(memory), "invoke", {"log": []}, CONFIG)
        assert result["__interrupt__"][0].value == {"question": "name?"}
    with Memory(url) as memory:
        assert call(graph(memory), "get_state", CONFIG).next == ("ask",)
        result = call(graph(memory), "invoke", Command(resume="Ada"), CONFIG)
        assert result["__interrupt__"][0].value == "age?"
    with Memory(url) as memory:
        result = call(graph(memory), "invoke", Command(resume=36), CONFIG)
        assert result["log"] == ["Ada", 36]
        assert call(graph(memory), "get_state", CONFIG).next == ()


def test_an_agents_tool_call_is_approved_after_a_restart(
    url: str, call: Callable[..., Any]
) -> None:
    def agent(memory: Memory) -> Any:
        asking = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
        return create_agent(
            Scripted(), [pay], middleware=[asking], checkpointer=memory.checkpointer()
        )

    with Memory(url) as memory:
        question = {"messages": [HumanMessage("pay me")]}
        result = call(agent(memory), "invoke", question, CONFIG)
        (asked,) = result["__interrupt__"]
        assert asked.value["action_requests"][0]["name"] == "pay"
    with Memory(url) as memory:
        answer = Command(resume={"decisions": [{"type": "approve"}]})
        result = call(agent(memory), "invoke", answer, CONFIG)
    kinds = [type(message) for message in result["messages"]]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert result["messages"][-1].content == "the tool said: paid 1"


# -- time travel -------------------------------------------------------------------------------


def test_history_and_forks(memory: Memory, call: Callable[..., Any]) -> None:
    graph = steps(memory.checkpointer(), "a", "b", "c")
    call(graph, "invoke", {"log": ["in"]}, CONFIG)
    history = call(graph, "get_state_history", CONFIG)
    assert [(state.values.get("log", []), state.next) for state in history] == [
        (["in", "a", "b", "c"], ()),
        (["in", "a", "b"], ("c",)),
        (["in", "a"], ("b",)),
        (["in"], ("a",)),
        ([], (START,)),
    ]
    past = history[2]
    assert call(graph, "get_state", past.config).values == {"log": ["in", "a"]}
    assert call(graph, "invoke", None, past.config)["log"] == ["in", "a", "b", "c"]
    fork = call(graph, "update_state", past.config, {"log": ["changed"]})
    assert call(graph, "invoke", None, fork)["log"] == ["in", "a", "changed", "b", "c"]
    assert call(graph, "get_state", CONFIG).values["log"] == ["in", "a", "changed", "b", "c"]
    old = call(graph, "get_state", history[0].config)
    assert old.values == {"log": ["in", "a", "b", "c"]}  # the fork left it alone
    assert call(graph, "get_state_history", CONFIG, filter={"source": "update"}) != []


def test_an_agents_past_is_relived(memory: Memory, call: Callable[..., Any]) -> None:
    agent = create_agent(Scripted(), [pay], checkpointer=memory.checkpointer())
    for _ in range(6):
        result = call(agent, "invoke", {"messages": [HumanMessage("pay me")]}, CONFIG)
    assert len(result["messages"]) == 24
    history = call(agent, "get_state_history", CONFIG)
    for state in history:
        length = len(state.values.get("messages", []))
        assert state.values.get("messages", []) == result["messages"][:length]
    past = next(state for state in history if len(state.values["messages"]) == 10)
    again = call(agent, "invoke", None, past.config)
    assert again["messages"][:10] == result["messages"][:10]
    assert len(again["messages"]) == 12


# -- branches and subgraphs --------------------------------------------------------------------


def test_parallel_branches(memory: Memory, call: Callable[..., Any]) -> None:
    builder = StateGraph(Steps)
    builder.add_node("work", lambda given: {"log": [f"did {given['n']}"]})
    builder.add_node("end", lambda state: {"log": [f"end of {len(state['log'])}"]})
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"n": n}) for n in range(12)], ["work"]
    )
    builder.add_edge("work", "end").add_edge("end", END)
    graph = builder.compile(checkpointer=memory.checkpointer())
    result = call(graph, "invoke", {"log": []}, CONFIG)
    assert result["log"] == [*(f"did {n}" for n in range(12)), "end of 12"]
    assert call(graph, "get_state", CONFIG).values == result


def test_subgraphs_are_interrupted_and_resumed(url: str, call: Callable[..., Any]) -> None:
    def ask(state: MessagesState) -> Any:
        return {"messages": [AIMessage(interrupt("really?"), id="asked")]}

    def graph(memory: Memory) -> Any:
        inner = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        outer = StateGraph(MessagesState).add_node("inner", inner).add_edge(START, "inner")
        return outer.compile(checkpointer=memory.checkpointer())

    said = [HumanMessage(f"{n} " + "x" * 200, id=f"{n}") for n in range(60)]
    with Memory(url) as memory:
        call(graph(memory), "invoke", {"messages": said}, CONFIG)
        state = call(graph(memory), "get_state", CONFIG, subgraphs=True)
        assert state.tasks[0].state.values["messages"] == said
        found = list(memory.checkpointer().list(CONFIG))
        assert len({each.config["configurable"]["checkpoint_ns"] for each in found}) == 2
    with Memory(url) as memory:
        result = call(graph(memory), "invoke", Command(resume="yes"), CONFIG)
    assert result["messages"] == [*said, AIMessage("yes", id="asked")]


def test_pruning_leaves_of_subgraphs_what_goes_on(memory: Memory, call: Callable[..., Any]) -> None:
    def ask(state: Steps) -> Any:
        return {"log": [interrupt("really?")]}

    inner = StateGraph(Steps).add_node("ask", ask).add_edge(START, "ask").compile()
    own = StateGraph(Steps).add_node("own", lambda state: {"log": [str(len(state["log"]))]})
    remembers = own.add_edge(START, "own").compile(checkpointer=True)
    outer = StateGraph(Steps).add_node("remembers", remembers).add_node("inner", inner)
    saver = memory.checkpointer()
    outer.add_edge(START, "remembers").add_edge("remembers", "inner")
    graph = outer.compile(checkpointer=saver)
    for turn in range(3):
        call(graph, "invoke", {"log": [f"in{turn}"]}, CONFIG)
        saver.prune(["thread"])
        found = [each.config["configurable"]["checkpoint_ns"] for each in saver.list(CONFIG)]
        assert len(found) == 3
        assert {name.partition(":")[0] for name in found} == {"", "remembers", "inner"}
        result = call(graph, "invoke", Command(resume=f"yes{turn}"), CONFIG)
        assert result["log"][-1] == f"yes{turn}"


def test_a_subgraph_with_a_memory_of_its_own(memory: Memory, call: Callable[..., Any]) -> None:
    inner = StateGraph(Steps).add_node("count", lambda s: {"log": [str(len(s["log"]))]})
    compiled = inner.add_edge(START, "count").compile(checkpointer=True)
    outer = StateGraph(TypedDict("Outer", {"seen": int}))

    def run(state: Any) -> Any:
        return {"seen": len(compiled.invoke({"log": ["in"]})["log"])}

    graph = outer.add_node("run", run).add_edge(START, "run")
    saver = memory.checkpointer(keep=2)
    runs = [
        call(graph.compile(checkpointer=saver), "invoke", {"seen": 0}, CONFIG)["seen"]
        for _ in range(4)
    ]
    assert runs == [2, 4, 6, 8]


def test_delta_channels_survive_pruning(memory: Memory, call: Callable[..., Any]) -> None:
    def fold(state: list[str], writes: Any) -> list[str]:
        return [*state, *(item for write in writes for item in write)]

    log = Annotated[list[str], DeltaChannel(fold, snapshot_frequency=4)]
    builder = StateGraph(TypedDict("Delta", {"log": log}))  # type: ignore[misc]
    builder.add_node("a", lambda state: {"log": [f"a{len(state['log'])}"]}).add_edge(START, "a")
    saver = memory.checkpointer()
    graph = builder.compile(checkpointer=saver)
    for turn in range(7):
        result = call(graph, "invoke", {"log": [f"in{turn}"]}, CONFIG)
        before = len(list(saver.list(CONFIG)))
        saver.prune(["thread"])
        assert len(list(saver.list(CONFIG))) < before or turn == 0
        assert call(graph, "get_state", CONFIG).values == result
    assert result["log"] == [x for t in range(7) for x in (f"in{t}", f"a{2 * t + 1}")]
