"""YAML files, in block style. Strings are quoted, so that ``no`` and ``1e3`` stay strings.

PyYAML takes half a millisecond a record, so what is to the byte as it was written here is read by
:class:`_Reader`, which knows just this layout; what a person wrote is PyYAML's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

from lc_memory.rows import Row
from lc_memory.stores.formats import Format, document, load_json, records_in

try:
    from yaml import CSafeLoader as FastLoader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as FastLoader  # type: ignore[assignment]

#: What YAML does not let stand as itself inside quotes, or takes for a line break.
_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ALIAS: Final = re.compile(rb"(?:^|[\s,\[{:-])[&*]\w", re.MULTILINE)
_WORD: Final = re.compile("[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED: Final = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_ENTRY: Final = re.compile(r'(?:([A-Za-z]\w*)|("(?:[^"\\]|\\.)*")):(?: (.+))?\Z', re.ASCII)
#: YAML wants the key of ``key: value`` on a line and below 1024 characters.
_LONG_KEY: Final = 120

_quote = json.JSONEncoder(ensure_ascii=False).encode


class YAML(Format):
    seal_line = b'seal: "%s"\n'

    def body(self, rows: Iterable[Row]) -> bytes:
        whole = document(rows)
        records = whole.pop("records")
        head = "".join(f"{name}:{_block(item, '')}" for name, item in whole.items())
        if not records:
            return f"{head}records: []\n".encode()
        return f"{head}records:{_block(records, '')}".encode()

    def parse(self, data: bytes, sealed: bool) -> Iterable[Any]:
        if sealed:
            return records_in(_Reader(data.decode()).mapping(0))
        if _ALIAS.search(_QUOTED.sub(b"", data)):
            raise ValueError("anchors and aliases are not read; put such text in double quotes")
        try:
            try:
                return records_in(yaml.load(data, FastLoader))
            except yaml.YAMLError:  # libyaml refuses lone surrogates, even escaped
                return records_in(yaml.safe_load(data))
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


def _block(value: Any, pad: str) -> str:
    """What follows ``key:`` or ``-``: on the same line, or on lines of its own."""
    if type(value) is dict and value:
        return "\n" + "".join(pad + _entry(name, item, pad) for name, item in value.items())
    if type(value) is list and value:
        return "\n" + "".join(f"{pad}-{_nested(item, pad)}" for item in value)
    return f" {_scalar(value)}\n"


def _entry(name: str, item: Any, pad: str) -> str:
    is_plain = _WORD.fullmatch(name) and name.lower() not in _RESERVED
    key = name if is_plain else _scalar(name)
    if len(key) > _LONG_KEY:
        return f"? {key}\n{pad}:{_nested(item, pad)}"
    return f"{key}:{_block(item, pad + '  ')}"


def _nested(item: Any, pad: str) -> str:
    block = _block(item, pad + "  ")
    return " " + block[1:].lstrip(" ") if block[0] == "\n" else block


def _scalar(value: Any) -> str:
    if type(value) is str:
        return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", _quote(value))
    if type(value) is float:
        text = repr(value)  # YAML 1.1 takes 1e+308 for a string, without the point
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    return _quote(value)


class _Reader:
    """Reads what :func:`_block` writes, and raises ValueError or IndexError at anything else."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._lines.pop()  # the last line ends with a newline too
        self._at = 0

    def mapping(self, pad: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._begins(pad):
            line = self._lines[self._at]
            if line.startswith("? ", pad):
                self._at += 1
                name = load_json(line[pad + 2 :])
                found[name] = self._item(pad, ": ")
                continue
            entry = _ENTRY.match(line, pad)
            if entry is None:
                raise ValueError(f"line {self._at + 1} is not an entry")
            word, quoted, scalar = entry.groups()
            self._at += 1
            found[word or load_json(quoted)] = (
                self._inner(pad) if scalar is None else load_json(scalar)
            )
        return found

    def _inner(self, pad: int) -> Any:
        """The block under ``key:``. That of ``records:``, the outermost list, is not indented."""
        if self._begins(pad, "- "):
            return self._sequence(pad)
        pad += 2
        return self._sequence(pad) if self._begins(pad, "- ") else self.mapping(pad)

    def _sequence(self, pad: int) -> list[Any]:
        found: list[Any] = []
        while self._begins(pad, "- "):
            found.append(self._item(pad, "- "))
        return found

    def _item(self, pad: int, mark: str) -> Any:
        """What follows the mark: a scalar, or a block that begins on the same line."""
        line = self._lines[self._at]
        if not line.startswith(mark, pad):
            raise ValueError(f"line {self._at + 1} does not go on with {mark!r}")
        inner = pad + 2
        if line.startswith("- ", inner):
            self._lines[self._at] = " " * inner + line[inner:]
            return self._sequence(inner)
        if line.startswith("? ", inner) or _ENTRY.match(line, inner):
            self._lines[self._at] = " " * inner + line[inner:]
            return self.mapping(inner)
        self._at += 1
        return load_json(line[inner:])

    def _begins(self, pad: int, mark: str = "") -> bool:
        """Whether the next line belongs to a block of this indentation (and begins so)."""
        if self._at >= len(self._lines):
            return False
        line = self._lines[self._at]
        return line.startswith(mark, pad) and not line[:pad].strip(" ") and line[pad] != " "
