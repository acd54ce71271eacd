"""docs/cli.md tells of every command and option what ``--help`` tells, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lc_memory.cli.commands import app
from lc_memory.cli.running import OK, UNAVAILABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = [
    (command.name or getattr(command.callback, "__name__", "")).replace("_", "-")
    for command in app.registered_commands
]


def _help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    from lc_memory.cli import main

    monkeypatch.setenv("COLUMNS", "88")
    capsys.readouterr()
    assert main([*words, "--help"]) == OK
    return capsys.readouterr().out


def _told(text: str) -> tuple[list[str], set[str]]:
    """The words that are told, and the options: not how this Typer lays them out."""
    options = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))
    return sorted(set(re.findall(r"[A-Za-z]{4,}", text))), options


def test_every_command_has_its_page() -> None:
    assert list(SECTIONS) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_says_what_the_help_says(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _told(_help(monkeypatch, capsys, command)) == _told(
        SECTIONS[command].replace("text\n", "", 1)
    ), "run: python docs/cli_pages.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_a_url(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"--json", "--url"} <= _told(_help(monkeypatch, capsys, command))[1]


def test_the_exit_codes_are_the_documented_ones() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)}
    assert documented == {*range(OK, UNAVAILABLE + 1), 130}
