"""What goes to a model and comes from it is whole, or it does not count."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, message_to_dict, messages_from_dict

from lc_memory.printable import whole


class WholeMessages(AgentMiddleware[Any, Any, Any]):
    """Sends no half characters, and takes no half answers.

    Half of a surrogate pair, as a stream that was cut in an emoji leaves it, cannot be sent: kept
    in a conversation, it would end that for good.

    OpenAI's API closes an answer with a ``finish_reason`` (or a ``status``). A proxy that gave up
    closes the stream as cleanly without: half an answer would be kept, half a tool call made. Here
    it is a ConnectionError.
    """

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return _checked(handler(_sendable(request)))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        return _checked(await handler(_sendable(request)))


def _sendable(request: ModelRequest[Any]) -> ModelRequest[Any]:
    return request.override(messages=list(map(_mended, request.messages)))


def _mended(message: AnyMessage) -> AnyMessage:
    text = json.dumps(message_to_dict(message), ensure_ascii=False, default=str)
    if whole(text) == text:
        return message
    (mended,) = messages_from_dict([json.loads(whole(text))])
    return mended  # type: ignore[return-value]  # of the same type


def _checked(response: ModelResponse[Any]) -> ModelResponse[Any]:
    for message in response.result:
        said = message.response_metadata if isinstance(message, AIMessage) else {}
        if said.get("model_provider") == "openai" and said.keys().isdisjoint(
            ("finish_reason", "status")
        ):
            raise ConnectionError("the answer was cut off: its stream ended without saying why")
    return response
