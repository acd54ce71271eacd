"""The command line, as people and scripts use it: output, exit codes, and no password shown."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory
from lc_memory.cli import main
from lc_memory.cli.running import hidden
from tests.servers import Server

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("sys.stdin", StringIO())  # nobody answers
    monkeypatch.setenv("COLUMNS", "100")

    def ran(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return ran


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store that the environment names."""
    url = f"sqlite:///{tmp_path}/m.db"
    monkeypatch.setenv("LC_MEMORY_URL", url)
    return url


# -- documents ---------------------------------------------------------------------------------


def test_documents_are_put_found_and_deleted(run: Run, url: str, tmp_path: Path) -> None:
    code, out, _ = run("put", "notes", '{"id": 1, "level": 2}', "--json")
    assert (code, json.loads(out)) == (0, [{"id": "#1", "version": 1}])
    (tmp_path / "more.json").write_text('[{"id": 2, "level": 3}, {"id": 3, "tags": ["x"]}]')
    assert run("put", "notes", f"@{tmp_path}/more.json")[0] == 0
    code, out, _ = run("get", "notes", "-f", '{"level": {"$gte": 3}}', "--json")
    assert (code, json.loads(out)) == (0, {"id": 2, "level": 3})
    code, out, _ = run("search", "notes", "--order", "id", "-n", "2", "--json")
    assert [d["id"] for d in json.loads(out)] == [1, 2]
    code, out, _ = run("search", "notes")
    assert code == 0
    assert "level" in out.splitlines()[0]
    code, out, _ = run("delete", "notes", "-f", '{"level": 3}', "--json")
    assert (code, json.loads(out)) == (0, {"deleted": 1})
    with Memory(url) as memory:
        assert sorted(d["id"] for d in memory.search_memory("notes")) == [1, 3]


def test_what_get_prints_can_be_put(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"bytes": b"\xff", "at": datetime(2026, 1, 2, tzinfo=UTC), "cut": "\ud83d", "nul": "\0"}
    with Memory(url) as memory:
        memory.store_memory("a", value)
    _, out, _ = run("get", "a", "--json")
    monkeypatch.setattr("sys.stdin", StringIO(out))
    assert run("put", "b", "-")[0] == 0
    with Memory(url) as memory:
        assert memory.retrieve_memory("b") == value


def test_exit_codes_say_what_went_wrong(run: Run, url: str, tmp_path: Path) -> None:
    assert run("get", "notes")[0] == 3  # there is no store
    assert not (tmp_path / "m.db").exists()  # and looking made none
    assert run("put", "notes", "{}")[0] == 0
    assert run("get", "notes", "--id", "x")[0] == 3
    assert run("delete", "notes", "--id", "x")[0] == 3
    assert run("history", "no session")[0] == 3
    assert run("restore", str(tmp_path / "missing"), "--yes")[0] == 3
    for wrong in (
        ("get",),
        ("nope",),
        ("get", "notes", "--nope"),
        ("get", "notes", "-f", "{"),
        ("get", "notes", "-f", "[]"),
        ("get", "notes", "-f", '{"a": {"$where": 1}}'),
        ("put", "notes", "{"),
        ("put", "notes", "3"),
        ("put", "notes", '[{"id": 1}]', "--id", "2"),
        ("put", "notes", "{}", "--ttl", "-1"),
        ("search", "notes", "-n", "-1"),
        ("history", "s", "-n", "0"),
        ("stats", "--url", "nonsense"),
        ("stats", "--url", "oracle://x"),
        ("chat", "--json"),
        ("chat",),  # nobody to talk with
    ):
        code, out, err = run(*wrong)
        assert (code, out) == (2, ""), wrong
        assert err, wrong
        assert "Traceback" not in err
    (tmp_path / "bad.db").write_bytes(b"not a database at all, " * 100)
    assert run("stats", "--url", f"sqlite:///{tmp_path}/bad.db")[0] == 1
    assert run("stats", "--url", "postgresql://u@127.0.0.1:1/db")[0] == 5


def test_what_cannot_be_taken_back_asks_first(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '[{"id": 1}, {"id": 2}]')
    run("backup", str(tmp_path / "b.json"))
    with Memory(url) as memory:
        memory.chat_history("s").add_user_message("hello")
    for asked in (("delete", "notes"), ("restore", str(tmp_path / "b.json")),
                  ("history", "s", "--clear")):  # fmt: skip
        code, _, err = run(*asked)
        assert (code, "--yes" in err) == (2, True)
    with Memory(url) as memory:
        assert len(memory.search_memory("notes")) == 2
        assert len(memory.chat_history("s")) == 1
    assert run("history", "s", "--clear", "--yes")[0] == 0
    assert run("delete", "notes", "--yes")[0] == 0
    with Memory(url) as memory:
        assert memory.search_memory("notes") == []
        assert len(memory.chat_history("s")) == 0
    assert run("restore", str(tmp_path / "b.json"), "-y", "--json")[1] == '{"restored":2}\n'
    with Memory(url) as memory:
        assert len(memory.search_memory("notes")) == 2


# -- conversations, users, the whole -----------------------------------------------------------


def test_a_chat_is_kept_and_shown(run: Run, url: str) -> None:
    pytest.importorskip("langchain")
    code, out, _ = run("chat", "--say", "I'm Ada", "--session", "s", "--user", "ada", "--json")
    assert (code, json.loads(out)["tutor"]) == (0, "Nice to meet you, Ada.")
    assert run("chat", "--say", "Who am I?", "--session", "s", "--user", "ada")[0] == 0
    code, out, _ = run("sessions", "--user", "ada", "--json")
    (session,) = json.loads(out)
    assert (session["id"], session["title"]) == ("s", "I'm Ada")
    code, out, _ = run("history", "s", "--user", "ada", "-n", "1", "--json")
    assert json.loads(out)[0]["data"]["content"] == "You are Ada."
    assert "Who am I?" in run("history", "s", "--user", "ada")[1]
    assert run("history", "s")[0] == 3  # somebody else's
    assert json.loads(run("users", "--json")[1]) == [{"user": "ada"}]
    assert json.loads(run("stats", "--json")[1])["users"] == 1


def test_a_memory_moves_to_another_store(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '[{"id": 1}, {"id": 2}]')
    target = f"json:///{tmp_path}/copy.json"
    code, out, _ = run("migrate", target, "--dry-run", "--json")
    assert (code, json.loads(out)["dry_run"]) == (0, True)
    assert not (tmp_path / "copy.json").exists()
    code, out, _ = run("migrate", target, "--json")
    done = json.loads(out)
    assert (code, done["records"], done["verified"]) == (0, 2, True)
    assert json.loads(run("stats", "--url", target, "--json")[1])["records"] == 2
    assert run("migrate", target)[0] == 1  # it holds records already


def test_memories_are_recalled_with_the_reason(run: Run, url: str) -> None:
    run("put", "notes", '{"id": "1", "text": "Ada is allergic to peanuts"}')
    run("put", "notes", '{"id": "2", "text": "tea"}')
    code, out, _ = run("recall", "allergic peanuts", "--json")
    (hit, *_) = json.loads(out)
    assert (code, hit["source"]) == (0, "documents/notes/1")
    assert hit["why"]
    assert hit["score"] > 0
    assert "allergic" in run("recall", "peanuts")[1]
    assert run("recall", "peanuts", "--in", "messages")[0] == 3
    assert run("recall", "peanuts", "--user", "bob")[0] == 3
    assert run("recall", "peanuts", "--until", "2020-01-01")[0] == 3
    assert run("recall", " ")[0] == 2
    assert run("recall", "peanuts", "--since", "soon")[0] == 2
    with Memory(url) as memory:  # a program without an index
        memory.store_memory("notes", {"id": "3", "text": "zebras are striped"})
    assert run("reindex")[0] == 0
    assert json.loads(run("recall", "zebras", "--json")[1])[0]["source"] == "documents/notes/3"


def test_help_fits_and_where_there_is_nothing_that_is_said(run: Run, url: str) -> None:
    code, out, _ = run("--help")
    assert (code, out.count("LC_MEMORY_AS")) == (0, 1)
    assert "..." not in out.partition("Commands:")[2]  # each is said in full
    run("put", "notes", '{"id": "1"}')
    assert run("audit") == (0, "There is nothing yet.\n", "")
    assert "Try: lc-memory history --help" in run("history")[2]


def test_memories_are_recalled_by_meaning(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '{"id": "1", "text": "Ada is allergic to peanuts"}')
    run("put", "notes", '{"id": "2", "text": "the bicycle is blue"}')
    asked = ("recall", "which food is dangerous for her?", "--json")
    assert json.loads(run(*asked)[1]) == []  # no word of it is there
    code, out, _ = run(*asked, "--meaning", "wordllama")
    assert (code, json.loads(out)[0]["source"]) == (0, "documents/notes/1")
    assert json.loads(out)[0]["parts"]["meaning"] > 0
    place = str(tmp_path / "vectors")
    kept = ("--meaning", "wordllama", "--vectors", place, "--collection", "mine")
    code, _, err = run(*asked, *kept)
    assert code == 3  # to look makes none
    assert "reindex" in err
    assert not Path(place).exists()
    assert json.loads(run("reindex", *kept, "--json")[1]) == {"indexed": 2}
    with sqlite3.connect(Path(place, "chroma.sqlite3")) as chroma:
        assert chroma.execute("SELECT count(*) FROM embeddings").fetchone() == (2,)
        assert chroma.execute("SELECT name FROM collections").fetchall() == [("mine",)]
    chroma.close()
    assert json.loads(run(*asked, *kept)[1])[0]["source"] == "documents/notes/1"
    assert run(*asked, "--vectors", place)[0] == 2  # whose are they?
    assert run("reindex", "--meaning", "wordllama")[0] == 2  # to keep them where?
    assert run(*asked, "--meaning", "gpt")[0] == 2


def test_parts_of_a_backup_are_restored(
    run: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("put", "notes", '{"id": "1"}')
    run("put", "other", '{"id": "1"}')
    run("put", "notes", '{"id": "1"}', "--user", "ada")
    file = str(tmp_path / "b.jsonl")
    monkeypatch.setenv("LC_MEMORY_BACKUP_KEY", "correct horse battery")
    assert run("backup", file)[0] == 0
    assert b"notes" not in Path(file).read_bytes()
    run("put", "notes", '{"id": "2"}')
    assert run("restore", file, "--merge", "--yes")[0] == 0
    with Memory(url) as memory:
        assert len(memory.search_memory("notes")) == 2
    run("delete", "notes", "--yes", "--user", "ada")
    run("delete", "notes", "--yes")
    run("delete", "other", "--yes")
    assert json.loads(run("restore", file, "-y", "--user", "ada", "--json")[1]) == {"restored": 1}
    assert run("restore", file, "-y", "--only", "other")[0] == 0
    with Memory(url) as memory:
        assert memory.search_memory("notes") == []
        assert len(memory.search_memory("other")) == 1
        assert len(memory.as_user("ada").search_memory("notes")) == 1
    monkeypatch.setenv("LC_MEMORY_BACKUP_KEY", "wrong")
    assert run("restore", file, "--yes")[0] == 4


def test_backups_follow_a_schedule(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '{"id": "1"}')
    assert run("backups")[0] == 3  # no schedule yet
    assert run("backups", "--to", "x")[0] == 2
    assert run("backups", "--every", "soon")[0] == 2
    folder = tmp_path / "kept"
    code, out, _ = run("backups", "--every", "6h", "--to", str(folder), "--keep", "2", "--json")
    assert (code, json.loads(out)["backups"]) == (0, [])
    code, out, _ = run("backups", "--run", "--json")
    (made,) = json.loads(out)["backups"]
    assert (code, made["good"], (folder / made["name"]).exists()) == (0, True, True)
    assert json.loads(run("backups", "--due", "--json")[1])["backups"] == []  # not due yet
    assert made["name"] in run("backups")[1]
    code, out, _ = run("backups", "--verify", str(folder / made["name"]), "--json")
    assert (code, json.loads(out)["good"]) == (0, True)
    (folder / made["name"]).write_bytes(b"damaged")
    assert run("backups", "--verify", str(folder / made["name"]))[0] == 1
    assert run("backups", "--stop")[0] == 0
    assert run("backups")[0] == 3


# -- safety ------------------------------------------------------------------------------------


def test_a_password_is_never_shown(run: Run, postgres: Server, tmp_path: Path) -> None:
    secret = "s3cret/@:x"
    typed = "s3cret%2F%40%3Ax"
    place = f"u:{typed}@127.0.0.1:1/db"
    for arguments in (
        ("stats", "--url", f"postgresql://{place}"),
        ("stats", f"--url=mysql://{place}"),
        ("stats", "--url", f"mongodb://{place}?serverSelectionTimeoutMS=100"),
        ("stats", "--url", f"oracle://{place}"),
        ("get", f"postgresql://{place}", "x", "y"),
        (f"postgresql://{place}",),
        ("migrate", f"postgresql://{place}", "--url", f"sqlite:///{tmp_path}/new.db"),
        ("stats", "--nope", f"postgresql://{place}"),
    ):
        code, out, err = run(*arguments)
        assert code != 0
        assert not [s for s in (secret, typed, "s3cret") if s in out + err], arguments
    assert (
        hidden("at mysql://root:pw@h/x and mysql://root@h/y")
        == "at mysql://***@h/x and mysql://root@h/y"
    )
    real = postgres.create()
    for url in (real.replace("postgres@", "postgres:hunter2@"), f"{real}?password=hunter2"):
        code, out, err = run("stats", "--url", url, "--json")
        assert code == 0
        assert "hunter2" not in out + err
    postgres.drop(real)


def test_stored_text_does_not_command_the_terminal(run: Run, url: str) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\x9b31m\u202e[bold]x[/bold]"
    with Memory(url) as memory:
        memory.store_memory("a", {"text": evil, "field" + evil: 1})
        memory.chat_history("s" + evil).add_user_message(evil)
    for command in (
        ("get", "a"),
        ("search", "a"),
        ("sessions",),
        ("history", "s" + evil),
        ("stats",),
    ):
        code, out, _ = run(*command)
        assert code == 0
        assert not set(out) & {"\x1b", "\x07", "\x9b", "\u202e"}, command
        if command[0] in ("get", "search", "sessions", "history"):
            assert "[bold]x[/bold]" in out
    assert json.loads(run("get", "a", "--json")[1])["text"] == evil  # exact, for scripts


# -- as a program ------------------------------------------------------------------------------


def _program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lc_memory.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_it_is_a_program(tmp_path: Path) -> None:
    assert _program("--version").stdout.startswith("lc-memory ")
    done = _program("put", "notes", '{"id": "1"}', cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Stored 1: 1\n")
    assert (tmp_path / "agent_memory.db").exists()
    assert "get" in _program().stdout + _program().stderr
    asked = {"_LC_MEMORY_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    asked["COMP_WORDS"] = "lc-memory se"
    assert _program(env={**os.environ, **asked}).stdout.split() == ["search", "sessions"]


def test_without_the_extra_it_says_which() -> None:
    code = (
        "import sys; sys.modules['typer'] = None; from lc_memory.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "lc-memory[cli]"' in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url) as memory:
        memory.batch_store([("many", {"id": i, "text": "x" * 1000}) for i in range(2000)])
    command = [sys.executable, "-m", "lc_memory.cli", "search", "many", "--json", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_question_is_asked_at_a_terminal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with Memory(url) as memory:
        memory.store_memory("notes", {"id": 1})
    for answer, code, left in ((b"n\n", 130, 1), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "lc_memory.cli", "delete", "notes", "--url", url]
        with subprocess.Popen(
            command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            os.write(ours, answer)
            assert process.wait(60) == code
        os.close(ours)
        os.close(theirs)
        with Memory(url) as memory:
            assert len(memory.search_memory("notes")) == left


# -- who may -----------------------------------------------------------------------------------


def test_rights_are_given_shown_and_taken_back(run: Run, url: str, tmp_path: Path) -> None:
    with Memory(url, access_control=True, admins=["root"], audit=True) as memory:
        memory.as_user("ada").store_memory("notes", {"id": "1", "text": "hers"})
    notes = "users/ada/documents/notes"
    assert run("stats")[0] == 4  # who asks?
    assert run("--as", "bob", "get", "notes", "--user", "ada")[0] == 4
    assert run("--as", "bob", "grant", "bob", "read", "--on", notes)[0] == 4
    root = ("--as", "root", "--admin")
    code, out, _ = run(*root, "grant", "bob", "read,share", "--on", notes, "--json")
    assert (code, json.loads(out)[0]["rights"]) == (0, ["read", "share"])
    assert json.loads(run("--as", "bob", "get", "notes", "--user", "ada", "--json")[1])["id"] == "1"
    assert "ada/documents/notes" in run(*root, "grant", "bob")[1]
    assert run("--as", "bob", "put", "notes", '{"id": "2"}', "--user", "ada")[0] == 4
    assert json.loads(run(*root, "users", "--json")[1]) == [{"user": "ada"}]
    assert run(*root, "grant", "bob", "--on", notes, "--revoke")[0] == 0
    assert run(*root, "grant", "bob", "--on", notes, "--revoke")[0] == 3
    assert run("--as", "bob", "get", "notes", "--user", "ada")[0] == 4
    assert run("--admin", "users")[0] == 2  # in whose name?
    entries = json.loads(run(*root, "audit", "--user", "bob", "--json")[1])
    assert "denied" in {entry["outcome"] for entry in entries} | {e["action"] for e in entries}
    assert run("--as", "bob", "audit")[0] == 4
    assert json.loads(run(*root, "audit", "--verify", "--json")[1])["whole"] is True
    assert run(*root, "audit", "--since", "yesterday")[0] == 2
    assert run(*root, "audit", "--export", str(tmp_path / "log.jsonl"))[0] == 0
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) > 3
    assert run(*root, "check")[0] == 0
    with sqlite3.connect(tmp_path / "m.db") as database:  # somebody tidies the log
        database.execute("DELETE FROM lc_memory_records WHERE value LIKE '%denied%'")
    database.close()
    for command in (("check",), ("audit", "--verify")):
        code, _, err = run(*root, *command)
        assert (code, "not whole" in err) == (1, True), err


def test_a_damaged_record_is_found(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '[{"id": "1"}, {"id": "2"}]')
    found = json.loads(run("check", "--json")[1])
    assert (found["records"], found["problems"], found["sound"]) == (2, [], True)
    with sqlite3.connect(tmp_path / "m.db") as database:
        database.execute("UPDATE lc_memory_records SET value = '{\"id' WHERE key = '2'")
    database.close()
    assert run("check")[0] == 1


def test_what_is_kept_of_a_user_is_exported_and_forgotten(
    run: Run, url: str, tmp_path: Path
) -> None:
    run("put", "notes", '{"id": "1", "text": "a common note"}')
    run("put", "notes", '{"id": "3", "text": "lives in Oslo"}', "--user", "ada")
    code, out, _ = run("export", "ada")
    assert (code, "lives in Oslo" in out, "a common note" in out) == (0, True, False)
    assert json.loads(out)["user"] == "ada"
    file = tmp_path / "ada.json"
    code, out, _ = run("export", "ada", str(file), "--json")
    assert (code, json.loads(out)) == (0, {"path": str(file), "user": "ada"})
    assert "lives in Oslo" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("export", "bob")[0] == 3
    assert run("forget", "ada")[0] == 2  # nobody said yes
    code, out, _ = run("forget", "ada", "--yes", "--json")
    assert (code, json.loads(out)["deleted"]) == (0, 1)
    assert b"lives in Oslo" not in (tmp_path / "m.db").read_bytes()
    assert run("forget", "ada", "--yes")[0] == 3
    assert run("get", "notes")[0] == 0


def test_a_memory_in_use_moves_step_by_step(run: Run, url: str, tmp_path: Path) -> None:
    run("put", "notes", '[{"id": 1}, {"id": 2}]')
    target = f"json:///{tmp_path}/moved.json"
    assert run("migrate", url, target, "--live", "finish")[0] == 1  # nothing has begun
    assert run("migrate", url, target, "--live", "run")[0] == 0
    run("put", "notes", '{"id": 3}')
    code, out, _ = run("migrate", url, target, "--live", "finish", "--json")
    assert (code, json.loads(out)) == (0, {"step": "finish", "records": 3})
    assert run("migrate", url, target, "--live", "confirm")[0] == 0
    assert json.loads(run("stats", "--url", target, "--json")[1])["records"] == 3
    assert run("migrate", url, target, "--live", "dance")[0] == 2


def test_groups_and_roles_are_managed(run: Run, url: str) -> None:
    with Memory(url, access_control=True) as memory:
        memory.as_user("ada").store_memory("notes", {"id": "1"})
    root = ("--as", "root", "--admin")
    assert run("group", "tutors", "--add", "bob")[0] == 4  # without the right
    assert run(*root, "group", "tutors", "--add", "bob", "--add", "eve")[0] == 0
    assert run(*root, "group", "tutors", "--remove", "eve")[0] == 0
    assert json.loads(run(*root, "group", "--json")[1]) == {"tutors": ["bob"]}
    assert run(*root, "role", "corrector", "read,write")[0] == 0
    assert json.loads(run(*root, "role", "corrector", "--json")[1]) == {
        "corrector": ["read", "write"]
    }
    assert run(*root, "grant", "group:tutors", "corrector", "--on", "users/ada")[0] == 0
    with Memory(url) as memory:
        assert memory.as_user("bob").as_user("ada").search_memory("notes")
    assert run(*root, "group", "tutors", "--end")[0] == 0
    assert run(*root, "group", "tutors")[0] == 3
    assert run(*root, "role", "nobody")[0] == 3
