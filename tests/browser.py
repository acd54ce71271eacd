"""A real Chromium without a window, from apt where there is none and we are root."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.apt import find_or_install

PACKAGE = "chromium"

#: As root it has no sandbox; and it is to call nobody.
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage")


class NoBrowser(Exception):
    """A browser that the tests need cannot be had; the message says how to get it."""


def chromium() -> str:
    """The program, installed if need be."""
    found, said = find_or_install(_program, PACKAGE)
    if found is None:
        raise NoBrowser(f"Chromium: apt-get install --no-install-recommends {PACKAGE}\n{said}")
    return found


def _program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        with contextlib.closing(opened):
            yield opened
