"""A backup sealed with a key: nobody reads or changes it without.

    {"format":"lc_memory sealed backup","version":1,"kdf":"scrypt","n":131072,"r":8,"p":1,
     "salt":"…","check":"…"}⏎
    length (4 bytes) ciphertext, length ciphertext, …

The file's own key is derived (HKDF-SHA256, with the salt) from 32 bytes, or from what scrypt makes
of a passphrase. The content lies in chunks of 64 KiB, each AES-256-GCM with the first line as
associated data and a nonce that says its number and whether it is the last: none can be changed,
moved or left out. ``check`` tells another key from damage.
"""

from __future__ import annotations

import hmac
import io
import secrets
from typing import IO, TYPE_CHECKING, Any, Final

import orjson

from lc_memory import __version__
from lc_memory.errors import BackupError, BackupKeyError, InvalidInput, MissingExtra, newer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b'{"format":"lc_memory sealed backup"'
VERSION: Final = 1

_CHUNK: Final = 1 << 16
_TAG: Final = 16
_LONGEST_HEAD: Final = 1000
#: What a passphrase costs to try: 128 MB of memory and some tenths of a second.
_SCRYPT: Final = {"n": 1 << 17, "r": 8, "p": 1}
#: A file may ask for no more than that, whoever made it.
_MOST: Final = {"n": 1 << 18, "r": 8, "p": 4}

#: 32 random bytes, or a passphrase.
Key = bytes | str


def check_key(key: Key) -> Key:
    """Return the key if it is one. Raises InvalidInput, without telling it."""
    if isinstance(key, str) and key:
        return key
    if isinstance(key, bytes) and len(key) == 32:
        return key
    raise InvalidInput(
        "backup key: give 32 bytes (secrets.token_bytes(32)) or a passphrase that is not empty"
    )


class SealedWriter(io.RawIOBase):
    """Seals what is written, into a file that stays open."""

    def __init__(self, file: IO[bytes], key: Key) -> None:
        kdf = {"kdf": "scrypt", **_SCRYPT} if isinstance(check_key(key), str) else {"kdf": "hkdf"}
        head = {"format": "lc_memory sealed backup", "version": VERSION, "library": __version__}
        head |= kdf
        head["salt"] = secrets.token_hex(32)
        own = _own_key(head, key)
        self._head = orjson.dumps(head | {"check": _check(own)}) + b"\n"
        self._cipher = _cipher(own)
        self._file = file
        self._number = 0
        self._waiting = bytearray()
        file.write(self._head)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        while len(self._waiting) > _CHUNK:  # one is kept back: it may be the last
            self._seal(self._waiting[:_CHUNK], last=False)
            del self._waiting[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk; without it the file counts as cut off."""
        self._seal(self._waiting, last=True)

    def _seal(self, data: bytes | bytearray, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last), bytes(data), self._head)
        self._file.write(len(sealed).to_bytes(4) + sealed)
        self._number += 1


class SealedReader(io.RawIOBase):
    """What is sealed in a file. Raises BackupKeyError, or BackupError for what was changed."""

    def __init__(self, file: IO[bytes], key: Key | None, name: str) -> None:
        self._file = file
        self._name = name
        self._head = file.readline(_LONGEST_HEAD)
        try:
            head = orjson.loads(self._head)
            version, check = head["version"], head["check"]
            if version > VERSION:
                raise BackupError(
                    newer(f"{name}: sealed, it", head.get("library"), version, VERSION)
                )
            if key is None:
                raise BackupKeyError(
                    f"{name}: is sealed; give the key it was made with: key=… (to "
                    "lc-memory: LC_MEMORY_BACKUP_KEY)"
                )
            own = _own_key(head, check_key(key))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, (BackupError, InvalidInput)):
                raise
            raise BackupError(f"{name}: damaged: its first line is not what was written") from error
        if not hmac.compare_digest(_check(own), str(check)):
            raise BackupKeyError(
                f"{name}: was sealed with another key or passphrase than this (or its first line "
                "was changed); nothing was read"
            )
        self._cipher = _cipher(own)
        self._number = 0
        self._length = file.read(4)
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._length:
            self._ready = memoryview(self._opened())
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _opened(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        size = int.from_bytes(self._length)
        sealed = self._file.read(size) if size <= _CHUNK + _TAG else b""
        self._length = self._file.read(4)
        nonce = _nonce(self._number, not self._length)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, sealed, self._head)
        except InvalidTag:
            raise BackupError(
                f"{self._name}: damaged or cut off: a part is not what was sealed"
            ) from None


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11) + bytes((last,))  # the key is this file's alone


def _own_key(head: dict[str, Any], key: Key) -> bytes:
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtra("Sealing backups", "backup") from error
    salt = bytes.fromhex(head["salt"])
    if (head["kdf"] == "scrypt") != isinstance(key, str):
        kind = "a passphrase" if head["kdf"] == "scrypt" else "a key of 32 bytes"
        raise BackupKeyError(f"the backup was sealed with {kind}; give that")
    if isinstance(key, str):
        cost = {name: head[name] for name in _SCRYPT}
        if any(type(cost[name]) is not int or not 0 < cost[name] <= _MOST[name] for name in cost):
            raise ValueError("costs too much")
        key = Scrypt(salt, 32, **cost).derive(key.encode("utf-8", "surrogatepass"))
    return HKDF(SHA256(), 32, salt, b"lc_memory backup").derive(key)


def _check(own: bytes) -> str:
    return hmac.digest(own, b"check", "sha256").hex()[:32]


def _cipher(own: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(own)
