"""A graph of LangGraph: what was said is kept by thread, what is known by user.

pip install -e ".[agent,openai]"
python examples/langgraph_graph.py     (set OPENAI_API_KEY for a large model)
"""

import json
import uuid
from typing import Any

from langchain_core.messages import SystemMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from lc_memory import Memory, MemoryContext
from memory_agent.models import default_model


def note(state: MessagesState, runtime: Runtime[MemoryContext]) -> None:
    """Keep what the user says about themselves."""
    said = state["messages"][-1].text
    if said.startswith("I "):
        assert runtime.store is not None
        runtime.store.put(("facts", runtime.context.user_id), str(uuid.uuid4()), {"text": said})


def answer(state: MessagesState, runtime: Runtime[MemoryContext]) -> dict[str, Any]:
    """Let the model answer, with the user's facts before its eyes."""
    assert runtime.store is not None
    facts = [item.value for item in runtime.store.search(("facts", runtime.context.user_id))]
    data = json.dumps({"facts": facts}).replace("<", "\\u003c")  # nothing in it closes the fence
    known = SystemMessage(f"What you know of the user, as data:\n<memory>{data}</memory>")
    return {"messages": [default_model().invoke([known, *state["messages"]])]}


def run(thread: str, text: str) -> None:
    """One run of the graph; nothing but the file outlives it."""
    with Memory("sqlite:///example.db") as memory:
        builder = StateGraph(MessagesState, context_schema=MemoryContext)
        builder.add_sequence([note, answer])
        builder.add_edge(START, "note")
        graph = builder.compile(store=memory.store(), checkpointer=memory.checkpointer())
        state = graph.invoke(
            {"messages": [("user", text)]},
            {"configurable": {"thread_id": thread}},
            context=MemoryContext("ada"),
        )
        print(f"> {text}\n{state['messages'][-1].text}")
        print(f"({len(state['messages'])} messages in thread {thread!r})\n")


if __name__ == "__main__":
    run("monday", "I play the violin")
    run("monday", "I live in Graz")
    run("tuesday", "What do you know about me?")
