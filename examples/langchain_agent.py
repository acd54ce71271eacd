"""An agent of LangChain that remembers its user from one session to the next.

pip install -e ".[agent,openai]"
python examples/langchain_agent.py     (set OPENAI_API_KEY for a large model)
"""

from langchain.agents import create_agent

from lc_memory import Memory, MemoryContext, MemoryMiddleware
from memory_agent.models import default_model


def session(*texts: str) -> None:
    """One session with Ada; nothing but the file outlives it."""
    with Memory("sqlite:///example.db") as memory:
        agent = create_agent(
            default_model(),
            middleware=[MemoryMiddleware(memory)],
            context_schema=MemoryContext,
            store=memory.store(),
        )
        for text in texts:
            state = agent.invoke({"messages": [("user", text)]}, context=MemoryContext("ada"))
            print(f"> {text}\n{state['messages'][-1].text}\n")


if __name__ == "__main__":
    session("Hi, I'm Ada. I prefer short answers. I've finished variables.")
    session("What do you know about me?", "What should I learn next?")
