"""A small server that speaks OpenAI's protocol, for tests of real clients over real sockets.

    with OpenAIServer([Call("recall", {"query": "cat"}), Say("Turing.")]) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="test")

Chat completions and responses, streamed or whole, take the next step of the script; embeddings
need none, yet a `Fail` or `Drop` that is next is theirs as well. What came in is kept in
`server.requests`. A request past the end of the script is answered with status 400.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Say:
    """The model answers with a text; after its first word it waits for `hold`, if there is one."""

    text: str
    hold: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The model calls a tool; a list of these is one step that calls several."""

    name: str
    args: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fail:
    """An error of the service, with `retry_after` seconds in its header."""

    status: int
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks: before the answer, or after `text` and in the middle of it. When it
    is `clean`, a stream ends as if it were whole, but does not say how."""

    text: str = ""
    clean: bool = False


Step = Say | Call | Sequence[Call] | Fail | Drop


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: Json


class OpenAIServer:
    """A scripted service on a free port of 127.0.0.1, for as long as its context is entered."""

    def __init__(self, script: Iterable[Step] = ()) -> None:
        self.script = deque(script)
        """The steps still to come; more may be appended at any time."""
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._ids = itertools.count(1)

    @property
    def base_url(self) -> str:
        """What clients take as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def take(self, request: Request) -> Step | None:
        """Notes a request and takes its step, if the script has one for it."""
        with self._lock:
            self.requests.append(request)
            embeds = request.path == "/v1/embeddings"
            if not self.script or (embeds and not isinstance(self.script[0], Fail | Drop)):
                return None
            return self.script.popleft()

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids)}"


class _Http(ThreadingHTTPServer):
    owner: OpenAIServer
    daemon_threads = False  # so that closing waits for the answers under way
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a silent client is waited for
    server: _Http

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        step = self.server.owner.take(Request(self.path, headers, body))
        if isinstance(step, Fail):
            self._fail(step)
        elif isinstance(step, Drop) and not step.text:
            self.close_connection = True
        elif self.path == "/v1/embeddings":
            self._send(200, embeddings(body))
        elif self.path not in ROUTES:
            self._fail(Fail(404, f"unknown path {self.path}"))
        elif step is None:
            self._fail(Fail(400, "the script has no step left"))
        else:
            whole, events = ROUTES[self.path]
            reply = Reply.of(step, body, self.server.owner)
            broken = isinstance(step, Drop) and not step.clean
            if body.get("stream"):
                self._stream(events(reply), broken, getattr(step, "hold", None))
            else:
                self._send(200, whole(reply), broken=broken)

    def _fail(self, fail: Fail) -> None:
        error = {"message": fail.message, "type": "error", "param": None, "code": None}
        after = {} if fail.retry_after is None else {"Retry-After": f"{fail.retry_after:g}"}
        self._send(fail.status, {"error": error}, after)

    def _send(
        self, status: int, answer: Json, more: dict[str, str] | None = None, broken: bool = False
    ) -> None:
        content = json.dumps(answer).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        self._begin(status, headers | (more or {}))
        self.wfile.write(content[: len(content) // 2] if broken else content)

    def _stream(
        self, events: Iterator[str], broken: bool, hold: threading.Event | None = None
    ) -> None:
        self._begin(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for number, event in enumerate(events):
            if number == 2 and hold is not None:
                hold.wait(self.timeout)
            content = event.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        if not broken:
            self.wfile.write(b"0\r\n\r\n")

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        # A connection for each request: none is left idle when the server closes.
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the tests' output clean."""


# --- answers -----------------------------------------------------------------------------------

CREATED = 1_700_000_000
"""When all answers were made, in seconds since 1970: a test's clock stands still."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says or calls, with the ids, counts and wishes that belong to it."""

    id: str
    model: str
    text: str
    calls: list[tuple[str, str, str]]
    """Of each call: its id, the tool's name and the arguments as JSON."""
    ends: bool
    wants_usage: bool
    read: int
    written: int

    @classmethod
    def of(cls, step: Say | Call | Sequence[Call] | Drop, body: Json, owner: OpenAIServer) -> Self:
        text = step.text if isinstance(step, Say | Drop) else ""
        called = [] if isinstance(step, Say | Drop) else [step] if isinstance(step, Call) else step
        calls = [(owner.new_id("call"), call.name, json.dumps(call.args)) for call in called]
        return cls(
            id=owner.new_id("answer"),
            model=str(body.get("model")),
            text=text,
            calls=calls,
            ends=not isinstance(step, Drop),
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            read=len(json.dumps(body.get("messages") or body.get("input")).split()),
            written=len(text.split()) + sum(len(arguments.split()) for *_, arguments in calls),
        )

    def words(self) -> list[str]:
        return re.findall(r"\s*\S+\s*", self.text)


def completion(reply: Reply) -> Json:
    """A whole chat completion."""
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in reply.calls
    ]
    message: Json = {"role": "assistant", "content": reply.text or None}
    message |= {"tool_calls": calls} if calls else {}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return _chat(reply, "chat.completion", [choice]) | {"usage": _chat_usage(reply)}


def completion_events(reply: Reply) -> Iterator[str]:
    """A chat completion as server-sent events."""

    def event(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data(_chat(reply, "chat.completion.chunk", [choice]))

    yield event({"role": "assistant", "content": ""})
    for word in reply.words():
        yield event({"content": word})
    for index, (id, name, arguments) in enumerate(reply.calls):
        opened = {"index": index, "id": id, "type": "function"}
        yield event({"tool_calls": [opened | {"function": {"name": name, "arguments": ""}}]})
        for part in _halves(arguments):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    if reply.ends:
        yield event({}, "tool_calls" if reply.calls else "stop")
        if reply.wants_usage:
            yield _data(_chat(reply, "chat.completion.chunk", []) | {"usage": _chat_usage(reply)})
        yield "data: [DONE]\n\n"


def _chat(reply: Reply, kind: str, choices: list[Json]) -> Json:
    return {
        "id": reply.id,
        "object": kind,
        "created": CREATED,
        "model": reply.model,
        "choices": choices,
    }


def _chat_usage(reply: Reply) -> Json:
    return {
        "prompt_tokens": reply.read,
        "completion_tokens": reply.written,
        "total_tokens": reply.read + reply.written,
    }


def response(reply: Reply) -> Json:
    """A whole answer of the responses API."""
    return _response(reply, "completed", _items(reply))


def response_events(reply: Reply) -> Iterator[str]:
    """An answer of the responses API as server-sent events."""
    numbers = itertools.count()

    def event(kind: str, **more: Any) -> str:
        data = _data({"type": kind, "sequence_number": next(numbers), **more})
        return f"event: {kind}\n{data}"

    yield event("response.created", response=_response(reply, "in_progress", []))
    for index, item in enumerate(_items(reply)):
        at = {"output_index": index, "item_id": item["id"]}
        empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        opened = item | {"status": "in_progress"} | empty
        yield event("response.output_item.added", output_index=index, item=opened)
        if item["type"] == "message":
            at["content_index"] = 0
            [part] = item["content"]
            yield event("response.content_part.added", part=part | {"text": ""}, **at)
            for word in reply.words():
                yield event("response.output_text.delta", delta=word, logprobs=[], **at)
            if not reply.ends:
                return
            yield event("response.output_text.done", text=reply.text, logprobs=[], **at)
            yield event("response.content_part.done", part=part, **at)
        else:
            arguments = item["arguments"]
            for half in _halves(arguments):
                yield event("response.function_call_arguments.delta", delta=half, **at)
            done = {"arguments": arguments, "name": item["name"]}
            yield event("response.function_call_arguments.done", **done, **at)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=response(reply))


def _items(reply: Reply) -> list[Json]:
    text = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"{reply.id}_message", "role": "assistant"}
    items: list[Json] = [message | {"content": [text]}] if reply.text or not reply.calls else []
    items += [
        {"type": "function_call", "id": f"{id}_item", "call_id": id, "name": n, "arguments": given}
        for id, n, given in reply.calls
    ]
    return [item | {"status": "completed"} for item in items]


def _response(reply: Reply, status: str, output: list[Json]) -> Json:
    usage = {
        "input_tokens": reply.read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.read + reply.written,
    }
    return {
        "id": reply.id,
        "object": "response",
        "created_at": CREATED,
        "model": reply.model,
        "status": status,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if status == "completed" else None,
    }


def _data(value: Json) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


ROUTES: dict[str, tuple[Callable[[Reply], Json], Callable[[Reply], Iterator[str]]]] = {
    "/v1/chat/completions": (completion, completion_events),
    "/v1/responses": (response, response_events),
}


# --- embeddings --------------------------------------------------------------------------------


def embeddings(body: Json) -> Json:
    """Vectors of unit length; texts that share words are near each other."""
    given = body["input"]
    one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    texts: list[str | list[int]] = [given] if one else given
    vectors = [vector(text, body.get("dimensions") or 64) for text in texts]
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(v) if packed else v}
        for index, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def vector(text: str | list[int], dimensions: int) -> list[float]:
    """The direction of a text, or of its tokens: each word adds one of its own."""
    total = [0.0] * dimensions
    words = re.findall(r"\w+", text.casefold()) if isinstance(text, str) else map(str, text)
    for word in words:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        total[seed % dimensions] += 1.0
        total[seed // dimensions % dimensions] += 0.5
    length = math.hypot(*total)
    return [x / length for x in total] if length else [1.0] + [0.0] * (dimensions - 1)


def _packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
