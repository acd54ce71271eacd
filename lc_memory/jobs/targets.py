"""Where backups lie: a folder, or through fsspec any object store.

Credentials come from the environment or from ``options`` (fsspec's ``storage_options``), which are
never stored; what an error says of them is blotted out.
"""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from lc_memory.errors import InvalidInput, LCMemoryError, MissingExtra, StoreUnavailable
from lc_memory.stores.disk import our_errors

T = TypeVar("T")

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SECRET: Final = re.compile(r"//[^/]*@")


class Target(ABC):
    """A place with named files. ``place`` names it, without credentials."""

    place: str

    @abstractmethod
    def names(self) -> dict[str, int]:
        """The files there, and their sizes in bytes."""

    @abstractmethod
    def url(self, name: str) -> str:
        """What to call a file there."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file."""

    @abstractmethod
    def save(self, name: str, write: Callable[[Path], T]) -> T:
        """Have ``write(path)`` make a file, which then appears there whole."""

    @abstractmethod
    def local(self, name: str) -> Any:
        """A context in which the file is at a path."""


class Folder(Target):
    """A folder of this machine; it is made when it is first written to, its owner's alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def names(self) -> dict[str, int]:
        with our_errors(self.path):
            if not self.path.is_dir():
                return {}
            found = [entry for entry in os.scandir(self.path) if entry.is_file()]
            return {entry.name: entry.stat().st_size for entry in found}

    def url(self, name: str) -> str:
        return str(self.path / name)

    def remove(self, name: str) -> None:
        with our_errors(self.path / name), suppress(FileNotFoundError):
            (self.path / name).unlink()

    def save(self, name: str, write: Callable[[Path], T]) -> T:
        with our_errors(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return write(self.path / name)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        yield self.path / name


class Remote(Target):
    """A place that fsspec knows. Files go there whole: written here first, then uploaded."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        if _SECRET.search(url):
            raise InvalidInput(
                f"{_SECRET.sub('//***@', url)}: give credentials by the environment or by "
                "options=, not in the URL: it is stored and shown"
            )
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtra("Backups to object stores", "backup") from error
        self.place = url.rstrip("/")
        self._secrets = sorted(_texts(options or {}), key=len, reverse=True)
        self._fs, self._path = self._ask(lambda: fsspec.core.url_to_fs(url, **(options or {})))
        self._path = self._path.rstrip("/")

    def names(self) -> dict[str, int]:
        def ask() -> dict[str, int]:
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path, detail=True)
            except FileNotFoundError:
                return {}
            files = [entry for entry in found if entry["type"] == "file"]
            return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in files}

        return self._ask(ask)

    def url(self, name: str) -> str:
        return f"{self.place}/{name}"

    def remove(self, name: str) -> None:
        def ask() -> None:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._path}/{name}")

        self._ask(ask)

    def save(self, name: str, write: Callable[[Path], T]) -> T:
        with tempfile.TemporaryDirectory(prefix="lc_memory_") as folder:
            path = Path(folder) / name
            made = write(path)
            self._ask(lambda: self._upload(path, f"{self._path}/{name}"))
        return made

    def _upload(self, path: Path, there: str) -> None:
        # An object appears when its upload is complete; a file, when it gets its name.
        draft = f"{there}.part"
        with suppress(FileExistsError):
            self._fs.makedirs(self._path, exist_ok=True)
        self._fs.put_file(str(path), draft)
        self._fs.invalidate_cache()
        if self._fs.size(draft) != path.stat().st_size:
            self._fs.rm_file(draft)
            raise OSError("the upload arrived cut off")
        self._fs.mv(draft, there)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="lc_memory_") as folder:
            path = Path(folder) / name
            self._ask(lambda: self._fs.get_file(f"{self._path}/{name}", str(path)))
            yield path

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except LCMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - each file system has its own
            # Without its cause: what that says may hold a credential.
            raise StoreUnavailable(
                f"{self.place}: {type(error).__name__}: {self._blotted(str(error))}"
            ) from None

    def _blotted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _SECRET.sub("//***@", text.splitlines()[0] if text else "")[:500]

    def __repr__(self) -> str:
        return f"<Remote {self.place}>"


def target(to: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Target:
    """The place that a path or URL names."""
    if isinstance(to, str) and _URL.match(to):
        if to.startswith("file://"):
            return Folder(Path(to.removeprefix("file://")))
        return Remote(to, options)
    if not os.fspath(to):
        raise InvalidInput("to: empty; give a folder or a URL such as s3://bucket/backups")
    return Folder(Path(to).absolute())


def split(
    path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> tuple[Target, str]:
    """The place of one file, and its name there."""
    if isinstance(path, str) and _URL.match(path):
        place, _, name = path.rpartition("/")
        if not name:
            raise InvalidInput(f"{_SECRET.sub('//***@', path)}: names no file")
        return target(place, options), name
    if not Path(path).name:
        raise InvalidInput(f"{os.fspath(path)!r} names no file")
    return Folder(Path(path).parent), Path(path).name


def _texts(options: Any) -> Iterator[str]:
    """Every text in the options that could be a secret."""
    if isinstance(options, Mapping):
        for value in options.values():
            yield from _texts(value)
    elif isinstance(options, (list, tuple)):
        for value in options:
            yield from _texts(value)
    elif isinstance(options, str) and len(options) > 3:
        yield options
