"""Answers that were cut off are no answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage


class WholeAnswers(AgentMiddleware[Any, Any, Any]):
    """Has a run end in ConnectionError when a model's stream ended before it said why.

    OpenAI's API closes an answer with a ``finish_reason`` (or a ``status``). A proxy that gave up
    closes the stream as cleanly without: half an answer would be kept, half a tool call made.
    """

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return _whole(handler(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        return _whole(await handler(request))


def _whole(response: ModelResponse[Any]) -> ModelResponse[Any]:
    for message in response.result:
        said = message.response_metadata if isinstance(message, AIMessage) else {}
        if said.get("model_provider") == "openai" and said.keys().isdisjoint(
            ("finish_reason", "status")
        ):
            raise ConnectionError("the answer was cut off: its stream ended without saying why")
    return response
