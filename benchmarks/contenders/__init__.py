"""What every contender can be asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from langchain_core.messages import BaseMessage

from benchmarks.harness import Told

Document: TypeAlias = dict[str, Any]
Namespace: TypeAlias = tuple[str, ...]
Item: TypeAlias = tuple[Namespace, str, Document]


class Opener(Protocol):
    """Opens a contender in a folder; ``index`` is the field of documents to find without a scan."""

    def __call__(self, folder: Path, index: str | None = None) -> Contender: ...
    def __hash__(self) -> int: ...


class Contender:
    """One way to keep messages and documents. What it cannot do it leaves out, and is left out
    of those cases."""

    threads = 8  # how many it is given where several write at once

    def close(self) -> None:
        """Release everything."""

    # -- messages --------------------------------------------------------------------------

    def fill(self, session: str, messages: Sequence[BaseMessage]) -> None:
        """Make these the session's messages, by the fastest way there is (untimed)."""
        self.add(session, messages)

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        raise NotImplementedError

    def last(self, session: str, count: int) -> Sequence[BaseMessage | Document]:
        """The latest messages, oldest first; or as dicts, for a contender that stops there."""
        raise NotImplementedError

    def all(self, session: str) -> Sequence[BaseMessage | Document]:
        raise NotImplementedError

    # -- documents -------------------------------------------------------------------------

    def put(self, namespace: Namespace, key: str, value: Document) -> None:
        raise NotImplementedError

    def put_many(self, items: Sequence[Item]) -> Told | None:
        """Put all of them, or none."""
        raise NotImplementedError

    def get(self, namespace: Namespace, key: str) -> Document | None:
        raise NotImplementedError

    def get_many(self, ids: Sequence[tuple[Namespace, str]]) -> list[Document | None]:
        raise NotImplementedError

    def equal(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        """At most ten documents whose field has that value."""
        raise NotImplementedError

    def at_least(self, namespace: Namespace, field: str, value: str) -> list[Document]:
        """At most ten documents whose field has that value or a greater one."""
        raise NotImplementedError

    def latest(self, namespace: Namespace, field: str) -> list[Document]:
        """The ten documents with the greatest values of a field, greatest first."""
        raise NotImplementedError

    def namespaces(self, limit: int) -> list[Namespace]:
        """The first namespaces that hold documents."""
        raise NotImplementedError
