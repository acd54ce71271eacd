"""The whole memory: stats, check, migrate."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from lc_memory.cli.app import app
from lc_memory.cli.running import (
    ERROR,
    Json,
    Url,
    User,
    opened,
    printed,
    say,
    shown,
)
from lc_memory.cli.tables import show
from lc_memory.errors import InvalidInput
from lc_memory.records import Query
from lc_memory.sessions import users


@app.command()
def stats(url: Url = None, user: User = None, as_json: Json = False) -> None:
    """Count what is stored, by kind and collection."""
    with opened(url, user) as memory:
        counts: Counter[tuple[str, ...]] = Counter()
        for namespace in memory.backend.namespaces(memory.scope):
            counts[_kind(namespace)] += memory.backend.count(Query(namespace, exact=True))
        people = [] if user else users(memory.backend)
    total = sum(counts.values())
    if as_json:
        rows = [{"kind": k[0], "name": "/".join(k[1:]), "records": n} for k, n in counts.items()]
        printed({"url": shown(url), "records": total, "users": len(people), "kinds": rows})
    else:
        show(("kind", "name", "records"), [(k[0], "/".join(k[1:]), n) for k, n in counts.items()])
        of = f", of {len(people)} users" if people else ""
        say(f"{total} records{of} in {shown(url)}", style="dim")


@app.command()
def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove links that have lost an end.")
    ] = False,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Read every record, and say what is wrong.

    Each is held against its schema and its links, and the audit log is verified. A record that
    is not what was written, or a log that was changed, is an error.
    """
    with opened(url, user) as memory:
        report = memory.check(repair=repair)
        audited = None if user else memory.audit.verify()
    problems = [str(problem) for problem in report.problems]
    if audited is not None:
        problems += [f"audit log: not whole: {problem}" for problem in audited.problems]
    sound = bool(report) and (audited is None or bool(audited))
    if as_json:
        counts = {"records": report.records, "links": report.links, "repaired": report.repaired}
        printed({**counts, "problems": problems, "sound": sound})
    else:
        for problem in problems:
            say(problem, style="red", error=not sound)
        say(f"{report.records} records read, {len(problems)} problems, {report.repaired} repaired")
    if not sound:
        raise typer.Exit(ERROR)


_STEPS = ("run", "finish", "confirm", "rollback")


@app.command()
def migrate(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The store to copy from.")],
    target: Annotated[
        str | None, typer.Argument(metavar="DST", help="The store to copy to; else SRC is it.")
    ] = None,
    live: Annotated[
        str | None,
        typer.Option(
            "--live", metavar="STEP", help="While others write: run, finish, confirm or rollback."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Allow a target that holds records.")
    ] = False,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Copy everything to another store, and verify it.

    A copy that was interrupted goes on where it was. With --live others may go on writing: run
    copies and follows them, finish (once they have stopped) compares everything, confirm ends it,
    rollback undoes it.
    """
    if target is None:
        source, target = url or "", source
    if live is not None and live not in _STEPS:
        raise InvalidInput(f"--live: one of {', '.join(_STEPS)}")
    with opened(source or None, user) as memory:
        if live is not None:
            with memory.migrate_to(target) as move:
                result = getattr(move, live)()
            count = getattr(result, "records", result)
            printed({"step": live, "records": count}) if as_json else say(
                f"{live}: done" + ("" if count is None else f" ({count} records)")
            )
            return
        done = memory.copy_to(target, dry_run=dry_run, merge=merge)
    if as_json:
        fields: dict[str, Any] = {"records": done.records, "bytes": done.bytes}
        printed({**fields, "verified": done.verified, "dry_run": dry_run})
    else:
        verb = "Would copy" if dry_run else "Copied"
        verified = ", each compared" if done.verified else ""
        say(f"{verb} {done.records} records ({done.bytes} bytes) to {shown(target)}{verified}")


def _kind(namespace: tuple[str, ...]) -> tuple[str, ...]:
    """What a namespace is counted under: its kind and collection, whoever's it is."""
    own = namespace[2:] if namespace[:1] == ("users",) and len(namespace) > 2 else namespace
    return own[:1] if own[0] == "messages" else own[:2]
