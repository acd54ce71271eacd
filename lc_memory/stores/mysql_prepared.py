"""Prepared statements of MySQL and MariaDB, by the protocol that is made for them.

PyMySQL writes every statement out as text, with its parameters in it, for the server to read anew,
and makes an object of each column that comes back. Its packets are used here, and no more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from pymysql.constants import CLIENT, COMMAND, FIELD_TYPE

_PREPARED: Final = Struct("<IHH")  # the statement's number, its columns, its parameters
_EXECUTE: Final = Struct("<IBI")  # the statement's number, no cursor, once

_NULL: Final = bytes([FIELD_TYPE.NULL, 0])
_NUMBER: Final = bytes([FIELD_TYPE.LONGLONG, 0])
_TEXT: Final = bytes([FIELD_TYPE.VAR_STRING, 0])

_KIND: Final = -6  # where a column's description tells its type
_TEXTS: Final = (
    FIELD_TYPE.VARCHAR,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.STRING,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB,
)


class Prepared:
    """A statement that a connection has prepared, and that it alone can run. Its parameters are
    texts, whole numbers and None; what it gives is texts and None.

    Raises what a cursor would raise.
    """

    __slots__ = ("_head", "_parameters")

    def __init__(self, connection: Any, sql: str) -> None:
        connection._execute_command(COMMAND.COM_STMT_PREPARE, sql)
        said = connection._read_packet().get_all_data()
        number, columns, self._parameters = _PREPARED.unpack_from(said, 1)
        self._head = _EXECUTE.pack(number, 0, 1)
        _descriptions(connection, self._parameters)
        _descriptions(connection, columns)

    def message(self, parameters: Sequence[str | int | None]) -> bytes:
        """What is sent to run it."""
        assert len(parameters) == self._parameters
        nulls, kinds, data = 0, [], []
        for place, value in enumerate(parameters):
            if value is None:
                nulls |= 1 << place
                kinds.append(_NULL)
            elif type(value) is int:
                kinds.append(_NUMBER)
                data.append(value.to_bytes(8, "little", signed=True))
            else:
                text = str(value).encode()
                kinds.append(_TEXT)
                data += _length(len(text)), text
        bits = nulls.to_bytes((len(parameters) + 7) // 8, "little")
        return b"".join((self._head, bits, b"\1", *kinds, *data))


def run(connection: Any, message: bytes) -> tuple[int, list[tuple[str | None, ...]]]:
    """Run a statement; how many rows it changed, or gives, and the rows that it gives."""
    connection._execute_command(COMMAND.COM_STMT_EXECUTE, message)
    first = connection._read_packet()
    if first.is_ok_packet():
        first.advance(1)
        return first.read_length_encoded_integer(), []
    columns = _descriptions(connection, first.read_length_encoded_integer())
    found: list[bytes] = []  # all of it is read before anything of it can be found wrong
    while (data := connection._read_packet().get_all_data())[0] == 0:
        found.append(data)
    assert all(column[_KIND] in _TEXTS for column in columns)
    return len(found), [_row(data, len(columns)) for data in found]


def _descriptions(connection: Any, count: int) -> list[bytes]:
    """What tells of so many parameters or columns."""
    found = [connection._read_packet().get_all_data() for _ in range(count)]
    if count and not connection.client_flag & CLIENT.DEPRECATE_EOF:
        connection._read_packet()
    return found


def _row(data: bytes, columns: int) -> tuple[str | None, ...]:
    at = 1 + (columns + 9) // 8
    nulls = int.from_bytes(data[1:at], "little") >> 2
    row: list[str | None] = []
    for _ in range(columns):
        text = None
        if not nulls & 1:
            size, at = data[at], at + 1
            if size > 250:  # it did not fit: two, three or eight bytes tell it
                start, at = at, at + (2, 3, 8)[size - 252]
                size = int.from_bytes(data[start:at], "little")
            text = data[at : at + size].decode()
            at += size
        nulls >>= 1
        row.append(text)
    return tuple(row)


def _length(size: int) -> bytes:
    if size < 251:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    return b"\xfe" + size.to_bytes(8, "little")
