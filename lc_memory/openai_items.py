"""LangChain's messages and OpenAI's items (of the Responses API), each as the other.

What both know is converted: texts, images, files and audio, who said them, tool calls and their
results, reasoning. What only OpenAI knows (a web search, a refusal …) becomes a ``non_standard``
block, and comes back as the item that it was. What only LangChain knows (usage, artifacts, the
status of a tool's result, content that a model made and that is neither text nor reasoning) has
no place in an item and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from lc_memory.errors import InvalidValue

Item: TypeAlias = dict[str, Any]
Block: TypeAlias = dict[str, Any]

_DEVELOPER: Final = {"__openai_role__": "developer"}  # as langchain-openai marks it
_CALLS: Final = ("tool_call", "invalid_tool_call")


def messages_of(items: Iterable[Mapping[str, Any]]) -> list[BaseMessage]:
    """OpenAI's items as LangChain's messages.

    What the assistant says, thinks and calls in one go is one ``AIMessage``; arguments that are
    not a JSON object become one of its ``invalid_tool_calls``. Raises InvalidValue, naming the
    item's place, for what is no item.
    """
    messages: list[BaseMessage] = []
    spoken: list[Block] = []
    names: dict[str, str] = {}

    def finish() -> None:
        if spoken:
            messages.append(_ai_message(list(spoken)))
            spoken.clear()

    def take(item: Mapping[str, Any]) -> None:
        kind = item.get("type", "message")
        if kind == "message" and item["role"] != "assistant":
            finish()
            messages.append(_message(item["role"], _content(item["content"])))
        elif kind == "function_call_output":
            finish()
            id = item["call_id"]
            content = _content(item["output"])
            messages.append(ToolMessage(content, tool_call_id=id, name=names.get(id)))
        else:
            if kind == "function_call":
                names[item["call_id"]] = item["name"]
            kinds = {block["type"] for block in spoken}
            # A second text is another message, unless calls are open: their results come next.
            if kind == "message" and "text" in kinds and kinds.isdisjoint(_CALLS):
                finish()
            spoken.extend(_blocks(kind, item))

    for place, item in enumerate(items):
        try:
            take(item)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"no item of OpenAI's ({type(error).__name__}: {error})"
            raise InvalidValue(f"items[{place}]", reason) from error
    finish()
    return messages


def items_of(messages: Iterable[BaseMessage]) -> list[Item]:
    """LangChain's messages as OpenAI's items, which the Agents SDK and the Responses API take.

    Raises InvalidValue, naming the message's place, for one that is no part of a conversation
    between roles: a ``RemoveMessage`` or a ``FunctionMessage``.
    """
    items: list[Item] = []
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage):
            items += _ai_items(message)
        elif isinstance(message, ToolMessage):
            id, output = message.tool_call_id, _parts(message)
            items.append({"type": "function_call_output", "call_id": id, "output": output})
        elif isinstance(message, HumanMessage):
            items.append({"role": "user", "content": _parts(message)})
        elif isinstance(message, SystemMessage):
            role = message.additional_kwargs.get("__openai_role__", "system")
            items.append({"role": role, "content": _parts(message)})
        elif isinstance(message, ChatMessage):
            items.append({"role": message.role, "content": _parts(message)})
        else:
            raise InvalidValue(f"messages[{place}]", f"OpenAI has no {type(message).__name__}")
    return items


# --- from items --------------------------------------------------------------------------------


def _message(role: str, content: Any) -> BaseMessage:
    if role == "user":
        return HumanMessage(content)
    if role == "system":
        return SystemMessage(content)
    if role == "developer":
        return SystemMessage(content, additional_kwargs=dict(_DEVELOPER))
    return ChatMessage(content=content, role=role)


def _content(content: str | Iterable[Mapping[str, Any]]) -> str | list[str | Block]:
    return content if isinstance(content, str) else [_block(part) for part in content]


def _block(part: Mapping[str, Any]) -> Block:
    kind = part["type"]
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "input_image":
        block: Block = {"type": "image"} | _source(part.get("image_url"), part.get("file_id"))
        detail = part.get("detail")
        return block | ({"extras": {"detail": detail}} if detail else {})
    if kind == "input_file":
        source = part.get("file_url") or part.get("file_data")
        block = {"type": "file"} | _source(source, part.get("file_id"))
        name = part.get("filename")
        return block | ({"extras": {"filename": name}} if name else {})
    if kind == "input_audio":
        audio = part["input_audio"]
        return {"type": "audio", "base64": audio["data"], "mime_type": f"audio/{audio['format']}"}
    return {"type": "non_standard", "value": dict(part)}


def _source(url: str | None, file_id: str | None) -> Block:
    if not url:
        return {"file_id": file_id}
    head, comma, data = url.partition(";base64,")
    if comma and head.startswith("data:"):
        return {"base64": data, "mime_type": head.removeprefix("data:")}
    return {"url": url} if ":" in url else {"base64": url}


def _blocks(kind: str, item: Mapping[str, Any]) -> list[Block]:
    """What the assistant said, thought or called in one item, as standard content blocks."""
    if kind == "message":
        content = item["content"]
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        content = list(content)
        if all(part["type"] == "output_text" for part in content):
            return [_text_block(part, item.get("id")) for part in content]
    if kind == "function_call":
        return [_call_block(item)]
    if kind == "reasoning":
        parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
        more = {name: item[name] for name in item if name not in ("type", "id")}
        block: Block = {"type": "reasoning", "reasoning": "\n\n".join(p["text"] for p in parts)}
        return [block | ({"id": item["id"]} if "id" in item else {}) | {"extras": more}]
    return [{"type": "non_standard", "value": {"type": kind, **item}}]


def _text_block(part: Mapping[str, Any], id: Any) -> Block:
    block: Block = {"type": "text", "text": part["text"]}
    # Ids of OpenAI's own name the message that a reasoning belongs to; others are made up.
    if isinstance(id, str) and id.startswith("msg_"):
        block["id"] = id
    if part.get("annotations"):
        block["annotations"] = [
            {"type": "non_standard_annotation", "value": note} for note in part["annotations"]
        ]
    return block


def _call_block(item: Mapping[str, Any]) -> Block:
    call: Block = {"id": item["call_id"], "name": item["name"]}
    if str(item.get("id")).startswith("fc_"):
        call["extras"] = {"item_id": item["id"]}
    try:
        arguments = json.loads(item["arguments"] or "{}")
        if not isinstance(arguments, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        bad = {"type": "invalid_tool_call", "args": item["arguments"], "error": str(error)}
        return bad | call
    return {"type": "tool_call", "args": arguments} | call


def _ai_message(blocks: list[Block]) -> AIMessage:
    calls = [
        {name: block[name] for name in ("name", "args", "id", "type")}
        for block in blocks
        if block["type"] == "tool_call"
    ]
    invalid = [
        {name: block[name] for name in ("name", "args", "id", "error", "type")}
        for block in blocks
        if block["type"] == "invalid_tool_call"
    ]
    said = [block for block in blocks if block["type"] not in _CALLS]
    fields: dict[str, Any] = {"tool_calls": calls, "invalid_tool_calls": invalid}
    if not said:
        return AIMessage("", **fields)
    if blocks[0]["type"] == "text" and len(said) == 1 and "annotations" not in blocks[0]:
        return AIMessage(blocks[0]["text"], id=blocks[0].get("id"), **fields)
    # Says that the content is LangChain's standard blocks, of every kind and in their order.
    return AIMessage(content=[*blocks], response_metadata={"output_version": "v1"}, **fields)


# --- from messages -----------------------------------------------------------------------------


def _parts(message: BaseMessage) -> str | list[Item]:
    if isinstance(message.content, str):
        return message.content
    return [_part(block) for block in message.content_blocks]


def _part(block: Mapping[str, Any]) -> Item:
    kind, more = block["type"], block.get("extras") or {}
    if kind == "text":
        return {"type": "input_text", "text": block["text"]}
    if kind == "image":
        part: Item = {"type": "input_image", "detail": more.get("detail", "auto")}
        return part | ({"file_id": block["file_id"]} if "file_id" in block else _image_url(block))
    if kind == "file":
        part = {"type": "input_file"}
        if name := more.get("filename") or block.get("filename"):
            part["filename"] = name
        if "file_id" in block:
            return part | {"file_id": block["file_id"]}
        if "url" in block:
            return part | {"file_url": block["url"]}
        return part | {"file_data": _data_url(block)}
    if kind == "audio" and "base64" in block:
        form = str(block.get("mime_type", "audio/wav")).partition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": block["base64"], "format": form}}
    if kind == "non_standard":
        return dict(block["value"])
    return dict(block)  # as it is: the API says best what it cannot take


def _image_url(block: Mapping[str, Any]) -> Item:
    return {"image_url": block["url"] if "url" in block else _data_url(block)}


def _data_url(block: Mapping[str, Any]) -> str:
    if "mime_type" not in block:
        return str(block["base64"])
    return f"data:{block['mime_type']};base64,{block['base64']}"


def _ai_items(message: AIMessage) -> Iterator[Item]:
    blocks: list[Block] = [dict(block) for block in message.content_blocks]
    if isinstance(message.content, str):
        for block in blocks:
            if block["type"] == "text" and (message.id or "").startswith("msg_"):
                block["id"] = message.id
    listed = {block.get("id") for block in blocks if block["type"] in _CALLS}
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    blocks += [dict(call) for call in calls if call["id"] not in listed]
    for block in blocks:
        kind, more = block["type"], block.get("extras") or {}
        if kind == "text" and block["text"]:
            yield _said(block)
        elif kind == "reasoning":
            text = block.get("reasoning")
            item = {"type": "reasoning"} | ({"id": block["id"]} if "id" in block else {})
            item["summary"] = [{"type": "summary_text", "text": text}] if text else []
            yield item | more
        elif kind in _CALLS:
            args = block["args"]
            text = json.dumps(args, ensure_ascii=False) if kind == "tool_call" else args or ""
            call = {"call_id": block["id"], "name": block["name"], "arguments": text}
            own = {"id": more["item_id"]} if "item_id" in more else {}
            yield {"type": "function_call"} | call | own
        elif kind == "non_standard" and "type" in block["value"]:
            yield dict(block["value"])


def _said(block: Block) -> Item:
    if "id" not in block:
        return {"role": "assistant", "content": block["text"]}
    notes = [n["value"] for n in block.get("annotations", ()) if "value" in n]
    part = {"type": "output_text", "text": block["text"], "annotations": notes}
    message = {"type": "message", "role": "assistant", "id": block["id"], "status": "completed"}
    return message | {"content": [part]}
