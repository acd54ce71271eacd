"""The web application: one page, which names its user and its conversation in its address."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from nicegui import ui

from lc_memory.errors import AccessDenied, LCMemoryError
from lc_memory.sessions import users
from memory_agent.agent import MemoryAgent
from memory_agent.web.page import ChatPage, address

STYLE: Final = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="12" '
    'fill="none" stroke="#9cc9b8" stroke-width="6"/><path d="M16 4a12 12 0 1 1-12 12" fill="none" '
    'stroke="#1f7a5c" stroke-width="6" stroke-linecap="round"/></svg>'
)

#: So many users are offered to switch to; others are named by typing.
OFFERED: Final = 100


def build(tutor: MemoryAgent) -> FastAPI:
    """The application over one memory."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    # Who waits longer than `response_timeout` (seconds) is told so: a busy store takes a while.
    @ui.page("/", favicon=FAVICON, dark=None, reconnect_timeout=30, response_timeout=60)
    async def page(request: Request, user: str = "", session: str = "") -> None:
        ui.add_css(STYLE)
        dark = {"dark": True, "light": False}.get(request.cookies.get("theme", ""))
        try:
            mine = tutor.as_user(user) if user else tutor
            chat = ChatPage(mine, user, session or str(uuid.uuid4()), await _others(tutor), dark)
            await chat.build(begun=bool(session))
        except LCMemoryError as error:  # with access control on, say, somebody must be named
            _refusal(str(error), dark)

    ui.run_with(app, title="Tutor", show_welcome_message=False, tailwind=False)
    return app


async def _others(tutor: MemoryAgent) -> list[str]:
    try:
        return await tutor.bridge.run(users, tutor.backend, OFFERED)
    except AccessDenied:  # who may not list them names one
        return []


def _refusal(text: str, dark: bool | None) -> None:
    ui.dark_mode(dark)
    with ui.column().classes("talk"):
        ui.label(text).classes("failed").props('role="alert"')
        name = ui.input("Who are you?").props("outlined maxlength=100")
        name.on("keydown.enter", lambda: ui.navigate.to(address((name.value or "").strip())))
