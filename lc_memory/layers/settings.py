"""What a store says of itself to all who open it: which layers must be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lc_memory.layers.base import SYSTEM
from lc_memory.records import Namespace, Value
from lc_memory.store import Store

SETTINGS: Final[Namespace] = (*SYSTEM, "settings")

#: The settings that decide how a store is opened.
NAMES: Final = ("encryption", "access", "audit", "relations")


def read_settings(store: Store) -> dict[str, Value]:
    """The settings there are, by name; read at once."""
    found = store.read([(SETTINGS, name) for name in NAMES])
    return {record.key: record.value for record in found if record is not None}


def change_setting(store: Store, name: str, changes: Mapping[str, Any]) -> Value:
    """Merge the changes into a setting; atomic against other processes."""
    return store.update(SETTINGS, name, changes, default={}).value
