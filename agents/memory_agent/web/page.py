"""The page: conversations on the left, the talk in the middle, what is known on the right."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from nicegui import ui

from lc_memory.errors import LCMemoryError
from lc_memory.printable import whole
from memory_agent.agent import MemoryAgent
from memory_agent.models import describe, failure, short_name
from memory_agent.web.known import Known, known_to
from memory_agent.web.panel import Panel, choice
from memory_agent.web.text import as_html

#: So many messages of a conversation are shown again, and one message may be so long.
SHOWN: Final = 200
LONGEST: Final = 20_000

#: Seconds between two pictures of an answer that is still coming.
_FRAME: Final = 0.05

_SUGGESTIONS: Final = (
    "Hi, I'm Ada. I prefer short answers with Python examples.",
    "I've finished variables and functions.",
    "What should I learn next?",
)
_SUGGESTIONS_LATER: Final = (
    "What do you know about me?",
    "What should I learn next?",
    "What should I review?",
)

#: What is typed is kept in the tab, for each user: it outlives a restart of the tutor.
_DRAFT: Final = "'draft ' + (new URLSearchParams(location.search).get('user') || '')"

_SEND_ON_ENTER: Final = (
    "(e) => { if (!e.shiftKey && !e.isComposing) { e.preventDefault(); emit(); } }"
)


class ChatPage:
    """One user's page in one browser window."""

    def __init__(
        self, tutor: MemoryAgent, user: str, session: str, users: list[str], dark: bool | None
    ) -> None:
        self.tutor = tutor
        self.user = user
        self.session = session
        self.users = users
        self.dark = dark
        self.question = ""
        self._answering = False
        self._known: Known | None = None

    async def build(self, begun: bool) -> None:
        """Lay out the page, with what was said before."""
        self.theme = ui.dark_mode(self.dark)
        ui.colors(primary="#1f7a5c", negative="#b3261e")
        self._header()
        self.left = ui.left_drawer(bordered=True, bottom_corner=True).props("width=264")
        with self.left.classes("side").props("breakpoint=900"):
            _closer("Conversations", self.left)
            with ui.element("nav").props('aria-label="Conversations"'):
                self.sessions = ui.column().classes("sessions")
        self.right = ui.right_drawer(bordered=True, bottom_corner=True).props("width=372")
        with self.right.classes("side").props("breakpoint=900"):
            _closer("What I know", self.right)
            self.panel = Panel(self.tutor, self.refresh)
        with ui.column().classes("talk"):
            self.log = ui.column().classes("log").props('role="log" aria-label="Conversation"')
            self.hints = ui.row().classes("hints")
        self._footer()
        history = self.tutor.chat_history(self.session)
        messages = await history.alatest(SHOWN)
        self.question = next(
            (str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage)), ""
        )
        greeting = "" if messages else await self.tutor.bridge.run(self.tutor.greeting)
        self._show(messages, greeting)
        await self.refresh()
        if not messages:
            self._suggest(met=greeting != self.tutor.STRANGER)
        self._scroll()
        ui.timer(0, self._take_up, once=True)  # when the window is connected

    # -- its parts -------------------------------------------------------------------------

    def _header(self) -> None:
        with ui.header(bordered=True).classes("head"):
            _button("menu", "Conversations", lambda: self.left.toggle())
            ui.label("Tutor").classes("name").props('role="heading" aria-level="1"')
            model = self.tutor.model
            ui.label(short_name(model)).classes("model").tooltip(describe(model))
            ui.space()
            who = ui.button(self.user or "Just me", icon="person", color=None).classes("who")
            who.props("flat no-caps aria-haspopup=menu")
            who._props["aria-label"] = f"Switch user: {self.user or 'Just me'}"
            with who:
                self._users()
            _button("dark_mode", "Dark or light", self._switch_theme)
            _button("psychology", "What I know", lambda: self.right.toggle())

    def _users(self) -> None:
        with ui.menu().props("role=menu").classes("users"):
            choice("Just me", partial(self._go, ""))
            for name in self.users:
                choice(name, partial(self._go, name))
            ui.separator()
            another = ui.input("Someone else").props("dense outlined maxlength=100")
            another.classes("another").on(
                "keydown.enter", lambda: self._go((another.value or "").strip() or self.user)
            )

    def _footer(self) -> None:
        with ui.footer(bordered=True).classes("foot"), ui.row().classes("say"):
            self.input = (
                ui.textarea(placeholder="Say something…")
                .props(
                    f'autogrow outlined dense rows=1 maxlength={LONGEST} aria-label="Message" '
                    "autofocus input-style=max-height:30vh"
                )
                .classes("grow")
                .on("keydown.enter", self._send, js_handler=_SEND_ON_ENTER)
                .on(
                    "update:model-value",
                    js_handler=f"(text) => sessionStorage.setItem({_DRAFT}, text || '')",
                )
            )
            self.send = _button("arrow_upward", "Send", self._send, round=False).classes("send")

    def _show(self, messages: list[BaseMessage], greeting: str) -> None:
        with self.log:
            if greeting:
                _answer(as_html(greeting))
            for message in messages:
                text = str(message.text)
                if isinstance(message, HumanMessage):
                    _said(text)
                elif isinstance(message, AIMessage) and text:
                    _answer(as_html(text))

    def _suggest(self, met: bool) -> None:
        with self.hints:
            for text in _SUGGESTIONS_LATER if met else _SUGGESTIONS:
                ui.button(text, on_click=partial(self._say, text), color=None).props(
                    "outline no-caps align=left"
                )

    async def _take_up(self) -> None:
        """What was typed here and not said, before the page was loaded again."""
        draft = await ui.run_javascript(f"sessionStorage.getItem({_DRAFT})", timeout=10)
        if isinstance(draft, str) and not self.input.value:
            self.input.value = draft[:LONGEST]

    async def refresh(self) -> None:
        """Show anew what is known, and the conversations."""
        try:
            known = await self.tutor.bridge.run(known_to, self.tutor, self.question, self.session)
        except LCMemoryError as error:
            ui.notify(str(error), type="negative")
            return
        if known == self._known:  # what somebody is about to click stays where it is
            return
        self._known = known
        self.panel.show(known)
        self.sessions.clear()
        with self.sessions:
            ui.button("New conversation", icon="add", on_click=partial(self._go, self.user)).props(
                "unelevated no-caps"
            )
            for session in known.sessions:
                here = session.id == self.session
                with ui.row().classes("session here" if here else "session"):
                    title = session.title or "A conversation"
                    with (
                        ui.button(on_click=partial(self._go, self.user, session.id), color=None)
                        .props("flat no-caps align=left" + " aria-current=page" * here)
                        .classes("grow")
                    ):
                        ui.label(title).classes("title")
                        ui.label(_when(session.updated_at)).classes("when")
                    _button(
                        "delete_outline",
                        f"Delete: {title}",
                        partial(self._drop_session, session.id),
                    )
            if not known.sessions:
                ui.label("What you say is kept here to return to.").classes("quiet")

    # -- what happens ----------------------------------------------------------------------

    async def _send(self) -> None:
        text = (self.input.value or "").strip()[:LONGEST]
        if text and not self._answering:
            self.input.value = ""
            await self._say(text)

    async def _say(self, text: str) -> None:
        if self._answering:
            return
        self._answering, self.question = True, text
        self.send.disable()
        self.hints.clear()
        with self.log:
            _said(text)
            shown = _answer('<span class="dots" aria-label="thinking"></span>')
        self._scroll()
        try:
            await self._stream(text, shown)
        except Exception as error:  # noqa: BLE001 - models fail in every way; the talk goes on
            if self.log.is_deleted:
                return
            with self.log:
                why = whole(failure(self.tutor.model, error))
                ui.label(why).classes("failed").props('role="alert"')
            shown.delete()
            self.input.value = self.input.value or text  # to say again
        if self.log.is_deleted:  # who asked has left; the turn is kept all the same
            return
        ui.run_javascript(f"sessionStorage.setItem({_DRAFT}, {json.dumps(self.input.value or '')})")
        self._address()
        await self.refresh()
        self._answering = False
        self.send.enable()
        self._scroll()
        self.input.run_method("focus")

    async def _stream(self, text: str, shown: Any) -> None:
        answer, last = "", 0.0
        async for piece in self.tutor.astream(text, session_id=self.session):
            answer += piece
            if monotonic() - last > _FRAME and not shown.is_deleted:
                shown.content, last = as_html(answer), monotonic()
                self._scroll()
                await asyncio.sleep(0)  # lets the picture go out
        if not shown.is_deleted:
            shown.content = as_html(answer)

    async def _drop_session(self, id: str) -> None:
        try:
            await self.tutor.chat_history(id).aclear()
        except LCMemoryError as error:
            ui.notify(str(error), type="negative")
            return
        if id == self.session:
            self._go(self.user)
        else:
            await self.refresh()

    def _go(self, user: str, session: str = "") -> None:
        ui.navigate.to(address(user, session))

    def _address(self) -> None:
        """A reload comes back to this conversation."""
        ui.navigate.history.replace(address(self.user, self.session))

    def _switch_theme(self) -> None:
        ui.run_javascript(
            "const dark = !document.body.classList.contains('body--dark');"
            "document.cookie = `theme=${dark ? 'dark' : 'light'}; path=/; max-age=31536000; "
            "samesite=strict`; Quasar.Dark.set(dark);"
        )

    def _scroll(self) -> None:
        with suppress(RuntimeError):  # the window was closed meanwhile
            ui.run_javascript("window.scrollTo(0, document.body.scrollHeight)")


def address(user: str, session: str = "") -> str:
    """Where a user's conversation is; without one, a new one."""
    query = urlencode({name: text for name, text in (("user", user), ("session", session)) if text})
    return f"/?{query}" if query else "/"


def _button(icon: str, label: str, on_click: Any, *, round: bool = True) -> Any:
    button = ui.button(icon=icon, on_click=on_click, color=None if round else "primary")
    button.props("flat round dense" if round else "unelevated")
    button._props["aria-label"] = label  # as a value: a label may hold quotes
    with button:
        ui.tooltip(label)
    return button


def _closer(title: str, drawer: Any) -> None:
    """On a narrow screen a drawer covers the page, and says how to leave it."""
    with ui.row().classes("closer"):
        ui.label(title).classes("what grow")
        _button("close", "Close", drawer.hide)


def _said(text: str) -> None:
    ui.label(whole(text)).classes("msg you")


def _answer(html: str) -> Any:
    return ui.html(html, sanitize=False).classes("msg tutor")  # made by as_html


def _when(at: datetime) -> str:
    minutes = int((datetime.now(UTC) - at).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 24 * 60 else f"{at:%d %b %Y}"
