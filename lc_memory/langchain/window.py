"""The latest part of a conversation, cut where it keeps its meaning."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from lc_memory.errors import InvalidQuery

#: How many tokens some messages are, as a model's ``get_num_tokens_from_messages`` says.
TokenCounter: TypeAlias = Callable[[list[BaseMessage]], int]


def window(
    messages: Sequence[BaseMessage],
    *,
    max_messages: int | None = None,
    max_tokens: int | None = None,
    token_counter: TokenCounter | None = None,
) -> list[BaseMessage]:
    """The latest messages that fit both limits (None: no limit), oldest first.

    - A tool call and its results stay together; a result whose call is not there is left out.
    - A system message that the conversation begins with stays, and counts.
    - The window begins, after it, with a human message if one is left.
    - The last message stays, with the calls it answers, even if that alone is over a limit.

    ``token_counter`` is by default LangChain's approximate one, about four characters a token.
    Raises InvalidQuery for a limit below 1.
    """
    for name, number in (("max_messages", max_messages), ("max_tokens", max_tokens)):
        if number is not None and number < 1:
            raise InvalidQuery(f"{name}: {number!r} is not a whole number from 1 up")
    count = token_counter or count_tokens_approximately

    def fits(at: int) -> bool:
        part = [*first, *rest[at:]]
        return (max_messages is None or len(part) <= max_messages) and (
            max_tokens is None or count(part) <= max_tokens
        )

    first: list[BaseMessage] = [m for m in messages[:1] if isinstance(m, SystemMessage)]
    rest, starts = _starts(messages[len(first) :])
    if not rest:
        return first
    starts = starts[bisect_left(starts, True, hi=len(starts) - 1, key=fits) :]
    start = next((at for at in starts if rest[at].type == "human"), starts[0])
    return [*first, *rest[start:]]


def _starts(messages: Sequence[BaseMessage]) -> tuple[list[BaseMessage], list[int]]:
    """The messages without results of unknown calls, and where a window of them may begin."""
    kept: list[BaseMessage] = []
    called: dict[str | None, int] = {}  # where each call was made
    reaches: list[int] = []  # how far back each message needs the window to reach
    for message in messages:
        place = reach = len(kept)
        if isinstance(message, AIMessage):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            called |= {call["id"]: place for call in calls}
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                continue
            reach = called[message.tool_call_id]
        kept.append(message)
        reaches.append(reach)
    starts: list[int] = []
    needed = len(kept)
    for place in reversed(range(len(kept))):
        needed = min(needed, reaches[place])
        if needed >= place:
            starts.append(place)
    return kept, starts[::-1]
