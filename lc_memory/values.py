"""Values: what can be stored, how it is written as JSON, how it compares and sorts.

A value is a JSON object in which bytes and time-zone-aware datetimes may stand too. As JSON text:

- bytes are ``{"$bytes": base64}``, datetimes ``{"$date": "2024-01-15T10:00:00.000000Z"}`` (UTC),
  integers past 64 bits ``{"$int": "…"}`` (JSON readers would round them);
- a key of the user's that begins with ``$`` gets one more ``$``, so that no stored document can
  pass for a tag;
- tuples become lists, as everywhere in JSON; NaN and infinity are refused.

NUL and lone surrogates in text are kept (models emit both): such text is written with escapes.
Two halves that meet come back as the character that they make: JSON knows no difference.
"""

from __future__ import annotations

import binascii
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from lc_memory.errors import CorruptStore, InvalidValue

#: How deep a value may be nested. MongoDB's own limit is 100, and our documents stand in another.
MAX_DEPTH: Final = 90

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SCALARS: Final = frozenset((str, int, bool, type(None)))
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class _Refused(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.segments: list[str | int] = []


def encode(value: Mapping[str, Any]) -> str:
    """The value as JSON text.

    Raises InvalidValue, naming the JSON path, for what cannot be stored.
    """
    text = None
    if type(value) is dict:
        text = _flatly(value) if bytes in map(type, value.values()) else _plainly(value)
    return dump(lower(value)) if text is None else text


def _flatly(value: dict[str, Any]) -> str | None:
    """Bytes by their names, and perhaps texts: what checkpoints are kept as."""
    told: dict[str, Any] = {}
    for name, item in value.items():
        if type(item) is bytes:
            told[name] = {"$bytes": _base64(item)}
        elif type(item) is str:
            told[name] = item
        else:
            return None
        if type(name) is not str or name[:1] == "$":
            return None
    try:
        return orjson.dumps(told).decode()
    except orjson.JSONEncodeError:  # a lone surrogate
        return None


def _plainly(value: dict[str, Any]) -> str | None:
    """Most values need no tags; all that do, or are refused, take the longer way."""
    if not _are_plain(value.values(), MAX_DEPTH - 1):
        return None
    try:
        text = orjson.dumps(value, None, orjson.OPT_STRICT_INTEGER).decode()
    except orjson.JSONEncodeError:
        return None
    return None if "$" in text and '"$' in text else text


def _are_plain(items: Iterable[Any], room: int) -> bool:
    """Whether JSON has all of them as they are, and they nest no deeper than there is room."""
    for item in items:
        kind = type(item)
        if kind in _SCALARS or (kind is float and math.isfinite(item)):
            continue
        if kind is dict:
            inner = item.values()
        elif kind is list or kind is tuple:
            inner = item
        else:
            return False
        if not room or not _are_plain(inner, room - 1):
            return False
    return True


def dump(lowered: dict[str, Any]) -> str:
    """What :func:`lower` gave, as JSON text."""
    try:
        return orjson.dumps(lowered).decode()
    except orjson.JSONEncodeError:  # a lone surrogate: not UTF-8, but JSON can escape it
        text = json.dumps(lowered, separators=(",", ":"), ensure_ascii=False)
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def decode(text: str | bytes) -> dict[str, Any]:
    """The value that :func:`encode` wrote. Raises CorruptStore; never returns less."""
    try:
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError:  # an escaped lone surrogate
            data = json.loads(text)
        tagged = '"$' in text if isinstance(text, str) else b'"$' in text
        value = lift(data) if tagged else data
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError) as error:
        raise CorruptStore(f"a stored value is not what was written: {error}") from error
    if type(value) is not dict:
        raise CorruptStore("a stored value is not a JSON object")
    return value


def lower(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value in plain JSON terms, with tags. Raises InvalidValue."""
    if not isinstance(value, Mapping):
        raise InvalidValue("$", f"a {type(value).__name__}, not an object (a dict)")
    try:
        return _lower_object(value, 1)
    except _Refused as refused:
        raise InvalidValue(json_path(reversed(refused.segments)), refused.reason) from None


def _lower_object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels")
    out: dict[str, Any] = {}
    name: Any = None
    try:
        for name, item in value.items():
            if type(name) is not str:
                if not isinstance(name, str):
                    raise _Refused(f"a key that is a {type(name).__name__}, not a string")
                name = str.__str__(name)
            kept = "$" + name if name[:1] == "$" else name
            out[kept] = item if type(item) is str else _lower(item, depth)
    except _Refused as refused:
        if isinstance(name, str):
            refused.segments.append(name)
        raise
    return out


def _lower_array(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    if depth > MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels")
    out: list[Any] = []
    try:
        for item in value:
            out.append(item if type(item) is str else _lower(item, depth))
    except _Refused as refused:
        refused.segments.append(len(out))
        raise
    return out


def _lower(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else {"$int": str_of_int(value)}
    if kind is float:
        if not math.isfinite(value):
            raise _Refused(f"{value} is not a number that JSON knows; store None instead")
        return value
    if kind is dict:
        return _lower_object(value, depth + 1)
    if kind is list or kind is tuple:
        return _lower_array(value, depth + 1)
    return _lower_rare(value, depth)


def _base64(data: bytes | bytearray) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _lower_rare(value: Any, depth: int) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": _base64(value)}
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise _Refused("a datetime without a time zone; use datetime.now(timezone.utc)")
        try:
            return {"$date": write_time(value)}
        except OverflowError:
            raise _Refused("a datetime outside the years 1 to 9999 of UTC") from None
    if isinstance(value, str):  # a subclass such as a StrEnum
        return str.__str__(value)
    if isinstance(value, int):
        return _lower(int.__int__(value), depth)
    if isinstance(value, float):  # a subclass such as numpy's
        return _lower(float.__float__(value), depth)
    if isinstance(value, Mapping):
        return _lower_object(value, depth + 1)
    if isinstance(value, (list, tuple)):
        return _lower_array(value, depth + 1)
    hint = ""
    if hasattr(value, "model_dump"):
        hint = "; store its .model_dump(mode='json')"
    elif isinstance(value, (set, frozenset)):
        hint = "; store a sorted list"
    raise _Refused(f"a {type(value).__name__} cannot be stored{hint}")


def lift(value: Any) -> Any:
    """The inverse of :func:`lower`."""
    if type(value) is dict:
        if len(value) == 1:
            (name, item), *_ = value.items()
            if name == "$bytes":
                return binascii.a2b_base64(item, strict_mode=True)
            if name == "$date":
                return read_time(item)
            if name == "$int":
                return int_of_str(item)
        return {
            (name if name[:1] != "$" else _lift_name(name)): (
                item if type(item) in _SCALARS else lift(item)
            )
            for name, item in value.items()
        }
    if type(value) is list:
        return [lift(item) for item in value]
    return value


def _lift_name(name: str) -> str:
    if name[:2] != "$$":
        raise ValueError(f"unknown tag {name!r}")
    return name[1:]


def merge_patch(target: Any, patch: Any) -> Any:
    """The target changed by a JSON Merge Patch (RFC 7396): None removes, objects merge."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, item in patch.items():
        if item is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), item)
    return merged


def json_path(segments: Any) -> str:
    """``$.a[0].b`` for ``["a", 0, "b"]``."""
    path = "$"
    for segment in segments:
        if isinstance(segment, int):
            path += f"[{segment}]"
        elif segment.isidentifier():
            path += f".{segment}"
        else:
            path += f"[{json.dumps(segment[:80])}]"
    return path


# -- times -------------------------------------------------------------------------------------


def micros(when: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (when - EPOCH) // _MICROSECOND


def from_micros(number: int) -> datetime:
    return EPOCH + timedelta(0, 0, number)


def write_time(when: datetime) -> str:
    """UTC with microseconds and a Z; byte order is the order of time."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read_time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.utcoffset() is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999 of UTC") from None


# -- integers of any size ----------------------------------------------------------------------


def str_of_int(number: int) -> str:
    """In hexadecimal: Python limits how long a decimal may be, and how fast it converts."""
    return hex(number)


def int_of_str(text: str) -> int:
    return int(text, 16)


# -- comparing ---------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Equality as JSON means it: ``1`` equals ``1.0`` and not ``True``; objects have no order."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


_RANKS: Final[dict[type, int]] = {
    **{type(None): 1, bool: 7, int: 2, float: 2, str: 3},
    **{dict: 4, list: 5, bytes: 6, datetime: 8},
}


def rank(value: Any) -> int:
    """The place of the value's type in the order of all values (MongoDB's order of types)."""
    place = _RANKS.get(type(value))
    if place is None:  # a subclass
        place = next((p for kind, p in _RANKS.items() if isinstance(value, kind)), 8)
    return place


def sort_key(value: Any) -> bytes:
    """Bytes whose order is the order of all values: by type, then by value.

    Equal values (``1`` and ``1.0``) have equal keys, and only they. Strings sort by code point.
    """
    place = rank(value)
    head = bytes((place,))
    if place == 2:
        return head + _number_key(value)
    if place == 3:
        return head + str(value).encode("utf-8", "surrogatepass")
    if place == 4:
        parts = (sort_key(k) + sort_key(value[k]) for k in sorted(value))
        return head + b"".join(map(_framed, parts))
    if place == 5:
        return head + b"".join(_framed(sort_key(item)) for item in value)
    if place == 6:
        return head + bytes(value)
    if place == 7:
        return head + bytes((value,))
    if place == 8:
        return head + struct.pack(">Q", micros(value) + 2**63)
    return head


def _framed(key: bytes) -> bytes:
    """The key with an end mark that sorts before anything that could follow."""
    return b"\x01" + key.replace(b"\0", b"\0\xff") + b"\0\0"


def _number_key(number: int | float) -> bytes:
    """The nearest double in an order-preserving form, then what it misses of an integer."""
    try:
        near = float(number) + 0.0  # -0.0 becomes 0.0
    except OverflowError:
        near = math.inf if number > 0 else -math.inf
    (bits,) = struct.unpack(">Q", struct.pack(">d", near))
    ordered = bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63)
    if isinstance(number, float):
        missed = 0
    else:
        missed = number - int(near) if math.isfinite(near) else number
    size = (abs(missed).bit_length() + 7) // 8
    if missed >= 0:
        tail = bytes((0x80 + (missed > 0),)) + size.to_bytes(4) + missed.to_bytes(size)
    else:
        tail = b"\x7f" + (2**32 - 1 - size).to_bytes(4) + (256**size + missed).to_bytes(size)
    return struct.pack(">Q", ordered) + tail
