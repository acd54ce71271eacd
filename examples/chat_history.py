"""A conversation that goes on after a restart, with nothing but a model and a history.

pip install -e ".[agent,openai]"
python examples/chat_history.py     (set OPENAI_API_KEY for a large model)
"""

from langchain_core.messages import HumanMessage

from lc_memory import Memory
from memory_agent.models import default_model


def say(text: str) -> None:
    """One turn of the session; nothing but the file outlives it."""
    with Memory("sqlite:///example.db") as memory:
        history = memory.chat_history("session-1")
        question = HumanMessage(text)
        # The latest of it that fits; a tool call is never cut from its result.
        answer = default_model().invoke([*history.window(max_tokens=4000), question])
        history.add_messages([question, answer])  # both, or neither
        print(f"> {text}\n{answer.text}\n({len(history)} messages are kept)\n")


if __name__ == "__main__":
    say("What is a variable?")
    say("And a function?")
