"""URLs of stores, read in one place."""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from lc_memory.errors import UnknownStorage

#: MongoDB's URLs may name several hosts, each with a port.
_SEVERAL: Final = re.compile(r"(mongodb://(?:[^/?@]*@)?)([^/?@]*,[^/?@]*)(.*)", re.DOTALL)
_SECRET: Final = re.compile(r"//[^/]*@")


def parse_url(url: str | sa.URL) -> sa.URL:
    """The URL in its parts; several hosts stay together, as ``host``.

    Raises UnknownStorage if it is no URL, without telling the password in it.
    """
    several = _SEVERAL.fullmatch(url) if isinstance(url, str) else None
    try:
        if several is not None:
            start, hosts, rest = several.groups()
            return sa.make_url(f"{start}several{rest}").set(host=hosts)
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        shown = _SECRET.sub("//***@", str(url)[:80])
        raise UnknownStorage(
            f"{shown!r} is not a URL; use one such as 'sqlite:///agent_memory.db'"
        ) from None
    if "@" in (parsed.host or ""):  # and what stands before it is a part of the password
        raise UnknownStorage(
            f"{parsed.drivername} URL: a password's @ is written %40 (urllib.parse.quote does it)"
        )
    return parsed
