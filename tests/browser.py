"""A real Chromium without a window, from apt where there is none and we are root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

PACKAGE = "chromium"

#: As root it has no sandbox; and it is to call nobody.
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage")


class NoBrowser(Exception):
    """A browser that the tests need cannot be had; the message says how to get it."""


def chromium() -> str:
    """The program, installed if need be."""
    found = _program()
    if found is None and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        for words in (("update",), ("install", "-y", "--no-install-recommends", PACKAGE)):
            done = subprocess.run(
                ["apt-get", *words],
                capture_output=True,
                text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        found = _program()
        if found is None:
            raise NoBrowser(f"apt-get install {PACKAGE} failed:\n{done.stderr[-2000:]}")
    if found is None:
        raise NoBrowser(f"Chromium: apt-get install --no-install-recommends {PACKAGE}")
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
