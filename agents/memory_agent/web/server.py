"""The process that serves the chatbot, to this machine alone."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa

from lc_memory.errors import InvalidInput, LCMemoryError, MissingExtra
from memory_agent.agent import MemoryAgent

DEFAULT_PORT: Final = 8080


def serve(
    url: str | sa.URL | None = None,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve the chatbot over the memory of a URL until it is stopped (Ctrl-C).

    ``url``: as for :class:`~lc_memory.Memory`. ``port`` 0 takes a free one. ``ready`` is told the
    page's address once it is served. Other options are
    :class:`~memory_agent.agent.MemoryAgent`'s; ``recall`` is on unless they say otherwise. There
    are no passwords, so only this machine is served: raises InvalidInput for a host that is not its
    loopback, or a port that is taken; MissingExtra without the extra ``web``; LCMemoryError if
    it did not start.
    """
    try:
        import uvicorn

        from memory_agent.web.app import build
    except ImportError as error:
        raise MissingExtra("The web chatbot", "web") from error
    options.setdefault("recall", True)
    listening = _listen(host, port)
    with (
        listening,
        MemoryAgent(url=None if url is None else str_of(url), **options) as tutor,
    ):
        config = uvicorn.Config(
            LocalOnly(build(tutor)), log_level="warning", timeout_graceful_shutdown=2
        )
        where = f"[{host}]" if ":" in host else host

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started and ready is not None:
                    ready(f"http://{where}:{listening.getsockname()[1]}")

        server = Server(config)
        try:
            server.run(sockets=[listening])
        except SystemExit:
            if server.started:
                raise
        if not server.started:
            raise LCMemoryError("the chatbot did not start; why, is in the log above")


def str_of(url: str | sa.URL) -> str:
    """The whole URL, with its password, for the store alone."""
    return url if isinstance(url, str) else url.render_as_string(hide_password=False)


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class LocalOnly:
    """Answers only requests that name this machine, and only pages that came from it.

    A page elsewhere could point its own name at 127.0.0.1 and have the browser ask us.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            named = [f"//{headers.get(b'host', '')}", headers.get(b"origin", "//localhost")]
            if not all(is_loopback(urlsplit(name).hostname or "") for name in named):
                return await _refuse(scope, send)
        await self.app(scope, receive, send)


async def _refuse(scope: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 403, "headers": plain})
    await send({"type": "http.response.body", "body": b"This is served to this machine only."})


def _listen(host: str, port: int) -> socket.socket:
    if not is_loopback(host):
        raise InvalidInput(
            f"host {host!r}: the chatbot has no passwords and is served to this machine only; "
            "use 127.0.0.1"
        )
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # who asks before we are ready waits
    except (OSError, OverflowError) as error:
        listening.close()
        raise InvalidInput(f"port {port} of {host}: {error}; name another") from error
    return listening
