"""Everything that is kept of one person: to show it to them, and to forget it.

To the user ``"alice"`` belong

- what lies under ``("users", "alice")``: all that was stored through ``memory.as_user("alice")``;
- every record whose ``owner`` is alice;
- outside of users' namespaces: documents whose ``user_id`` is alice, or that are stored under
  ``id="alice"`` and say nothing else; LangGraph's items with alice as a label of their namespace,
  after "users", at the place that the caller names, or at any, if no other user is a label there;
  LangGraph's threads with ``user_id`` alice in the metadata of a checkpoint;
- what relations declared ``on_delete="cascade"`` lead to from there;
- the links of all these.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lc_memory import values
from lc_memory.documents import IDENTITY_FIELDS, Documents, document_key, user_scope
from lc_memory.errors import Conflict, CorruptStore, InvalidInput
from lc_memory.layers.base import SYSTEM
from lc_memory.layers.reading import held, innermost, readable
from lc_memory.records import Clear, Delete, Id, Namespace, Op, Query, Record, in_scope
from lc_memory.relations import DECLARED, Stored, beside, holding, is_link
from lc_memory.store import Store
from lc_memory.stores.disk import our_errors

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

FORMAT: Final = "lc_memory export"
VERSION: Final = 1
_PAGE: Final = 500
_ROUNDS: Final = 20

#: Who says something, in words that people use.
_ROLES: Final = {"human": "user", "ai": "assistant"}


@dataclass(slots=True)
class Forgotten:
    """What was deleted of a user: how many records of each kind, and their ids. ``scrubbed``:
    whether the store could see to it that no deleted bytes stay in its own files. ``unreadable``:
    records that nobody can read, and whose place and owner do not say that they are the user's;
    they were left."""

    user: str
    counts: dict[str, int] = field(default_factory=dict)
    ids: list[Id] = field(default_factory=list)
    scrubbed: bool = False
    unreadable: list[Id] = field(default_factory=list)


class Belongings:
    """The ids of what belongs to a user, and of the links that touch it.

    ``broken`` are those of them that cannot be read, and ``unreadable`` the others in the store.
    """

    def __init__(
        self,
        store: Store,
        documents: Documents,
        user: str,
        serde: SerializerProtocol | None = None,
        label: int | None = None,
        *,
        guess: bool = True,
    ) -> None:
        self._store = store
        self._label = label
        self._guess = guess
        scopes = store.namespaces(("users",), expired=True)
        self._known = {name[1] for name in scopes if len(name) > 1}
        self._documents = documents
        self._user = user
        self._key = document_key(user)
        self.scope = user_scope(user)
        self._threads = self._find_threads(serde)
        self.ids: dict[Id, None] = {}
        self.links: dict[Id, Stored | None] = {}
        self.broken: dict[Id, None] = {}
        self.unreadable: dict[Id, None] = {}
        for record, error in readable(store, Query(expired=True), _PAGE):
            if error is not None:
                self._sort_out(record)
            elif not is_link(record.namespace) and self._is_theirs(record):
                self.ids[record.id] = None
        self._follow_links()
        places = {beside(id, side) for id in self.ids for side in ("out", "in")}
        self.broken |= {id: None for id in self.unreadable if id[0] in places or id in self.links}
        self.unreadable = {id: None for id in self.unreadable if id not in self.broken}

    def _sort_out(self, record: Record) -> None:
        """Is a record theirs that cannot be read? Its place and its owner tell."""
        if record.namespace[:1] == SYSTEM:
            return
        if record.namespace[:2] != self.scope and record.owner != self._user:
            self.unreadable[record.id] = None
            return
        self.broken[record.id] = None
        if is_link(record.namespace):
            self.links[record.id] = None
        else:
            self.ids[record.id] = None

    def records(self) -> Iterator[Record]:
        """What belongs to the user, without links."""
        ids = [id for id in self.ids if id not in self.broken]
        for start in range(0, len(ids), _PAGE):
            met = held(self._store, ids[start : start + _PAGE], expired=True)
            yield from (record for record, error in met if error is None)

    def ops(self) -> list[Op]:
        """The batch that deletes all of it."""
        size = len(self.scope)
        outside = [id for id in self.ids if id[0][:size] != self.scope]
        return [*(Delete(*id) for id in (*self.links, *outside)), Clear(self.scope)]

    def _is_theirs(self, record: Record) -> bool:
        namespace, value = record.namespace, record.value
        if namespace[:1] == SYSTEM:
            return False
        if namespace[:2] == self.scope or record.owner == self._user:
            return True
        match namespace:
            case ("documents", name):
                return self._names_them(name, record.key, value)
            case ("store", *labels):
                return self._is_label(labels)
            case ("checkpoints", _, thread, *_):
                return thread in self._threads
        return False

    def _names_them(self, name: str, key: str, value: dict[str, Any]) -> bool:
        if value.get("user_id") is not None:
            return bool(value["user_id"] == self._user)
        fields = self._documents.identity.get(name, IDENTITY_FIELDS)
        return key == self._key and not any(value.get(field) is not None for field in fields)

    def _is_label(self, labels: list[str]) -> bool:
        """Whether LangGraph's items in a namespace are theirs. A user may be called "memories":
        what a label means, only its place can say."""
        if labels[:1] in (["users"], ["user"]) and len(labels) > 1:
            return labels[1] == self._user
        if self._label is not None:
            return labels[self._label : self._label + 1 or None] == [self._user]
        if self._user not in labels or not self._guess:
            return False
        if self._known & set(labels) - {self._user}:
            raise InvalidInput(
                f"LangGraph's items have {self._user!r} and another user as labels of their "
                "namespace; say with label= at which place (0: the first, -1: the last) such "
                "namespaces have the user"
            )
        return True

    def _find_threads(self, serde: SerializerProtocol | None) -> set[str]:
        """The labels of the threads outside of users' namespaces that are this user's."""
        states = ("checkpoints", "states")
        if not self._store.namespaces(states, limit=1, expired=True):
            return set()
        from lc_memory.langchain.checkpoint_serde import Codec, strict_serializer
        from lc_memory.langchain.checkpoint_state import State, label

        codec = Codec(serde or strict_serializer())
        found: set[str] = set()
        for record, unreadable in readable(self._store, Query(states, expired=True), _PAGE):
            if unreadable is not None:
                continue
            try:
                state = State.of(record, codec)
                metadata: dict[str, Any] = {**state.read_metadata(codec)}
            except Exception as error:
                raise CorruptStore(
                    f"whose the checkpoint {'/'.join((*record.namespace, record.key))!r} is "
                    f"cannot be read ({error}); give the checkpointer's serializer as serde="
                ) from error
            if metadata.get("user_id") == self._user:
                found.add(label(state.spot.thread))
        return found

    def _follow_links(self) -> None:
        """Find the links of what is theirs, and what goes with it."""
        declared = self._store.get(*DECLARED)
        modes = {} if declared is None else declared.value
        cascading = {name for name, mode in modes.items() if mode == "cascade"}
        spaces = [name for name in self._store.namespaces(expired=True) if is_link(name)]
        more = bool(spaces)
        while more:
            more = False
            for namespace in spaces:
                query = Query(namespace, exact=True, expired=True)
                for record, error in readable(self._store, query):
                    more |= error is None and self._add_link(record, cascading)

    def _add_link(self, record: Record, cascading: set[str]) -> bool:
        """Add a record of a link, if it is theirs; says whether another record came with it."""
        try:
            link = Stored.of(record)
        except CorruptStore:
            if record.namespace[:2] == self.scope:
                self.links[record.id] = None
            return False
        ends = (link.source, link.target)
        if any(end in self.ids or end[0][:2] == self.scope for end in ends):
            self.links |= dict.fromkeys(link.ids, link)
        if link.relation not in cascading or link.source not in self.ids:
            return False
        if link.target in self.ids or in_scope(link.target[0])[0] not in ((), self.scope):
            return False
        if not holding(self._store, [link], expired=True):
            return False
        self.ids[link.target] = None
        self.links |= dict.fromkeys(link.ids, link)
        return True


def forget(
    store: Store,
    raw: Store,
    documents: Documents,
    user: str,
    serde: SerializerProtocol | None = None,
    label: int | None = None,
) -> Forgotten:
    """Delete everything that belongs to a user, until nothing is left.

    ``raw`` is the store below the layers that could refuse to read.
    """
    bottom = innermost(raw)
    ids: dict[Id, None] = {}
    for _ in range(_ROUNDS):
        theirs = Belongings(raw, documents, user, serde, label)
        if not theirs.ids and not theirs.links and not theirs.broken:
            break
        ops = theirs.ops()
        there = bottom.read(list(theirs.links), expired=True) if theirs.links else []
        ids |= theirs.ids | theirs.broken | {r.id: None for r in there if r is not None}
        for id in theirs.broken:  # a layer would give back what it deletes, and cannot open it
            bottom.write([Delete(*id)])
        for batch in [ops] if store.capabilities.atomic else [[op] for op in ops]:
            store.write(batch)
    else:
        raise Conflict(f"somebody keeps writing for user {user!r}; stop that, and do it again")
    counts = Counter(kind_of(namespace) for namespace, _ in ids)
    return Forgotten(
        user, dict(sorted(counts.items())), list(ids), unreadable=list(theirs.unreadable)
    )


def kind_of(namespace: Namespace) -> str:
    """What kind of thing a record is: ``"documents"``, ``"messages"``, …"""
    below = in_scope(namespace)[1]
    return below[0] if below else ""


def export(
    raw: Store,
    documents: Documents,
    user: str,
    path: str | os.PathLike[str] | None = None,
    serde: SerializerProtocol | None = None,
    label: int | None = None,
    *,
    guess: bool = True,
) -> dict[str, Any]:
    """Everything that belongs to a user, by kind; also written to a file, if one is named."""
    theirs = Belongings(raw, documents, user, serde, label, guess=guess)
    told: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "user": user,
        "exported_at": values.write_time(datetime.now(UTC)),
        "documents": {},
        "messages": {},
        "items": {},
        "store": [],
        "checkpoints": {},
        "links": [],
        "other": [],
        "unreadable": ["/".join((*id[0], id[1])) for id in theirs.broken],
    }
    threads: dict[Namespace, None] = {}
    for record in theirs.records():
        _tell(told, record, threads)
    for namespace in threads:
        _tell_thread(told["checkpoints"], raw, namespace, serde)
    told["links"] = [
        {
            "from": "/".join((*link.source[0], link.source[1])),
            "relation": link.relation,
            "to": "/".join((*link.target[0], link.target[1])),
        }
        for link in dict.fromkeys(link for link in theirs.links.values() if link is not None)
    ]
    if path is not None:
        text = json.dumps(told, indent=2, ensure_ascii=False)
        # Half of a surrogate pair, which only JSON's own escapes can write, keeps its escape.
        _write(Path(path), text.encode("utf-8", "backslashreplace"))
    return told


def _tell(told: dict[str, Any], record: Record, threads: dict[Namespace, None]) -> None:
    match in_scope(record.namespace)[1]:
        case ("documents", name):
            told["documents"].setdefault(name, []).append(_told(record))
        case ("messages" | "items" as kind, session):
            told[kind].setdefault(session, []).append(_said(record))
        case ("store", *labels):
            item = {"namespace": labels, **_told(record)}
            told["store"].append({**item, "value": item["value"].get("value")})
        case ("checkpoints", "states", _, _):
            threads[record.namespace] = None
        case ("checkpoints", *_):
            pass  # parts of the states
        case below:
            told["other"].append({"namespace": list(below), **_told(record)})


def _told(record: Record) -> dict[str, Any]:
    told = {
        "id": record.key,
        "value": values.lower(record.value),
        "created_at": values.write_time(record.created_at),
        "updated_at": values.write_time(record.updated_at),
    }
    if record.expires_at is not None:
        told["expires_at"] = values.write_time(record.expires_at)
    return told


def _said(record: Record) -> dict[str, Any]:
    value = values.lower(record.value)
    data = value.get("data")
    content = (data if isinstance(data, dict) else value).get("content")
    role = value.get("role") or value.get("type")
    return {
        "at": values.write_time(record.created_at),
        "role": _ROLES.get(str(role), role),
        "text": _text(content),
        "message": value,
    }


def _text(content: object) -> str:
    """The words of a message, which may be in blocks."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def _tell_thread(
    told: dict[str, Any], store: Store, namespace: Namespace, serde: SerializerProtocol | None
) -> None:
    """The checkpoints of one namespace of a thread, the latest first: with its values, and with
    those of each earlier one that the next one has not."""
    from lc_memory.langchain.checkpoint_reading import Reader
    from lc_memory.langchain.checkpoint_serde import Codec, strict_serializer
    from lc_memory.langchain.checkpoint_state import LATEST, State
    from lc_memory.langchain.checkpoint_threads import Threads

    codec = Codec(serde or strict_serializer())
    reader = Reader(Threads(store, namespace[:-3]), codec)
    thread = namespace[-2]
    checkpoints: list[dict[str, Any]] = []
    now: dict[str, Any] = {}
    query = Query(namespace, exact=True, order=LATEST, expired=True)
    for record, unreadable in readable(store, query):
        if unreadable is not None:  # told among the others
            continue
        kept: dict[str, Any] = {
            "id": record.key,
            "at": values.write_time(record.created_at),
        }
        try:
            state = State.of(record, codec)
            thread = state.spot.thread
            kept["metadata"] = _readable(state.read_metadata(codec))
            found = reader.get(state.spot, state.id)
            if found is not None:
                later = now
                now = _readable(found.checkpoint["channel_values"])
                kept["values"] = {
                    channel: _only_here(value, later.get(channel))
                    for channel, value in now.items()
                    if channel not in later or value != later[channel]
                }
                if found.pending_writes:
                    kept["pending"] = _readable(found.pending_writes)
        except Exception as error:  # noqa: BLE001 - another serializer's: said, not skipped
            kept["unreadable"] = f"{type(error).__name__}: {error}; give serde="
        checkpoints.append(kept)
    told.setdefault(thread, []).append({"namespace": namespace[-1], "checkpoints": checkpoints})


def _only_here(value: Any, later: Any) -> Any:
    """What of a value is not in a later one: of a list, its items."""
    if not isinstance(value, list) or not isinstance(later, list):
        return value
    there = {json.dumps(item, sort_keys=True) for item in later}
    return [item for item in value if json.dumps(item, sort_keys=True) not in there]


def _readable(value: object) -> Any:
    """A value of a graph's state as plain JSON; of what has no such form, how it shows itself."""
    from langchain_core.messages import BaseMessage, message_to_dict

    if isinstance(value, BaseMessage):
        role = _ROLES.get(value.type, value.type)
        full = _readable(message_to_dict(value))
        return {"role": role, "text": _text(value.content), "message": full}
    if isinstance(value, dict):
        return {str(name): _readable(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_readable(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)


def _write(path: Path, data: bytes) -> None:
    """Write the file, in one step, for its owner alone."""
    with our_errors(path):
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
