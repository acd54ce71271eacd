"""A session of the OpenAI Agents SDK that another process can go on with.

    pip install -e ".[openai-agents]"
    OPENAI_API_KEY=... python examples/openai_agents_session.py

With OPENAI_BASE_URL it talks to any OpenAI-compatible server (Ollama, vLLM, llama.cpp ...).
"""

import asyncio
import os

from openai import AsyncOpenAI

from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
from lc_memory import Memory


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def say(text: str) -> None:
    """One turn of the session; nothing but the file outlives it."""
    name = os.environ.get("OPENAI_MODEL") or "gpt-4o-mini"
    async with (
        AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none") as client,
        Memory("sqlite:///example.db") as memory,
    ):
        agent = Agent("Tutor", model=OpenAIChatCompletionsModel(name, client), tools=[add])
        session = memory.session("session-1")
        quiet = RunConfig(tracing_disabled=True)  # the SDK would send what is said to OpenAI
        result = await Runner.run(agent, text, session=session, run_config=quiet)
        print(f"> {text}\n{result.final_output}\n")
        for message in await session.as_messages():  # the same for LangChain
            print("   ", message.type, message.text or getattr(message, "tool_calls", ""))


async def main() -> None:
    await say("I'm Ada. What is 17 + 25?")
    await say("Who am I?")


if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        asyncio.run(main())
    else:
        print("This example needs a server: set OPENAI_API_KEY, or OPENAI_BASE_URL for your own.")
