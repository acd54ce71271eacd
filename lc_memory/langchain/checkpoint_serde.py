"""How checkpoints become bytes, and which bytes become objects again."""

from __future__ import annotations

import hashlib
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import ormsgpack
from langchain_core import messages
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from lc_memory.errors import CorruptStore
from lc_memory.records import Id

#: An object as a serializer wrote it: what kind of bytes, and the bytes.
Dumped: TypeAlias = tuple[str, bytes]

_KEYS: Final = ormsgpack.OPT_NON_STR_KEYS
#: Plain data only: anything else is refused, and left to the serializer.
_PLAIN: Final = (
    _KEYS
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_MESSAGE: Final = "message"
#: In a list these stand as they are, and a message is its name, fields and extra fields; other
#: items are a kind and bytes.
_SCALARS: Final[frozenset[type]] = frozenset({str, int, float, bool, bytes, type(None)})
_FIELDS: Final = 3
_NO_EXTRA: Final[dict[str, Any]] = {}
#: The message types by name, each with the names of its fields.
_MESSAGES: Final = {
    kind.__name__: (kind, frozenset(kind.model_fields))
    for kind in (getattr(messages, name) for name in messages.__all__)
    if isinstance(kind, type) and issubclass(kind, BaseMessage)
}
#: The name of each, and how many fields it has.
_NAMED: Final[dict[type, tuple[str, int]]] = {
    kind: (name, len(names))
    for name, (kind, names) in _MESSAGES.items()
    if not kind.__private_attributes__
}
#: What the serializer of LangGraph writes. It would also read JSON that names constructors,
#: which nothing here ever wrote.
_KINDS: Final = frozenset({"null", "bytes", "bytearray", "msgpack", _MESSAGE})

# As pydantic does it, which forbids it to all others.
_new: Final = object.__new__
_set_dict, _set_given, _set_extra, _set_private = (
    vars(BaseModel)[f"__{name}__"].__set__
    for name in ("dict", "pydantic_fields_set", "pydantic_extra", "pydantic_private")
)
_RAW, _ZIPPED, _SEALED = b"\0", b"\1", b"\2"
_WORTH_ZIPPING: Final = 1536  # less of it costs more time than it saves space
_PLACE_BYTES: Final = 16


def strict_serializer() -> JsonPlusSerializer:
    """LangGraph's serializer, reviving only what cannot do harm: LangChain's messages and
    documents, LangGraph's own types, and the plain ones of the standard library."""
    return JsonPlusSerializer(allowed_msgpack_modules=None)


class Codec:
    """A serializer, and what storing its output takes: framing, compression, a place.

    Under an ``EncryptedSerializer`` everything is encrypted as a whole, together with the place
    it is stored at: a ciphertext moved elsewhere, or bytes that are not encrypted, are refused.
    """

    def __init__(self, serde: SerializerProtocol) -> None:
        self.serde = serde
        # Its bytes differ every time: what is new is told by what they are made from.
        self._cipher = serde.cipher if type(serde) is EncryptedSerializer else None
        #: Whether what is stored, names of parts included, must tell nothing.
        self.encrypts = self._cipher is not None
        self._inner = serde.serde if type(serde) is EncryptedSerializer else serde
        self._known = type(self._inner) is JsonPlusSerializer
        self._kinds = _KINDS | ({"pickle"} if getattr(self._inner, "pickle_fallback", 0) else set())

    def dump(self, value: Any) -> Dumped:
        """The value as bytes. Raises what the serializer raises for what it cannot write."""
        fields = _fields_of(value) if self._known else None
        if fields is not None:
            try:
                return _MESSAGE, ormsgpack.packb(fields, option=_PLAIN)
            except ormsgpack.MsgpackEncodeError:
                pass  # not all plain data
        return self._inner.dumps_typed(value)

    def framed(self, value: Any) -> bytes | None:
        """Plain data as :func:`frame` has it, which the serializer would write the same way. None
        if there is other data in it, or another serializer may see it otherwise."""
        if not self._known:
            return None
        try:
            return ormsgpack.packb(value, option=_PLAIN)
        except ormsgpack.MsgpackEncodeError:
            return None

    def load(self, dumped: Dumped | dict[str, Any]) -> Any:
        """The inverse of :meth:`dump`; plain data is what it is. Raises CorruptStore for a kind
        that it never writes."""
        if isinstance(dumped, dict):
            return dumped
        kind, data = dumped
        if kind == _MESSAGE and self._known:
            return _message_of(*unframe(data))
        if self._known and kind not in self._kinds:
            raise CorruptStore(f"a checkpoint holds a value of kind {kind!r}: not ours")
        return self._inner.loads_typed((kind, data))

    def dumper(self, items: Sequence[Any]) -> Callable[[int, int], bytes]:
        """What dumps the items of a list from one place to another, together. The same items
        always give the same bytes."""
        named, plain = (_NAMED, _SCALARS) if self._known else ({}, frozenset())
        held: list[Any] = [  # _fields_of() as an expression: a call takes as long as the rest of it
            (kind[0], fields, item.__pydantic_extra__ or _NO_EXTRA)
            if (kind := named.get(type(item))) is not None
            and len(fields := item.__dict__) == kind[1]
            else item
            if type(item) in plain
            else self.dump(item)
            for item in items
        ]

        def dump(start: int, end: int) -> bytes:
            some = held[start:end]
            try:
                return ormsgpack.packb(some, option=_PLAIN)
            except ormsgpack.MsgpackEncodeError:  # a message whose fields are not all plain data
                pairs = zip(items[start:end], some, strict=True)
                held[start:end] = some = [self._plain(item, it) for item, it in pairs]
                return frame(some)

        return dump

    def load_all(self, data: bytes) -> list[Any]:
        """The items that a :meth:`dumper` dumped."""
        return [
            held
            if type(held) is not list
            else _message_of(*held)
            if len(held) == _FIELDS
            else self.load((held[0], held[1]))
            for held in unframe(data)
        ]

    def _plain(self, item: Any, held: Any) -> Any:
        try:
            ormsgpack.packb(held, option=_PLAIN)
        except ormsgpack.MsgpackEncodeError:
            return self.dump(item)
        return held

    def seal(self, data: bytes, place: Id | str) -> bytes:
        """The bytes as they are stored at a place: the id of a record (but for the user's scope),
        or the name of a part."""
        if self._cipher is not None:
            name, hidden = self._cipher.encrypt(_mark(place) + _zip(data))
            return _SEALED + ormsgpack.packb((name, hidden))
        return _zip(data)

    def open(self, stored: bytes, place: Id | str) -> bytes:
        """The inverse of :meth:`seal`. Raises CorruptStore unless it was stored at that place."""
        if (stored[:1] == _SEALED) != self.encrypts:
            state = "is not encrypted" if self.encrypts else "is encrypted, and no key was given"
            raise CorruptStore(f"what is stored at {place!r} {state}")
        if self._cipher is None:
            return _unzip(stored)
        try:
            name, hidden = ormsgpack.unpackb(stored[1:])
            shown = self._cipher.decrypt(name, hidden)
        except Exception as error:
            raise CorruptStore(
                f"what is stored at {place!r} cannot be decrypted: another key, or damaged"
            ) from error
        if shown[:_PLACE_BYTES] != _mark(place):
            raise CorruptStore(f"what is stored at {place!r} was encrypted for another place")
        return _unzip(shown[_PLACE_BYTES:])


def frame(value: Any) -> bytes:
    """Dumped values, numbers and names in lists and dicts, as bytes."""
    return ormsgpack.packb(value, option=_KEYS)


def unframe(data: bytes) -> Any:
    """The inverse of :func:`frame`; makes nothing but plain data. Raises CorruptStore."""
    try:
        return ormsgpack.unpackb(data, ext_hook=ormsgpack.Ext, option=_KEYS)
    except ValueError as error:
        raise CorruptStore(f"a checkpoint's bytes are not what was written: {error}") from error


def digest(data: bytes | Iterable[bytes], key: bytes = b"") -> str:
    """A name for the bytes that no others have; without the key it tells nothing of them."""
    made = hashlib.blake2b(digest_size=16, key=key)
    for piece in (data,) if isinstance(data, bytes) else data:
        made.update(piece)
    return urlsafe_b64encode(made.digest()).decode().rstrip("=")


def _mark(place: Id | str) -> bytes:
    text = place if isinstance(place, str) else "\0".join((*place[0], place[1]))
    marked = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(marked, digest_size=_PLACE_BYTES).digest()


def _zip(data: bytes) -> bytes:
    if len(data) >= _WORTH_ZIPPING:
        zipped = zlib.compress(data, 1)
        if len(zipped) < len(data) * 0.9:
            return _ZIPPED + zipped
    return _RAW + data


def _unzip(stored: bytes) -> bytes:
    if stored[:1] == _RAW:
        return stored[1:]
    try:
        if stored[:1] == _ZIPPED:
            return zlib.decompress(stored[1:])
    except zlib.error as error:
        raise CorruptStore(f"a checkpoint's bytes are damaged: {error}") from error
    raise CorruptStore("a checkpoint's bytes are not what was written")


# Messages are most of what agents checkpoint. Their fields are written as they are, and put back
# without validating them again, which takes a sixth of the serializer's time.


def _fields_of(value: Any) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """The fields of a message of LangChain's own types; of anything else None."""
    named = _NAMED.get(type(value))
    if named is None:
        return None
    fields = value.__dict__
    if len(fields) != named[1]:
        return None
    return named[0], fields, value.__pydantic_extra__ or _NO_EXTRA


def _no_message(name: str) -> NoReturn:
    raise CorruptStore(f"a checkpoint holds a message of type {name!r}, which is none")


def _message_of(name: str, fields: dict[str, Any], extra: dict[str, Any]) -> BaseMessage:
    kind, names = _MESSAGES.get(name) or _no_message(name)
    given = set(fields)
    if given != names:  # of another version of LangChain
        return kind(**fields, **extra)
    message: BaseMessage = _new(kind)
    _set_dict(message, fields)
    _set_given(message, given)
    _set_extra(message, extra)
    _set_private(message, None)
    return message
