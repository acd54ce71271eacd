"""Files by hand: a line of JSON for each message, appended, and synced to the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from benchmarks.contenders import Contender, Document, Namespace

_sync = getattr(os, "fdatasync", os.fsync)


class Raw(Contender):
    def __init__(self, folder: Path, index: str | None = None) -> None:
        self._path = folder / "raw.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        self._append([[session, message_to_dict(message)] for message in messages])

    def _append(self, entries: Sequence[object]) -> None:
        os.write(self._file, "".join(json.dumps(entry) + "\n" for entry in entries).encode())
        _sync(self._file)

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        entries = map(json.loads, self._path.read_text().splitlines())
        return messages_from_dict([payload for name, payload in entries if name == session])

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        return self.all(session)[-count:]

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        self._append([[*namespace, key, value]])

    def get(self, namespace: Namespace, key: str) -> Document | None:
        name = [*namespace, key]
        found = None
        for entry in map(json.loads, self._path.read_text().splitlines()):
            found = entry[-1] if entry[:-1] == name else found
        return found
