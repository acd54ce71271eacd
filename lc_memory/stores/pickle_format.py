"""Pickle files that hold plain data only, and a reader that can do nothing but read it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any, Final

from lc_memory.rows import Row
from lc_memory.stores.formats import Format, document, records_in

#: The opcodes that plain data needs. Each has so many bytes of argument; or, below, so many bytes
#: that say how long its text is. Nothing here calls, imports, or refers back to what was read:
#: a file can neither run anything nor describe more than its own size.
_ARGUMENTS: Final = {
    **dict.fromkeys(b"}](sauNe.\x88\x89", 0),  # dicts, lists, None, stop, True and False
    **{ord("K"): 1, ord("M"): 2, ord("J"): 4, ord("G"): 8},  # numbers
    **{0x80: 1, 0x95: 8},  # the protocol, a frame
}
_LENGTHS: Final = {0x8C: 1, ord("X"): 4, 0x8D: 8, 0x8A: 1}  # texts, and an integer of 64 bits
_STOP: Final = ord(".")


class Pickle(Format):
    seal_line = b"\n%s\n"
    seal_last = True

    def body(self, rows: Iterable[Row]) -> bytes:
        out = io.BytesIO()
        pickler = pickle.Pickler(out, 4)
        pickler.fast = True  # no references back; see above
        pickler.dump(document(rows))
        return out.getvalue()

    def parse(self, data: bytes, sealed: bool) -> Iterable[Any]:
        _check(data)
        try:
            return records_in(_PlainUnpickler(io.BytesIO(data)).load())
        except (pickle.UnpicklingError, EOFError, AttributeError) as error:
            raise ValueError(str(error)) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data never does")


def _check(data: bytes) -> None:
    """Raise ValueError unless the pickle is plain data."""
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        size = _ARGUMENTS.get(code)
        if size is None:
            width = _LENGTHS.get(code)
            if width is None:
                raise ValueError(f"the pickle holds opcode {code:#04x}, which plain data never has")
            size = width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
        elif code == _STOP:
            return
        at += 1 + size
    raise ValueError("the pickle has no end")
