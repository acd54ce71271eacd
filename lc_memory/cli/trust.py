"""Users: what is kept of them, what they may do, and what they did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lc_memory.access import Grant
from lc_memory.cli.app import app
from lc_memory.cli.running import Json, NotFound, Url, Yes, confirm, opened, printed, say, time_of
from lc_memory.cli.tables import show
from lc_memory.errors import CorruptStore, InvalidInput
from lc_memory.records import Namespace
from lc_memory.sessions import users as users_of

Since = Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601).")]
Until = Annotated[str | None, typer.Option("--until", help="Before this time (ISO 8601).")]
Label = Annotated[
    int | None,
    typer.Option(help="Where LangGraph's namespaces have the user (0: first, -1: last)."),
]


@app.command()
def users(
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="So many at most.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the users for whom something is kept."""
    with opened(url) as memory:
        found = users_of(memory.backend, limit)
    if as_json:
        printed([{"user": name} for name in found])
    else:
        show(("user",), [(name,) for name in found])


@app.command()
def export(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose things.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; else the output.")
    ] = None,
    label: Label = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Write everything that is kept of a user, as JSON.

    It is not encrypted, whatever the store is. The file is for its owner's eyes (mode 0600).
    """
    with opened(url) as memory:
        if user not in users_of(memory.backend):
            raise NotFound(f"nothing is kept of {user!r}; `lc-memory users` lists them")
        told = memory.export_user(user, file, label=label)
    if file is None:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    elif as_json:
        printed({"path": str(file), "user": user})
    else:
        say(f"Written: {file}")


@app.command()
def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose things.")],
    yes: Yes = False,
    label: Label = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Delete everything that is kept of a user.

    Down to the bytes, where the store can.
    """
    confirm(f"Delete everything that is kept of {user}?", yes)
    with opened(url) as memory:
        gone = memory.forget_user(user, label=label)
    count = sum(gone.counts.values())
    if as_json:
        printed({"user": user, "deleted": count, "scrubbed": gone.scrubbed})
    else:
        say(f"Deleted {count} records" + ", and scrubbed the store" * gone.scrubbed)
    if not count:
        raise NotFound(f"nothing was kept of {user!r}")


@app.command()
def grant(
    to: Annotated[
        str | None, typer.Argument(metavar="TO", help="A user, or group:NAME; none: show all.")
    ] = None,
    rights: Annotated[
        str | None,
        typer.Argument(metavar="RIGHTS", help="Such as read,write; or a role; none: show theirs."),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", help="A namespace: users/ada, or a JSON list. Else everything.")
    ] = "",
    key: Annotated[str | None, typer.Option("--key", help="One record of it only.")] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Take back what was granted on exactly that.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Give rights, take them back, or show them.

    With access control on.
    """
    if revoke and (to is None or rights is not None):
        raise InvalidInput("--revoke takes back all from one: grant TO --on NAMESPACE --revoke")
    with opened(url) as memory:
        if revoke and to is not None:
            count = memory.access.revoke(to, _namespace(on), key)
            printed({"revoked": count}) if as_json else say(f"Taken back: {count}")
            if not count:
                raise NotFound(f"{to} has no grant on exactly that")
            return
        if to is not None and rights is not None:
            several = rights.split(",") if "," in rights else rights
            _show_grants([memory.access.grant(to, several, _namespace(on), key)], as_json)
        else:
            _show_grants(memory.access.grants(to), as_json)


@app.command()
def group(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="None: show all.")] = None,
    add: Annotated[list[str] | None, typer.Option("--add", help="A new member.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="No member now.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End the group, with its grants.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show groups and their members, or change one.

    With access control on.
    """
    with opened(url) as memory:
        access = memory.access
        if name is not None and end:
            access.remove_group(name)
        elif name is not None and (add or remove):
            access.add_to_group(name, *(add or ()))
            access.remove_from_group(name, *(remove or ()))
        found = access.groups()
    if name is not None and name not in found and not end:
        raise NotFound(f"there is no group {name!r}; --add makes one")
    shown = {name: found[name]} if name in found else {} if end else found
    if as_json:
        printed(shown)
    else:
        show(("group", "members"), [(one, ", ".join(users)) for one, users in shown.items()])


@app.command()
def role(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="None: show all.")] = None,
    rights: Annotated[
        str | None, typer.Argument(metavar="RIGHTS", help="What it is from now on: read,write")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the roles, or define one.

    With access control on.
    """
    with opened(url) as memory:
        if name is not None and rights is not None:
            memory.access.define_role(name, rights.split(","))
        found = memory.access.roles()
    if name is not None and name not in found:
        raise NotFound(f"there is no role {name!r}")
    shown = found if name is None else {name: found[name]}
    if as_json:
        printed(shown)
    else:
        show(("role", "rights"), [(one, ", ".join(listed)) for one, listed in shown.items()])


@app.command()
def audit(
    user: Annotated[str | None, typer.Option("--user", help="What this user did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="put, read, denied ...")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="The latest so many.")] = 50,
    verify: Annotated[bool, typer.Option("--verify", help="Look whether it is whole.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write it as JSON Lines.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show who did what; verify or export the log.

    To verify is to look whether anything of it was changed or taken out.
    """
    times = {"since": time_of(since, "--since"), "until": time_of(until, "--until")}
    with opened(url) as memory:
        if verify:
            report = memory.audit.verify()
            if not report:
                raise CorruptStore("the log is not whole: " + "; ".join(report.problems[:5]))
            done = {"chains": report.chains, "entries": report.entries, "whole": True}
            printed(done) if as_json else say(f"Whole: {report.entries} entries")
        elif export is not None:
            count = memory.audit.export(export, user=user, **times)
            printed({"path": str(export), "entries": count}) if as_json else say(
                f"Written: {count}"
            )
        else:
            entries = memory.audit.entries(user=user, action=action, limit=limit, **times)
            if as_json:
                printed([json.loads(json.dumps(entry.as_json())) for entry in entries])
                return
            show(
                ("time", "who", "did", "outcome", "records", "where"),
                [
                    (f"{e.time:%Y-%m-%d %H:%M:%S}", e.principal or "-", e.action, e.outcome,
                     len(e.items), "/".join(e.items[0][1]) if e.items else e.detail or "")
                    for e in entries
                ],
            )  # fmt: skip


def _show_grants(grants: list[Grant], as_json: bool) -> None:
    rows = [
        {
            "to": given.to,
            "rights": sorted(given.rights),
            "namespace": list(given.namespace),
            "key": given.key,
            "role": given.role,
            "by": given.by,
        }
        for given in grants
    ]
    if as_json:
        printed(rows)
        return
    show(
        ("to", "rights", "on", "key", "by"),
        [
            (g.to, g.role or ",".join(sorted(g.rights)), "/".join(g.namespace) or "everything",
             g.key or "", g.by or "")
            for g in grants
        ],
    )  # fmt: skip


def _namespace(text: str) -> Namespace:
    if not text.startswith("["):
        return tuple(part for part in text.split("/") if part)
    try:
        labels = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--on: not JSON: {error}") from None
    return tuple(labels)
