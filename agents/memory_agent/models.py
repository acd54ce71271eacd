"""Which chat model the agent talks with."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel

from lc_memory.errors import InvalidInput, MissingExtra
from memory_agent.offline import OfflineModel

#: The model asked of an OpenAI-compatible server, unless ``OPENAI_MODEL`` says another.
DEFAULT_MODEL = "gpt-4o-mini"


def default_model(name: str | None = None) -> BaseChatModel:
    """The model that the environment names, or one of that name behind the same API.

    With ``OPENAI_API_KEY`` (or ``OPENAI_BASE_URL``, for Ollama, vLLM, llama.cpp …) it is a model
    behind the OpenAI API, by default ``gpt-4o-mini`` (``OPENAI_MODEL``). With neither it is the
    embedded offline model. Raises MissingExtra if the API's package is not installed.
    """
    key, base_url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not base_url:
        return OfflineModel()
    try:
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise MissingExtra("A model behind the OpenAI API", "openai") from error
    return ChatOpenAI(
        model=name or os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL,
        base_url=base_url,
        api_key=lambda: key or "none",  # local servers ask for no key, the client does
    )


def named_model(name: str) -> BaseChatModel:
    """The model of that name: ``offline``, or one behind the OpenAI API.

    Raises InvalidInput where no such API is set.
    """
    if name == "offline":
        return OfflineModel()
    if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        raise InvalidInput(
            f"model {name!r}: set OPENAI_API_KEY (or OPENAI_BASE_URL) first; without it there is "
            "'offline' only"
        )
    return default_model(name)


def describe(model: BaseChatModel) -> str:
    """One line that tells the user which model they are talking to."""
    if isinstance(model, OfflineModel):
        return (
            "Offline model: a small rule-based one that is built in. It follows plain English "
            "about you and your course; set OPENAI_API_KEY to talk to a large one."
        )
    where = _address(model)
    return f"Model: {short_name(model)}" + (f" at {where}" if where else "")


def short_name(model: BaseChatModel) -> str:
    """What to call the model in a word or two."""
    if isinstance(model, OfflineModel):
        return "Offline model"
    return str(
        getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type
    )


def failure(model: BaseChatModel, error: Exception) -> str:
    """What to tell the user when the model fails: which one, where, why, and what became of it."""
    where = _address(model)
    return (
        f"{short_name(model)}{f' at {where}' if where else ''} could not answer: "
        f"{str(error).strip() or type(error).__name__}\n"
        "What you said is not in the conversation; you can say it again."
    )


def _address(model: BaseChatModel) -> str:
    """Where the model is asked, if that was set; without a password that may be in it."""
    url = getattr(model, "openai_api_base", None)
    if not isinstance(url, str):
        return ""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
