"""The web chatbot in a real browser, over a real server process and a real file."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from lc_memory import InvalidInput, Knowledge, LCMemoryError, Memory
from memory_agent.agent import MemoryAgent
from memory_agent.web import serve
from tests.browser import browser as browser
from tests.openai_server import Drop, OpenAIServer, Say

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror='window.pwned=1'><b class='x'>&amp;</b>"
SERVE = """
import sys
from memory_agent.web import serve
serve(sys.argv[1], port=int(sys.argv[2]), ready=lambda url: print(url, flush=True))
"""

expect.set_options(timeout=20_000)


class Server:
    """The chatbot, as a process of its own."""

    def __init__(self, url: str, environment: dict[str, str] | None = None) -> None:
        self.url = url
        self.environment = environment or {}

    def start(self, port: int | None = 0) -> str:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, self.url, str(port)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agents")]),
                **self.environment,
            },
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), "it did not start"
        return self.address

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/web.db"


@pytest.fixture
def server(url: str) -> Iterator[Server]:
    server = Server(url)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which nothing may go wrong, and from which nobody else is called."""
    with closing(browser.new_context(viewport={"width": 1280, "height": 800})) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda r: wrong.append(r.url) if not _ours(r.url) else None)
        yield page
        # A stopped server and a closed page are no fault of the page's.
        assert [text for text in wrong if "ERR_CONNECTION" not in text] == []


def _ours(url: str) -> bool:
    return re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:|about:", url) is not None


def open_page(page: Page, server: Server, query: str = "") -> None:
    page.goto(server.address + "/" + query)
    expect(page.get_by_label("Message")).to_be_visible()
    expect(page.locator(".sessions .q-btn").first).to_be_attached()
    page.wait_for_function("window.socket && window.socket.connected")  # or a click may be lost


def say(page: Page, text: str) -> str:
    """Say it, and give the answer."""
    answers = page.locator(".msg.tutor")
    before = answers.count()
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    expect(answers).to_have_count(before + 1)
    expect(page.locator(".dots")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    return answers.nth(before).inner_text()


def panel(page: Page) -> Any:
    return page.get_by_role("region", name="What I know")


def stored(url: str) -> str:
    """Everything that is in the file's table."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        return str(database.execute("SELECT * FROM lc_memory_records").fetchall())


# -- what it is for ----------------------------------------------------------------------------


def test_two_users_are_remembered_apart_after_a_restart(page: Page, server: Server) -> None:
    open_page(page, server, "?user=ada")
    assert "Ada" in say(page, "Hi, I'm Ada. I've finished variables. I have a cat named Turing.")
    expect(panel(page)).to_contain_text("has a cat named Turing")
    expect(panel(page)).to_contain_text("1 of 4 topics mastered")
    page.get_by_role("button", name="Switch user").click()
    page.get_by_label("Someone else").fill("bob")
    page.keyboard.press("Enter")
    page.wait_for_url("**user=bob*")
    expect(panel(page)).to_contain_text("0 of 4 topics mastered")
    assert "Ada" not in say(page, "What do you know about me?")
    assert "Bob" in say(page, "I'm Bob")
    server.stop()
    server.start()
    open_page(page, server, "?user=ada")
    expect(page.locator(".msg.tutor").first).to_contain_text("Welcome back, Ada!")
    expect(panel(page)).to_contain_text("has a cat named Turing")
    expect(page.locator("body")).not_to_contain_text("Bob")
    assert "Turing" in say(page, "What do you know about me?")
    page.get_by_role("button", name="Switch user").click()
    page.get_by_role("menuitem", name="bob").click()
    page.wait_for_url("**user=bob*")
    assert "You are Bob" in say(page, "Who am I?")
    expect(page.locator("body")).not_to_contain_text("has a cat")


def test_what_is_deleted_or_corrected_holds_in_the_next_answer(
    page: Page, server: Server, url: str
) -> None:
    open_page(page, server)
    say(page, "I'm Ada. I prefer short answers with Python examples. I have a cat named Turing.")
    say(page, "I have a dog named Grace")
    panel(page).get_by_role("button", name="Forget has a cat named Turing").click()
    expect(panel(page)).not_to_contain_text("Turing")
    answer = say(page, "What do you know about me?")
    assert "Turing" not in answer
    assert "Grace" in answer
    panel(page).get_by_role("button", name="Correct has a dog named Grace").click()
    page.get_by_label("What is right").fill("has a dog named Hopper")
    page.get_by_role("button", name="Save").click()
    expect(panel(page)).to_contain_text("Hopper")
    panel(page).get_by_role("button", name="Correct examples: Python").click()
    page.get_by_label("What is right").fill("JavaScript")
    page.get_by_role("button", name="Save").click()
    expect(panel(page)).to_contain_text("JavaScript")
    panel(page).get_by_role("button", name="Forget Name: Ada").click()
    expect(panel(page)).not_to_contain_text("Ada")
    answer = say(page, "What do you know about me?")
    assert "Hopper" in answer
    assert "JavaScript" in answer
    assert not re.search("Grace|Python|Ada", answer)
    server.stop()
    with Memory(url) as memory:
        assert [fact["text"] for fact in Knowledge(memory).facts()] == ["has a dog named Hopper"]
        assert "cat" not in str(memory.search_memory("facts"))
    server.start()
    open_page(page, server)
    expect(panel(page)).to_contain_text("Hopper")
    page.get_by_role("button", name="Forget everything").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    expect(panel(page)).to_contain_text("Nothing yet. Tell me your name")
    with Memory(url) as memory:
        assert memory.search_memory("facts") == []
        assert memory.retrieve_memory("user_profile") is None


def test_progress_is_a_picture_that_can_be_changed(page: Page, server: Server, url: str) -> None:
    long_ago = timedelta(days=30)
    with Memory(url) as memory:
        learner = Knowledge(memory).learner
        learner.advance(["variables"])
        memory.backend.update(
            memory.collection("user_learning_progress"), "default", _earlier(long_ago)
        )
    open_page(page, server)
    expect(panel(page)).to_contain_text("1 to review today")
    expect(panel(page).get_by_label("25 percent of the course")).to_be_visible()
    assert panel(page).locator("svg circle.due").count() == 1
    panel(page).get_by_role("button", name="I reviewed variables").click()
    page.get_by_role("menuitem", name="Hard").click()
    expect(panel(page)).to_contain_text("Nothing to review today")
    expect(panel(page).get_by_label("18.8 percent of the course")).to_be_visible()
    panel(page).get_by_role("button", name="Change functions").click()
    page.get_by_role("menuitem", name="I have finished it").click()
    expect(panel(page)).to_contain_text("2 of 4 topics mastered")
    assert "variables and functions" in say(page, "How far am I?")
    panel(page).get_by_role("button", name="Change functions").click()
    page.get_by_role("menuitem", name="Forget how far I am").click()
    expect(panel(page)).to_contain_text("1 of 4 topics mastered")
    assert "functions is not finished" in say(page, "Have I finished functions?")


def _earlier(by: timedelta) -> Any:
    def changed(value: dict[str, Any]) -> dict[str, Any]:
        from lc_memory import LearningProgress

        progress = LearningProgress.model_validate(value)
        topic = progress.topics["variables"]
        assert topic.studied_at is not None
        moved = topic.model_copy(update={"studied_at": topic.studied_at - by})
        return progress.with_topic("variables", moved).to_document()

    return changed


def test_conversations_can_be_returned_to_and_deleted(page: Page, server: Server, url: str) -> None:
    open_page(page, server)
    say(page, "Explain classes")
    page.reload()  # the address holds the conversation
    expect(page.locator(".msg.you")).to_have_text("Explain classes")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".msg.you")).to_have_count(0)
    say(page, "Explain inheritance")
    page.get_by_role("button", name="Explain classes").first.click()
    expect(page.locator(".msg.you")).to_have_text("Explain classes")
    expect(page.locator(".msg.tutor pre")).to_contain_text("class Cat")
    page.get_by_role("button", name="Delete: Explain inheritance").click()
    expect(page.get_by_role("button", name="Explain inheritance")).to_have_count(0)
    assert "inheritance" not in stored(url).replace("user_learning_progress", "")
    assert "Explain classes" in stored(url)


def test_memories_say_why_they_are_recalled(page: Page, server: Server, url: str) -> None:
    open_page(page, server)
    say(page, "I'm allergic to peanuts. I have a dog")
    say(page, "Do I like peanuts?")
    expect(panel(page).locator(".entry").first).to_contain_text("recalled: has peanuts")
    expect(panel(page).locator(".entry").nth(1)).to_contain_text("always in mind")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".msg.you")).to_have_count(0)
    say(page, "Can I eat peanuts?")
    said = panel(page).locator(".entry", has_text="You said").filter(has_text="I have a dog")
    expect(said).to_contain_text("recalled: has peanuts")
    said.get_by_role("button", name="Forget").click()
    expect(said).to_have_count(0)
    with Memory(url) as memory:
        kept = [m.content for s in memory.sessions() for m in memory.chat_history(s.id).messages]
    assert "I'm allergic to peanuts. I have a dog" not in kept


# -- safety ------------------------------------------------------------------------------------


def test_hostile_text_is_shown_as_text(page: Page, server: Server, url: str) -> None:
    with Memory(url) as memory:
        mine = memory.as_user(HOSTILE)
        known = Knowledge(mine)
        known.remember(HOSTILE, "name")
        known.remember(HOSTILE, "preference", HOSTILE)
        known.remember(HOSTILE)
        known.advance([HOSTILE])
        mine.chat_history("s").add_user_message(HOSTILE)
        mine.chat_history("s").add_ai_message(
            f"{HOSTILE} [x](javascript:window.pwned=1) ![y](https://example.org/y.png) `{HOSTILE}`"
        )
    open_page(page, server)
    page.get_by_role("button", name="Switch user").click()
    page.get_by_role("menuitem", name=HOSTILE).click()
    page.wait_for_url("**user=*")
    for part in (".entry .what", ".entry .value", ".topic .what", ".session .title", ".who"):
        expect(page.locator(part).filter(has_text=HOSTILE).first).to_be_visible()
    expect(page.locator(".msg.tutor").first).to_contain_text(HOSTILE)
    page.locator(".session .title").first.click()
    expect(page.locator(".msg.you")).to_have_text(HOSTILE)
    expect(page.locator(".msg.tutor")).to_contain_text(HOSTILE)
    say(page, f"{HOSTILE} and I have a {HOSTILE}")
    say(page, "What do you know about me?")
    panel(page).get_by_role("button", name=f"Correct {HOSTILE}: {HOSTILE}").click()
    expect(page.get_by_label("What is right")).to_have_value(HOSTILE)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, b.x, a[href^='javascript']").count() == 0


def test_half_a_surrogate_pair_does_not_break_the_page(
    page: Page, server: Server, url: str
) -> None:
    """Models and cut streams leave them, and JSON for a browser cannot carry them."""
    cut = "cut \ud83d here"
    with Memory(url) as memory:
        known = Knowledge(memory)
        known.remember(cut, "name")
        known.remember(cut, "preference", cut)
        known.remember(cut)
        known.advance([cut])
        memory.chat_history("s").add_user_message(cut)
        memory.chat_history("s").add_ai_message(f"{cut} and \ud83d\ude00")
    open_page(page, server, "?session=s")
    shown = "cut \ufffd here"
    for part in (".entry .value", ".topic .what", ".session .title", ".msg.you"):
        expect(page.locator(part).filter(has_text=shown).first).to_be_visible()
    expect(page.locator(".msg.tutor")).to_have_text(f"{shown} and \N{GRINNING FACE}")
    assert say(page, "Hi!")


def test_it_is_served_to_this_machine_only(server: Server) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        request = urllib.request.Request(server.address, headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value as response:
            assert response.status == 403
    for host in ("0.0.0.0", "192.0.2.1", "evil.example"):
        with pytest.raises(InvalidInput, match="no passwords"):
            serve("memory://", host)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidInput, match="name another"):
            serve("memory://", port=taken.getsockname()[1])


def test_a_server_that_does_not_start_names_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no style today"})

    monkeypatch.setattr("memory_agent.web.app.build", lambda tutor: broken)
    told: list[str] = []
    # In a thread: the browser's tests leave a loop running in this one.
    with ThreadPoolExecutor() as pool:
        served = pool.submit(serve, "memory://", port=0, ready=told.append)
        with pytest.raises(LCMemoryError, match="did not start"):
            served.result()
    assert told == []


def test_who_is_refused_is_told_and_asked_for_a_name(page: Page, server: Server, url: str) -> None:
    page.goto(server.address + "/?user=%00")
    expect(page.get_by_role("alert")).to_contain_text("user id")
    server.stop()
    Memory(url, access_control=True).close()  # from now on nobody in particular may nothing
    server.start()
    page.goto(server.address)
    expect(page.get_by_role("alert")).to_contain_text("access control is on")
    page.get_by_label("Who are you?").fill("ada")
    page.keyboard.press("Enter")
    page.wait_for_url("**user=ada")
    assert "Ada" in say(page, "I'm Ada")


# -- on a phone, by keyboard, by night ---------------------------------------------------------


def test_a_phone_has_room_for_it(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    open_page(page, server)
    say(page, "Explain classes, and remember that I like " + "averylongword" * 12)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= 360
    expect(panel(page)).not_to_be_in_viewport()
    page.get_by_role("button", name="What I know").click()
    expect(panel(page)).to_be_in_viewport()
    assert page.evaluate(width) <= 360
    page.locator(".q-drawer--right").get_by_role("button", name="Close").click()
    expect(panel(page)).not_to_be_in_viewport()
    page.get_by_role("button", name="Conversations").first.click()
    expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_label("Message")).to_be_in_viewport()


def test_the_keyboard_is_enough(page: Page, server: Server) -> None:
    open_page(page, server)
    expect(page.get_by_label("Message")).to_be_focused()
    page.keyboard.type("I have a cat")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("I have a dog")
    page.keyboard.press("Enter")
    expect(panel(page)).to_contain_text("has a dog")
    expect(page.locator(".msg.you")).to_have_text("I have a cat\nI have a dog")
    expect(page.get_by_label("Message")).to_be_focused()
    _tab_to(page, "Correct has a cat")
    page.keyboard.press("Enter")
    expect(page.get_by_label("What is right")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("has a horse")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(panel(page)).to_contain_text("has a horse")
    _tab_to(page, "Forget has a dog")
    page.keyboard.press("Space")
    expect(panel(page)).not_to_contain_text("has a dog")
    _tab_to(page, "Switch user")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Just me")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menuitem", name="Just me")).not_to_be_visible()


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until that button has the focus."""
    for _ in range(80):
        label = page.evaluate("document.activeElement.getAttribute('aria-label') || ''")
        if label.startswith(name):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {name!r}")


def test_dark_and_light_are_kept(page: Page, server: Server) -> None:
    open_page(page, server)
    dark = page.locator("body.body--dark")
    expect(dark).to_have_count(0)
    page.get_by_role("button", name="Dark or light").click()
    expect(dark).to_have_count(1)
    open_page(page, server)
    expect(dark).to_have_count(1)
    page.get_by_role("button", name="Dark or light").click()
    expect(dark).to_have_count(0)


# -- the model ---------------------------------------------------------------------------------


def test_answers_stream_and_failures_are_said(page: Page, url: str) -> None:
    hold = threading.Event()
    with OpenAIServer([Say("Once upon a time", hold), *[Drop()] * 4]) as model:
        server = Server(url, {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": model.base_url})
        server.start()
        try:
            open_page(page, server)
            page.get_by_label("Message").fill("Tell me a story")
            page.keyboard.press("Enter")
            expect(page.locator(".msg.tutor").last).to_have_text("Once")
            expect(page.get_by_role("button", name="Send")).to_be_disabled()
            hold.set()
            expect(page.locator(".msg.tutor").last).to_have_text("Once upon a time")
            page.get_by_label("Message").fill("More")
            page.keyboard.press("Enter")
            said = page.get_by_role("alert")
            expect(said).to_contain_text(f"gpt-4o-mini at {model.base_url} could not answer")
            expect(page.locator(".model")).to_have_text("gpt-4o-mini")
            expect(page.get_by_label("Message")).to_have_value("More")  # to say again
            expect(page.get_by_role("button", name="Send")).to_be_enabled()
        finally:
            server.stop()
    with MemoryAgent(url=url) as agent:
        (session,) = agent.sessions()
        assert (session.title, session.messages) == ("Tell me a story", 2)


def test_what_was_typed_outlives_a_restart(page: Page, server: Server) -> None:
    open_page(page, server)
    say(page, "Hi, I'm Ada.")
    page.get_by_label("Message").press_sequentially("What do you")
    server.stop()
    expect(page.get_by_text("Connection lost")).to_be_visible()
    page.get_by_label("Message").press_sequentially(" know of me?")
    server.start(port=urlsplit(server.address).port)  # the page finds it, and loads itself anew
    expect(page.get_by_text("Connection lost")).to_be_hidden()
    expect(page.get_by_label("Message")).to_have_value("What do you know of me?")
    page.keyboard.press("Enter")
    expect(page.locator(".msg.tutor").last).to_contain_text("your name is Ada")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.reload()
    expect(page.locator(".msg.tutor").last).to_contain_text("your name is Ada")
    expect(page.get_by_label("Message")).to_have_value("")


def test_an_answer_is_kept_though_its_reader_left(page: Page, url: str) -> None:
    hold = threading.Event()
    with OpenAIServer([Say("Once upon a time", hold)]) as model:
        server = Server(url, {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": model.base_url})
        server.start()
        try:
            open_page(page, server)
            page.get_by_label("Message").fill("Tell me a story")
            page.keyboard.press("Enter")
            expect(page.locator(".msg.tutor").last).to_have_text("Once")
            page.goto("about:blank")
            hold.set()
            with MemoryAgent(url=url) as agent:
                deadline = time.monotonic() + 30
                while not agent.sessions():
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            open_page(page, server)
            page.get_by_role("button", name="Tell me a story").first.click()
            expect(page.locator(".msg.tutor").last).to_have_text("Once upon a time")
        finally:
            server.stop()
