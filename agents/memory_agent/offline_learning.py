"""How the offline model takes plain statements out of messages, for `memory.learn`."""

from __future__ import annotations

import json
from typing import Any

from .offline_english import understand
from .offline_meanings import Remember

#: The structured output that it knows (`lc_memory.learning.Statements`).
STATEMENTS = "Statements"

_ABOUT = {"name": "The user's name is", "email": "The user's email is", "level": "The user is"}


def statements_in(material: str) -> dict[str, Any]:
    """The statements in the JSON that `memory.learn` asks about; none if it is something else."""
    try:
        data = json.loads(material)
        known = {str(fact["fact"]): str(fact["id"]) for fact in data["known"]}
        messages = [m for m in data["messages"] if m.get("id") and m.get("role") == "user"]
    except (ValueError, TypeError, KeyError):
        return {"statements": []}
    found: list[dict[str, Any]] = []
    for message in messages:
        for meaning in understand(str(message["text"]), ()):
            if isinstance(meaning, Remember):
                found.append(_statement(meaning, message["id"], known))
    return {"statements": found}


def _statement(meaning: Remember, source: str, known: dict[str, str]) -> dict[str, Any]:
    kind, content = "fact", meaning.content
    beginning = ""
    if meaning.kind in _ABOUT:
        beginning = _ABOUT[meaning.kind]
        content = f"{beginning} {content}"
    elif meaning.kind == "preference":
        kind, beginning = "preference", f"Preferred {meaning.topic or 'style'}:"
        content = f"{beginning} {content}"
    replaces = [
        id
        for text, id in known.items()
        if beginning and text.startswith(beginning) and text != content
    ]
    return {
        "statement": content,
        "subject": "user",
        "kind": kind,
        "sources": [source],
        "replaces": replaces,
    }
