"""The panel of what is known, each thing of which can be corrected or deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, get_args

from nicegui import ui

from lc_memory.errors import LCMemoryError
from lc_memory.learner import Rating
from memory_agent.agent import MemoryAgent
from memory_agent.web import picture
from memory_agent.web.known import Known

_PROFILE: Final = {"name": "Name", "email": "E-mail", "experience_level": "Level"}
_STATES: Final = {"done": "mastered", "current": "learning now", "ready": "ready to learn"}


class Panel:
    """Shows a :class:`Known`; what is changed here is changed in the memory, and shown anew."""

    def __init__(self, tutor: MemoryAgent, changed: Callable[[], Awaitable[None]]) -> None:
        self.tutor = tutor
        self.changed = changed
        self.place = (
            ui.column()
            .classes("panel")
            .props('role="region" tabindex="-1" aria-label="What I know"')
        )

    def show(self, known: Known) -> None:
        self.place.clear()
        with self.place:
            self._progress(known)
            self._profile(known)
            self._facts(known)
            ui.button(
                "Forget everything", icon="delete_sweep", on_click=self._everything, color=None
            ).props("flat no-caps").classes("everything")

    # -- its sections ----------------------------------------------------------------------

    def _progress(self, known: Known) -> None:
        _heading("Progress")
        done = sum(topic["state"] == "done" for topic in known.topics)
        due = [topic["topic"] for topic in known.topics if topic.get("due")]
        with ui.row().classes("summary"):
            ui.html(picture.donut(known.percentage), sanitize=False)
            with ui.column().classes("tight"):
                ui.label(f"{done} of {len(known.topics)} topics mastered")
                quiet = f"{len(due)} to review today" if due else "Nothing to review today"
                ui.label(quiet).classes("due" if due else "quiet")
        svg, width = picture.graph(known.topics)
        with ui.row().classes("course"):
            ui.html(svg, sanitize=False).style(f"width:{width}px")
            with ui.column().classes("topics"):
                for topic in known.topics:
                    self._topic(topic)

    def _topic(self, topic: dict[str, Any]) -> None:
        name = topic["topic"]
        learner = self.tutor.knowledge.learner
        with ui.row().classes("topic").style(f"height:{picture.ROW}px"):
            with ui.column().classes("tight grow"):
                ui.label(name).classes("what")
                ui.label(_standing(topic)).classes("due" if topic.get("due") else "quiet")
            if "due" in topic and (topic["due"] or topic["state"] in ("done", "current")):
                with _button("replay", f"I reviewed {name}"), ui.menu().props("role=menu"):
                    ui.item_label(f"How was {name}?").props("header")
                    for rating in get_args(Rating):
                        text = {"again": "I had forgotten it"}.get(rating, rating.capitalize())
                        choice(
                            text,
                            partial(self._do, learner.review, name, rating),
                        )
            with _button("more_vert", f"Change {name}"), ui.menu().props("role=menu"):
                choice("I have finished it", lambda: self._do(learner.advance, [name]))
                choice("I am learning it", lambda: self._do(learner.advance, [], name))
                choice("Forget how far I am", lambda: self._do(learner.drop, name))

    def _profile(self, known: Known) -> None:
        _heading("About you")
        for field, label in _PROFILE.items():
            value = known.profile.get(field)
            if value:
                self._entry(
                    label,
                    str(value),
                    partial(self._set, field),
                    partial(self._set, field, None),
                )
        preferences = known.profile.get("preferences") or {}
        for topic, value in preferences.items():
            self._entry(
                str(topic)[:1].upper() + str(topic)[1:],
                str(value),
                partial(self._prefer, topic),
                partial(self._prefer, topic, None),
                "preference",
            )
        if not preferences and not any(known.profile.get(field) for field in _PROFILE):
            ui.label("Nothing yet. Tell me your name, and how you like your answers.").classes(
                "quiet"
            )

    def _facts(self, known: Known) -> None:
        _heading("Memories")
        knowledge = self.tutor.knowledge
        for fact in known.facts:
            self._entry(
                "",
                fact.text,
                partial(knowledge.correct_fact, fact.id),
                partial(knowledge.forget_fact, fact.id),
                fact.reason,
            )
        for said in known.said:
            self._entry(
                "You said",
                said.text,
                None,
                partial(self.tutor.backend.delete, *said.id),
                said.reason,
            )
        if not known.facts and not known.said:
            ui.label("Nothing yet. “I have a cat named Turing” would be kept here.").classes(
                "quiet"
            )

    def _entry(
        self,
        label: str,
        value: str,
        correct: Callable[[str], Any] | None,
        forget: Callable[[], Any],
        note: str = "",
    ) -> None:
        named = f"{label}: {value}" if label else value
        with ui.row().classes("entry"):
            with ui.column().classes("tight grow"):
                if label:
                    ui.label(label).classes("what")
                ui.label(value).classes("value")
                if note:
                    ui.label(note).classes("quiet")
            if correct is not None:
                work = partial(self._correct, label, value, correct)
                _button("edit", f"Correct {named}", work)
            _button("close", f"Forget {named}", lambda: self._do(forget))

    # -- what happens ----------------------------------------------------------------------

    def _set(self, field: str, value: str | None) -> None:
        self.tutor.knowledge.change_profile({field: value})

    def _prefer(self, topic: str, value: str | None) -> None:
        self.tutor.knowledge.change_profile({"preferences": {topic: value}})

    async def _do(self, work: Callable[..., Any], *arguments: Any) -> None:
        try:
            await self.tutor.bridge.run(work, *arguments)
        except LCMemoryError as error:
            ui.notify(str(error), type="negative")
        await self.changed()
        self.place.run_method("focus")  # what had the focus may be gone

    async def _correct(self, label: str, value: str, correct: Callable[[str], Any]) -> None:
        with ui.dialog() as dialog, ui.card().classes("dialog"):
            ui.label(f"Correct: {label}" if label else "Correct this memory").classes("what")
            text = ui.textarea(value=value).props("autogrow outlined autofocus maxlength=2000")
            text._props["aria-label"] = "What is right"
            with ui.row().classes("choices"):
                ui.button("Cancel", on_click=lambda: dialog.submit(None), color=None).props(
                    "flat no-caps"
                )
                ui.button("Save", on_click=lambda: dialog.submit(text.value)).props(
                    "unelevated no-caps"
                )
        said = await dialog
        dialog.delete()
        if said is not None and said.strip() and said.strip() != value:
            await self._do(correct, said.strip())

    async def _everything(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("dialog"):
            ui.label("Forget everything about you?").classes("what")
            ui.label(
                "Profile, preferences, progress and memories. Conversations stay in their list."
            )
            with ui.row().classes("choices"):
                ui.button("Cancel", on_click=lambda: dialog.submit(False), color=None).props(
                    "flat no-caps autofocus"
                )
                ui.button("Forget", on_click=lambda: dialog.submit(True)).props(
                    "unelevated no-caps color=negative"
                )
        sure = await dialog
        dialog.delete()
        if sure:
            await self._do(self.tutor.knowledge.forget, "everything")


def choice(text: str, on_click: Callable[[], Any]) -> None:
    """One line of a menu."""
    ui.menu_item(text, on_click).props("role=menuitem")


def _heading(text: str) -> None:
    ui.label(text).classes("section").props('role="heading" aria-level="2"')


def _button(icon: str, label: str, on_click: Any = None) -> Any:
    button = ui.button(icon=icon, on_click=on_click, color=None)
    button.props("flat round dense size=sm")
    button._props["aria-label"] = label  # as a value: a label may hold quotes
    return button


def _standing(topic: dict[str, Any]) -> str:
    mastery = f"{topic['mastery']:.0%}"
    if topic.get("due"):
        return f"{mastery} · review today"
    state = _STATES.get(topic["state"]) or "after " + ", ".join(topic["prerequisites"])
    if topic["state"] == "done":
        state = mastery
        if topic.get("due_at"):
            day = datetime.fromisoformat(topic["due_at"])
            state += f" · review {day.day} {day:%b}"
    return state
