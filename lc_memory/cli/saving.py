"""Backups: one file, and the schedule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from lc_memory import values
from lc_memory.cli.app import app
from lc_memory.cli.running import (
    Json,
    NotFound,
    Url,
    User,
    Yes,
    confirm,
    hidden,
    opened,
    printed,
    say,
    shown,
)
from lc_memory.cli.tables import show
from lc_memory.errors import InvalidInput
from lc_memory.jobs.backups import Backups
from lc_memory.jobs.shelf import Made

#: What seals backups and opens them: 32 bytes as base64 or hex, or a passphrase. Not an option,
#: since others see what is typed.
KEY_VARIABLE: Final = "LC_MEMORY_BACKUP_KEY"

File = Annotated[str, typer.Argument(metavar="FILE", help="The backup: a path, or an fsspec URL.")]


@app.command()
def backup(file: File, url: Url = None, user: User = None, as_json: Json = False) -> None:
    """Write everything to one checksummed file.

    Its name says how: .json, .jsonl, and .gz or .zst after that. The environment variable
    LC_MEMORY_BACKUP_KEY seals it.
    """
    with opened(url, user) as memory:
        made = memory.backup_data(file, key=_key())
    if as_json:
        printed({"path": hidden(str(made.path)), "records": made.count, "sha256": made.sha256})
    else:
        say(f"Written: {hidden(str(made.path))}, {made.count} records, sha256 {made.sha256}")


@app.command()
def restore(
    file: File,
    merge: Annotated[bool, typer.Option("--merge", help="Delete nothing that is there.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This collection; may be repeated.")
    ] = None,
    yes: Yes = False,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Replace what is there by what a backup holds.

    Everything, or a user's things, or some collections.
    """
    if "://" not in file and os.sep in file and not Path(file).exists():
        raise NotFound(f"there is no file {file}")
    what = f"{', '.join(only)} of everything" if only else "everything"
    whose = f"{what}, of {user}," if user else what
    confirm(f"{'Merge' if merge else 'Replace'} {whose} in {shown(url)} by {hidden(file)}?", yes)
    with opened(url, new=True) as memory:
        count = memory.restore_data(
            file,
            mode="merge" if merge else "replace",
            collections=only or None,
            user=user,
            key=_key(),
        )
    printed({"restored": count}) if as_json else say(f"Restored {count} records.")


@app.command()
def backups(
    every: Annotated[
        str | None, typer.Option("--every", help="Make one every 6h, 30m, 1d ...: set a schedule.")
    ] = None,
    cron: Annotated[str | None, typer.Option("--cron", help="Or by cron's clock (UTC).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Into this folder or URL.")] = None,
    keep: Annotated[int | None, typer.Option("--keep", help="So many of the latest stay.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Make one now.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Make one if it is due (for cron).")] = False,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify", metavar="FILE", help="Read all of it, and restore it into a scratch store."
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Forget the schedule.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the schedule's backups; set it, or try one.

    The schedule is followed by each process that opens the memory and calls schedule_backups();
    where none does, let cron call `lc-memory backups --due`.
    """
    with opened(url) as memory:
        jobs = memory.backups
        if stop:
            jobs.unschedule()
            printed({"schedule": None}) if as_json else say("The schedule is forgotten.")
        elif verify is not None:
            tried = jobs.drill(verify, _key())
            done: dict[str, Any] = {"path": verify, "records": tried.count, "good": True}
            printed(done) if as_json else say(f"Good: {tried.count} records, restored and compared")
        elif every is not None or cron is not None:
            if every is not None and cron is not None:
                raise InvalidInput("give --every or --cron, not both")
            jobs.schedule(every, cron=cron, to=to, keep=keep, key=_key(), start=False)
            _show(jobs, [], as_json)
        elif to is not None or keep is not None:
            raise InvalidInput("--to and --keep go with --every or --cron")
        else:
            if jobs.scheduled() is None:
                raise NotFound("there is no schedule; set one with --every 6h --to FOLDER")
            if run or due:
                jobs.schedule(key=_key(), start=False)
                made = jobs.run() if run else jobs.run_due()
                _show(jobs, [] if made is None else [made], as_json)
            else:
                _show(jobs, jobs.list(), as_json)


def _show(jobs: Backups, made: list[Made], as_json: bool) -> None:
    due = jobs.next_due()
    next_due = None if due is None else values.write_time(due)
    if as_json:
        rows = [
            {
                "name": one.name,
                "url": hidden(one.url),
                "made_at": values.write_time(one.made_at),
                "size": one.size,
                "records": one.count,
                "good": one.good,
                "error": one.error,
            }
            for one in made
        ]
        printed({"next_due": next_due, "backups": rows})
        return
    show(
        ("backup", "bytes", "records", "tried", "error"),
        [(m.name, m.size, m.count or "", m.drill, m.error) for m in made],
    )
    say(f"The next is due at {next_due}.", style="dim")


def _key() -> str | None:
    return os.environ.get(KEY_VARIABLE) or None
