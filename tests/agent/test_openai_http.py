"""The real OpenAI clients against a scripted service: answers, tools, streams and failures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add as add_pieces
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.openai_server import Call, Drop, Fail, OpenAIServer, Say, Step

CALLS = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def chat(server: OpenAIServer, **options: Any) -> ChatOpenAI:
    settings: dict[str, Any] = {"api_key": "test", "stream_usage": True, "max_retries": 0}
    return ChatOpenAI(model="gpt-test", base_url=server.base_url, **(settings | options))


def summed(chunks: Iterable[AIMessage]) -> AIMessage:
    """The message that chunks add up to."""
    return reduce(add_pieces, chunks)


@pytest.fixture(params=[False, True], ids=["chat completions", "responses"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options that choose an API."""
    return {"use_responses_api": request.param}


def test_a_text_comes_back_whole_with_its_usage(api: dict[str, Any]) -> None:
    with OpenAIServer([Say("Hello, Ada.")]) as server:
        reply = chat(server, **api).invoke("Hi, I'm Ada")
    assert reply.text == "Hello, Ada."
    assert reply.usage_metadata
    assert reply.usage_metadata["output_tokens"] == 2
    assert reply.response_metadata["model_name"] == "gpt-test"


def test_requests_are_kept_with_headers_and_body(api: dict[str, Any]) -> None:
    with OpenAIServer([Say("Hello.")]) as server:
        chat(server, **api).bind_tools([add]).invoke("Hi, I'm Ada")
    [request] = server.requests
    assert request.path == ("/v1/responses" if api["use_responses_api"] else "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer test"
    assert request.body["model"] == "gpt-test"
    assert "Hi, I'm Ada" in str(request.body)
    assert "add" in str(request.body["tools"])


async def test_a_stream_adds_up_to_the_text(api: dict[str, Any]) -> None:
    text = "One two\nthree 😀 four."
    with OpenAIServer([Say(text), Say(text)]) as server:
        chunks = list(chat(server, **api).stream("count"))
        later = [chunk async for chunk in chat(server, **api).astream("count")]
    for pieces in (chunks, later):
        total = summed(pieces)
        assert total.text == text
        assert total.usage_metadata
        assert total.usage_metadata["output_tokens"] == 5
        assert len([piece for piece in pieces if piece.text]) == 5


def test_a_stream_tells_its_usage_only_if_asked() -> None:
    with OpenAIServer([Say("Hello.")]) as server:
        chunks = list(chat(server, stream_usage=False).stream("Hi"))
    assert summed(chunks).usage_metadata is None


@pytest.mark.parametrize("streams", [False, True])
def test_tool_calls_arrive_with_ids_of_their_own(api: dict[str, Any], streams: bool) -> None:
    with OpenAIServer([CALLS]) as server:
        model = chat(server, **api).bind_tools([add])
        reply = summed(model.stream("add")) if streams else model.invoke("add")
    assert [call["args"] for call in reply.tool_calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert len({call["id"] for call in reply.tool_calls}) == 2


@pytest.mark.parametrize("streams", [False, True])
async def test_an_agent_runs_its_tools_and_answers(api: dict[str, Any], streams: bool) -> None:
    script: list[Step] = [CALLS, Say("3 and 7")]
    question: Any = {"messages": [("user", "add")]}
    with OpenAIServer([*script, *script]) as server:
        agent = create_agent(chat(server, streaming=streams, **api), [add])
        for state in (agent.invoke(question), await agent.ainvoke(question)):
            results = [m.content for m in state["messages"] if isinstance(m, ToolMessage)]
            assert results == ["3", "7"]
            assert state["messages"][-1].text == "3 and 7"
    assert "7" in str(server.requests[1].body)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_an_error_of_the_service_is_the_client_s(
    api: dict[str, Any], status: int, expected: type[openai.APIStatusError], streams: bool
) -> None:
    with OpenAIServer([Fail(status, "not today", retry_after=7)]) as server:
        model = chat(server, **api)
        with pytest.raises(expected, match="not today") as raised:
            list(model.stream("Hi")) if streams else model.invoke("Hi")
    assert raised.value.response.headers["retry-after"] == "7"


def test_a_client_that_retries_gets_the_next_step(api: dict[str, Any]) -> None:
    script: list[Step] = [Fail(429, "slow down", retry_after=0.01), Drop(), Say("Here.")]
    with OpenAIServer(script) as server:
        assert chat(server, max_retries=2, **api).invoke("Hi").text == "Here."
    assert len(server.requests) == 3


@pytest.mark.parametrize("drop", [Drop(), Drop("Half of an")], ids=["before", "within"])
async def test_a_connection_that_breaks_is_a_connection_error(
    api: dict[str, Any], drop: Drop
) -> None:
    with OpenAIServer([drop, drop]) as server:
        with pytest.raises(openai.APIConnectionError):
            chat(server, **api).invoke("Hi")
        with pytest.raises(openai.APIConnectionError):
            await chat(server, **api).ainvoke("Hi")


@pytest.mark.parametrize("text", ["", "Half of an"], ids=["before", "within"])
def test_a_stream_that_breaks_raises_after_what_it_gave(api: dict[str, Any], text: str) -> None:
    heard: list[str] = []
    with OpenAIServer([Drop(text)]) as server:
        stream = chat(server, **api).stream("Hi")
        with pytest.raises(openai.APIConnectionError):
            heard.extend(chunk.text for chunk in stream)
    assert "".join(heard) == text


def test_past_its_end_the_script_says_so() -> None:
    with OpenAIServer() as server:
        with pytest.raises(openai.BadRequestError, match="no step left"):
            chat(server).invoke("Hi")
        server.script.append(Say("Now."))
        assert chat(server).invoke("Hi").text == "Now."


@pytest.mark.parametrize("packed", [True, False])
def test_embeddings_are_near_where_words_are_shared(packed: bool) -> None:
    texts = ["a cat named Turing", "the cat Turing", "exam on Friday", ""]
    with OpenAIServer([Say("not for embeddings"), Fail(500, "later")]) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="test", max_retries=0)
        options: dict[str, Any] = {} if packed else {"encoding_format": "float"}
        made = client.embeddings.create(model="e", input=texts, dimensions=32, **options)
        options = {"api_key": "test", "dimensions": 32, "check_embedding_ctx_length": False}
        again = OpenAIEmbeddings(base_url=server.base_url, **options).embed_documents(texts)
        client.close()
    vectors = [item.embedding for item in made.data]
    assert {len(v) for v in vectors} == {32}
    assert vectors == [pytest.approx(v, abs=1e-6) for v in again]
    cat, same, exam, _ = vectors
    assert _dot(cat, same) > _dot(cat, exam)
    assert _dot(cat, cat) == pytest.approx(1, abs=1e-6)
    assert len(server.script) == 2


async def test_the_agents_sdk_runs_its_tools_over_it() -> None:
    sdk = pytest.importorskip("agents.run")  # the folder of that name has no such module
    import agents

    with OpenAIServer([CALLS, Say("3 and 7")]) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="test") as client:
            model = agents.OpenAIResponsesModel("gpt-test", client)
            adder = agents.Agent("adder", model=model, tools=[agents.function_tool(add)])
            config = agents.RunConfig(tracing_disabled=True)
            result = await sdk.Runner.run(adder, "add", run_config=config)
    assert result.final_output == "3 and 7"
    results = [item["output"] for item in server.requests[1].body["input"] if "output" in item]
    assert results == ["3", "7"]


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
