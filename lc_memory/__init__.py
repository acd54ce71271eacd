"""Drop-in persistent memory for LLM agents.

>>> from lc_memory import Memory
>>> memory = Memory("sqlite:///agent_memory.db")

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lc_memory.access import Grant as Grant
    from lc_memory.aio import AsyncStore as AsyncStore
    from lc_memory.audit import AuditEntry as AuditEntry
    from lc_memory.errors import AccessDenied as AccessDenied
    from lc_memory.errors import BackupError as BackupError
    from lc_memory.errors import BackupKeyError as BackupKeyError
    from lc_memory.errors import CommitUnknown as CommitUnknown
    from lc_memory.errors import Conflict as Conflict
    from lc_memory.errors import CorruptStore as CorruptStore
    from lc_memory.errors import DrillFailed as DrillFailed
    from lc_memory.errors import InvalidDocument as InvalidDocument
    from lc_memory.errors import InvalidFilter as InvalidFilter
    from lc_memory.errors import InvalidInput as InvalidInput
    from lc_memory.errors import InvalidKey as InvalidKey
    from lc_memory.errors import InvalidQuery as InvalidQuery
    from lc_memory.errors import InvalidValue as InvalidValue
    from lc_memory.errors import LCMemoryError as LCMemoryError
    from lc_memory.errors import LearningFailed as LearningFailed
    from lc_memory.errors import LinkedRecord as LinkedRecord
    from lc_memory.errors import MemoryNotFound as MemoryNotFound
    from lc_memory.errors import MigrationError as MigrationError
    from lc_memory.errors import MissingExtra as MissingExtra
    from lc_memory.errors import NewerFormat as NewerFormat
    from lc_memory.errors import SnapshotLost as SnapshotLost
    from lc_memory.errors import StoreClosed as StoreClosed
    from lc_memory.errors import StoreError as StoreError
    from lc_memory.errors import StoreFull as StoreFull
    from lc_memory.errors import StoreReadOnly as StoreReadOnly
    from lc_memory.errors import StoreUnavailable as StoreUnavailable
    from lc_memory.errors import UnknownStorage as UnknownStorage
    from lc_memory.errors import Unsupported as Unsupported
    from lc_memory.errors import WrongKey as WrongKey
    from lc_memory.filters import matches as matches
    from lc_memory.keys import generate_key as generate_key
    from lc_memory.knowledge import Knowledge as Knowledge
    from lc_memory.langchain.cache import LLMCache as LLMCache
    from lc_memory.langchain.chat_history import ChatHistory as ChatHistory
    from lc_memory.langchain.checkpointer import Checkpointer as Checkpointer
    from lc_memory.langchain.context import MemoryContext as MemoryContext
    from lc_memory.langchain.key_value import KeyValueStore as KeyValueStore
    from lc_memory.langchain.middleware import MemoryMiddleware as MemoryMiddleware
    from lc_memory.langchain.retriever import MemoryRetriever as MemoryRetriever
    from lc_memory.langchain.store import LangGraphStore as LangGraphStore
    from lc_memory.langchain.summary import Summary as Summary
    from lc_memory.langchain.tools import memory_tools as memory_tools
    from lc_memory.langchain.window import window as window
    from lc_memory.learner import Learner as Learner
    from lc_memory.learning import Learned as Learned
    from lc_memory.log import Log as Log
    from lc_memory.memory import Memory as Memory
    from lc_memory.openai_agents import AgentSession as AgentSession
    from lc_memory.openai_items import items_of as items_of
    from lc_memory.openai_items import messages_of as messages_of
    from lc_memory.records import ABSENT as ABSENT
    from lc_memory.records import PRESENT as PRESENT
    from lc_memory.records import Append as Append
    from lc_memory.records import Clear as Clear
    from lc_memory.records import Delete as Delete
    from lc_memory.records import Expect as Expect
    from lc_memory.records import Limits as Limits
    from lc_memory.records import Op as Op
    from lc_memory.records import Order as Order
    from lc_memory.records import Page as Page
    from lc_memory.records import Put as Put
    from lc_memory.records import Query as Query
    from lc_memory.records import Record as Record
    from lc_memory.records import Restore as Restore
    from lc_memory.records import Touch as Touch
    from lc_memory.registry import open_store as open_store
    from lc_memory.registry import register as register
    from lc_memory.schemas import Conversation as Conversation
    from lc_memory.schemas import LearningProgress as LearningProgress
    from lc_memory.schemas import UserProfile as UserProfile
    from lc_memory.search.asking import Hit as Hit
    from lc_memory.search.ranking import Rules as Rules
    from lc_memory.search.recall import Recall as Recall
    from lc_memory.store import Capabilities as Capabilities
    from lc_memory.store import Index as Index
    from lc_memory.store import Store as Store

__version__ = "0.1.0"

_HOMES = {
    "lc_memory.memory": "Memory",
    "lc_memory.access": "Grant",
    "lc_memory.aio": "AsyncStore",
    "lc_memory.audit": "AuditEntry",
    "lc_memory.keys": "generate_key",
    "lc_memory.store": "Capabilities Index Store",
    "lc_memory.records": (
        "ABSENT PRESENT Append Clear Delete Expect Limits Op Order Page Put Query Record "
        "Restore Touch"
    ),
    "lc_memory.filters": "matches",
    "lc_memory.knowledge": "Knowledge",
    "lc_memory.learner": "Learner",
    "lc_memory.log": "Log",
    "lc_memory.registry": "open_store register",
    "lc_memory.schemas": "Conversation LearningProgress UserProfile",
    "lc_memory.langchain.chat_history": "ChatHistory",
    "lc_memory.langchain.checkpointer": "Checkpointer",
    "lc_memory.langchain.store": "LangGraphStore",
    "lc_memory.langchain.cache": "LLMCache",
    "lc_memory.langchain.key_value": "KeyValueStore",
    "lc_memory.langchain.summary": "Summary",
    "lc_memory.langchain.window": "window",
    "lc_memory.openai_agents": "AgentSession",
    "lc_memory.openai_items": "items_of messages_of",
    "lc_memory.langchain.context": "MemoryContext",
    "lc_memory.langchain.middleware": "MemoryMiddleware",
    "lc_memory.langchain.tools": "memory_tools",
    "lc_memory.langchain.retriever": "MemoryRetriever",
    "lc_memory.learning": "Learned",
    "lc_memory.search.asking": "Hit",
    "lc_memory.search.ranking": "Rules",
    "lc_memory.search.recall": "Recall",
    "lc_memory.errors": (
        "AccessDenied BackupError BackupKeyError CommitUnknown Conflict CorruptStore DrillFailed "
        "InvalidDocument InvalidFilter InvalidInput InvalidKey InvalidQuery InvalidValue "
        "LCMemoryError LearningFailed LinkedRecord MemoryNotFound MigrationError MissingExtra "
        "NewerFormat SnapshotLost StoreClosed StoreError StoreFull StoreReadOnly StoreUnavailable "
        "UnknownStorage Unsupported WrongKey"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ABSENT",
    "PRESENT",
    "AccessDenied",
    "AgentSession",
    "Append",
    "AsyncStore",
    "AuditEntry",
    "BackupError",
    "BackupKeyError",
    "Capabilities",
    "ChatHistory",
    "Checkpointer",
    "Clear",
    "CommitUnknown",
    "Conflict",
    "Conversation",
    "CorruptStore",
    "Delete",
    "DrillFailed",
    "Expect",
    "Grant",
    "Hit",
    "Index",
    "InvalidDocument",
    "InvalidFilter",
    "InvalidInput",
    "InvalidKey",
    "InvalidQuery",
    "InvalidValue",
    "KeyValueStore",
    "Knowledge",
    "LCMemoryError",
    "LLMCache",
    "LangGraphStore",
    "Learned",
    "Learner",
    "LearningFailed",
    "LearningProgress",
    "Limits",
    "LinkedRecord",
    "Log",
    "Memory",
    "MemoryContext",
    "MemoryMiddleware",
    "MemoryNotFound",
    "MemoryRetriever",
    "MigrationError",
    "MissingExtra",
    "NewerFormat",
    "Op",
    "Order",
    "Page",
    "Put",
    "Query",
    "Recall",
    "Record",
    "Restore",
    "Rules",
    "SnapshotLost",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnavailable",
    "Summary",
    "Touch",
    "UnknownStorage",
    "Unsupported",
    "UserProfile",
    "WrongKey",
    "generate_key",
    "items_of",
    "matches",
    "memory_tools",
    "messages_of",
    "open_store",
    "register",
    "window",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
