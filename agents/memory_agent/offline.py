"""A chat model inside the package, for when no API key is set.

It follows rules, not a network: the same conversation always gets the same answer, at once and
offline. Everything around it, such as middleware, tools, store and checkpointer, runs as it
would with a large model. `offline_english` says what it understands.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from .offline_english import understand
from .offline_learning import STATEMENTS, statements_in
from .offline_meanings import Ask, Forget, Meaning, Progress, Remember, Review
from .offline_memory import Memory, Outcome, outdated, read_memory, recollect, settle
from .offline_replies import HELP, reply
from .offline_words import READ_AT_MOST, topics_in

MODEL_NAME = "lc-memory-offline"


class OfflineModel(BaseChatModel):
    """A small rule-based model that holds a first conversation about a person and a course.

    It knows a person only by the `<memory>` block of the system message. It calls the tools
    `remember`, `recall`, `forget`, `update_progress` and `review`, each only if it is bound, all
    those that one message asks for at once, and replies when their results are in. What it does
    not follow it says it does not follow. Token counts in `usage_metadata` are counts of words, so
    approximate.
    """

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": MODEL_NAME}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools of any kind that LangChain takes.

        `tool_choice="none"` forbids calls; no other choice can make rules call a tool.
        """
        bound = [] if tool_choice == "none" else [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=bound, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = answer(messages, tool_names(kwargs.get("tools") or ()), stop or ())
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Sooner done than handed to a thread.
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        whole = answer(messages, tool_names(kwargs.get("tools") or ()), stop or ())
        for chunk in chunks_of(whole):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            yield chunk


def tool_names(tools: Sequence[Any]) -> frozenset[str]:
    """The names of bound tools; a provider's own tools, which have none, are left out."""
    functions = (convert_to_openai_tool(tool).get("function") for tool in tools)
    return frozenset(function["name"] for function in functions if function)


def answer(messages: list[BaseMessage], bound: frozenset[str], stop: Sequence[str]) -> AIMessage:
    """The next message of a conversation: tool calls, or the reply when there are none to do.

    The last human message is the one that is answered; the tools called since then are done.
    """
    place = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=None)
    before, since = messages[:place], [] if place is None else messages[place + 1 :]
    text = "" if place is None else str(messages[place].text)
    if STATEMENTS in bound:
        return _learning(messages, text)
    memory = memory_of(messages)
    memory = replace(memory, mentioned=last_topics(before, memory.course))
    meanings = settle(understand(text, memory.course), memory)
    outcomes = outcomes_of(since)
    calls = [] if outcomes else calls_for(meanings, memory, bound)
    content = "" if calls else reply(text, meanings, memory, outcomes, bound)
    for ending in filter(None, stop):
        content = content.partition(ending)[0]
    # The same conversation gives the same ids, and no two calls within one share theirs.
    seed = f"{len(messages)} {messages[place].id} {text}" if place is not None else ""
    return AIMessage(
        content=content,
        tool_calls=[
            ToolCall(name=name, args=args, id=f"call_{_unique(f'{number} {seed}')}")
            for number, (name, args) in enumerate(calls)
        ],
        usage_metadata=usage(messages, content + json.dumps(calls) if calls else content),
        response_metadata={"model_name": MODEL_NAME},
    )


def _learning(messages: list[BaseMessage], material: str) -> AIMessage:
    """The structured output that `memory.learn` asks for."""
    args = statements_in(material)
    call = ToolCall(name=STATEMENTS, args=args, id=f"call_{_unique(material)}")
    return AIMessage(
        content="",
        tool_calls=[call],
        usage_metadata=usage(messages, json.dumps(args)),
        response_metadata={"model_name": MODEL_NAME},
    )


def _unique(seed: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, seed.encode("utf-8", "replace").decode()).hex


def memory_of(messages: Sequence[BaseMessage]) -> Memory:
    """What the system messages say is known of the person."""
    return read_memory("\n".join(str(m.text) for m in messages if isinstance(m, SystemMessage)))


def last_topics(messages: Sequence[BaseMessage], course: tuple[str, ...]) -> tuple[str, ...]:
    """The topics of the course in the last message, of a few, that speaks of any."""
    for message in reversed(messages[-6:]):
        text = str(message.text).replace(HELP, "")[-READ_AT_MOST:]
        topics = tuple(topic for topic in topics_in(text, course) if topic in course)
        # A lesson names many topics; the request before it names the one that it is about.
        if topics and isinstance(message, HumanMessage | AIMessage) and "```" not in text:
            return topics
    return ()


def calls_for(
    meanings: Sequence[Meaning], memory: Memory, bound: frozenset[str]
) -> list[tuple[str, dict[str, Any]]]:
    """The tool calls, name and arguments, that the meanings ask for and the bound tools allow."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for meaning in meanings:
        match meaning:
            case Remember(content, kind, topic):
                about = {"topic": topic} if topic else {}
                old = outdated(content, memory) if kind == "fact" else []
                calls += [("forget", {"what": fact}) for fact in old]
                calls.append(("remember", {"content": content, "kind": kind, **about}))
            case Forget(what):
                calls.append(("forget", {"what": what}))
            case Progress(completed, current):
                done = {"completed": list(completed)} if completed else {}
                calls.append(("update_progress", done | ({"current": current} if current else {})))
            case Review(topic, rating) if rating:
                calls.append(("review", {"topic": topic, "rating": rating}))
            case Ask("fact", question) if not recollect(question, memory):
                calls.append(("recall", {"query": question}))
    return [call for call in calls if call[0] in bound]


def outcomes_of(messages: Sequence[BaseMessage]) -> list[Outcome]:
    """What became of the tool calls in `messages`, in the order of their results."""
    calls = {c["id"]: c for m in messages if isinstance(m, AIMessage) for c in m.tool_calls}
    return [
        Outcome(
            tool=call["name"] if call else message.name or "",
            args=call["args"] if call else {},
            text=str(message.text),
            failed=message.status == "error",
        )
        for message in messages
        if isinstance(message, ToolMessage)
        for call in [calls.get(message.tool_call_id)]
    ]


def usage(messages: Sequence[BaseMessage], output: str) -> UsageMetadata:
    """Words read and written, in place of tokens."""
    read, written = sum(len(str(m.text).split()) for m in messages), len(output.split())
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def chunks_of(message: AIMessage) -> Iterator[AIMessageChunk]:
    """A message in pieces, word by word; they add up to the message."""
    for word in re.findall(r"\s*\S+\s*", str(message.content)):
        yield AIMessageChunk(content=word)
    for index, call in enumerate(message.tool_calls):
        opening = tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[opening])
        arguments = tool_call_chunk(args=json.dumps(call["args"]), index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[arguments])
    yield AIMessageChunk(
        content="",
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
