"""Stored text made safe to print: a terminal obeys what is in it, so control characters go. And
made whole: half of a surrogate pair, as a stream cut in an emoji leaves it, cannot be sent."""

from __future__ import annotations

from typing import Final

# C0 and DEL have pictures; C1 and the marks that turn the direction of writing have none.
_SHOWN: Final = {
    **{code: 0x2400 + code for code in range(32)},
    127: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
}
_IN_LINES: Final = {code: shown for code, shown in _SHOWN.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """The text with control characters as pictures (``␛``), all but line ends and tabs."""
    return text.translate(_IN_LINES)


def whole(text: str) -> str:
    """The text with halves of surrogate pairs joined where they meet, and replaced elsewhere."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: str, length: int = 200) -> str:
    """The text as one printable line of so many characters at most."""
    line = " ".join(text[: 4 * length].split()).translate(_SHOWN)
    return line if len(line) <= length else line[: length - 1] + "…"
