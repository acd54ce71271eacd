"""Encryption keys: where the master key comes from, and the data keys that it wraps.

Each user's records are sealed with a data key of their own; data keys lie in the store, wrapped
(AES-256-GCM) by the master key, which never does. Changing the master key wraps the data keys
anew and touches no record.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lc_memory.errors import Conflict, CorruptStore, LCMemoryError, WrongKey
from lc_memory.jobs.parts import DESTROYED
from lc_memory.layers.base import SYSTEM
from lc_memory.layers.settings import SETTINGS
from lc_memory.records import ABSENT, Expect, Namespace, Put, Query, Record, Value
from lc_memory.store import RETRIES, Store

#: What ``encryption_key=`` takes: 32 bytes, their base64 text, a passphrase, the path of a file
#: that holds one of these, or a function that gives one (for a key management service).
Source: TypeAlias = "str | bytes | Path | Callable[[], str | bytes]"

KEYS: Final[Namespace] = (*SYSTEM, "keys")

#: Seconds after which a process looks again which of a user's keys is the active one.
FRESH: Final = 300.0

#: scrypt's cost: OWASP's first choice (Password Storage Cheat Sheet), 128 MB and under a second.
_SCRYPT: Final = {"n": 2**17, "r": 8, "p": 1}
_NONCE: Final = 12


def generate_key() -> str:
    """A new master key, as text to keep in a secret store or a file."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def key_bytes(source: Source, salt: bytes) -> bytes:
    """The 32 bytes of a key. Raises WrongKey if it cannot be had or is none."""
    if isinstance(source, Path):
        try:
            held = source.read_bytes()
            return key_bytes(held if len(held) == 32 else held.strip(), salt)
        except OSError as error:
            raise WrongKey(f"the key file cannot be read: {error.strerror}") from error
    if callable(source):
        return key_bytes(source(), salt)
    if isinstance(source, bytes) and len(source) == 32:
        return source
    if not isinstance(source, (str, bytes)) or not source:
        raise WrongKey(
            "encryption_key: 32 bytes, their base64 text, a passphrase, the Path of a file with "
            "one of these, or a function that gives one"
        )
    raw = source.encode() if isinstance(source, str) else source
    try:
        decoded = base64.b64decode(raw.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if len(decoded) == 32:
        return decoded
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(raw)


def name_of_key(key: bytes) -> str:
    """A name that tells keys apart and nothing about them."""
    return hashlib.sha256(b"lc_memory key\0" + key).hexdigest()[:16]


def wrap(key: bytes, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def unwrap(key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Raises InvalidTag."""
    return AESGCM(key).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context)


class NeedKey(LCMemoryError):
    """A user's data key must be fetched before the batch can be carried out."""

    def __init__(self, user: str) -> None:
        super().__init__("a data key is needed")
        self.user = user


@dataclass(slots=True)
class _Active:
    id: str
    cipher: AESGCM
    until: float


class Keyring:
    """The keys of one store.

    ``sources`` are master keys: the first wraps new data keys, all of them open old ones. Raises
    WrongKey if none of them is the store's.
    """

    def __init__(self, store: Store, sources: Sequence[Source]) -> None:
        self.store = store
        setting = store.get(SETTINGS, "encryption") or self._begin()
        self._salt: bytes = setting.value["salt"]
        self._sources = list(sources)
        self._masters: dict[str, bytes] = {}
        for source in sources:
            key = key_bytes(source, self._salt)
            self._masters[name_of_key(key)] = key
        self._first = next(iter(self._masters))
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self._active: dict[str, _Active] = {}
        if setting.value.get("master") is None:
            self._claim(setting)
        elif setting.value["master"] not in self._masters:
            raise WrongKey(
                "the encryption key is not this store's; nothing was read or changed. After a "
                "change of keys that was interrupted, give both: encryption_key=[new, old]"
            )
        self._digest_key = self._load_digest_key()

    def _begin(self) -> Record:
        try:
            return self.store.put(
                SETTINGS, "encryption", {"format": 1, "salt": os.urandom(16)}, replacing=ABSENT
            )
        except Conflict:  # another process was faster
            found = self.store.get(SETTINGS, "encryption")
            assert found is not None
            return found

    def _claim(self, setting: Record) -> None:
        """Of two processes that begin with different keys, one wins and the other is refused."""
        try:
            value = {**setting.value, "master": self._first}
            self.store.put(SETTINGS, "encryption", value, replacing=setting)
        except Conflict:
            found = self.store.get(SETTINGS, "encryption")
            if found is None or found.value.get("master") not in self._masters:
                raise WrongKey("another process began to encrypt with another key") from None

    # -- data keys -------------------------------------------------------------------------

    def active(self, user: str) -> tuple[str, AESGCM]:
        """The key to seal a user's records with. Raises NeedKey if it is not at hand."""
        held = self._active.get(user)
        if held is None or held.until < time.monotonic():
            raise NeedKey(user)
        return held.id, held.cipher

    def provide(self, user: str) -> None:
        """Have the user's active key at hand, from the store, or a new one."""
        record = self._record(user)
        if record is None:
            record = self._create(user)
        id = record.value["active"]
        self._active[user] = _Active(id, self._open(user, record, id), time.monotonic() + FRESH)

    def cipher(self, user: str, id: str) -> AESGCM:
        """The key that a record was sealed with. Raises WrongKey, CorruptStore."""
        found = self._ciphers.get((user, id))
        if found is None:
            record = self._record(user)
            if record is None or id not in record.value["keys"]:
                raise CorruptStore(
                    "the key that this record was sealed with is not in the store: the user was "
                    "forgotten, or the keys were deleted"
                )
            found = self._open(user, record, id)
        return found

    def digest(self, path: str, text: str) -> str:
        """A keyed digest of a string at a path, the same for the same string."""
        mac = hmac.digest(
            self._digest_key, f"{path}\0{text}".encode("utf-8", "surrogatepass"), "sha256"
        )
        return base64.b64encode(mac[:16]).decode()

    def digest_name(self, path: str) -> str:
        """What a path is called where digests are kept."""
        mac = hmac.digest(
            self._digest_key, b"path\0" + path.encode("utf-8", "surrogatepass"), "sha256"
        )
        return "d" + mac[:8].hex()

    # -- changing keys ---------------------------------------------------------------------

    def rotate_master(self, new: Source) -> int:
        """Wrap every data key with a new master key; returns how many there are.

        Records are not touched and may be read and written meanwhile. If it is interrupted, open
        the store with ``encryption_key=[new, old]`` and call it again. Other processes must be
        given the new key.
        """
        key = key_bytes(new, self._salt)
        self._first = name_of_key(key)
        self._masters[self._first] = key
        done = 0
        for record in self.store.records(Query(KEYS)):
            self.store.update(KEYS, record.key, self._rewrapped)
            done += 1
        self.store.update(SETTINGS, "encryption", {"master": self._first})
        # A user may have got a first key, wrapped by the old one, in between.
        for record in self.store.records(Query(KEYS)):
            if any(held["master"] != self._first for held in record.value["keys"].values()):
                self.store.update(KEYS, record.key, self._rewrapped)
        return done

    def _rewrapped(self, value: Value) -> Value:
        for id, held in value["keys"].items():
            if held["master"] != self._first:
                plain = self._unwrapped(value["name"], id, held)
                held["wrapped"] = wrap(self._masters[self._first], plain, _context(value, id))
                held["master"] = self._first
        return value

    def rotate(self, user: str, *, forgotten: bool = False) -> None:
        """Begin a new data key for a user; what is sealed with older ones stays readable.

        ``forgotten``: the store remembers the older ones by name, and takes what is sealed with
        them from no backup.
        """

        def change(value: Value) -> Value:
            id, held = self._new(value["name"])
            return {**value, "active": id, "keys": {**value["keys"], id: held}}

        for _ in range(RETRIES):
            record = self._record(user) or self._create(user)
            put = Put(KEYS, record.key, change(record.value), None, record)
            old = record.value["keys"] if forgotten else ()
            marks = [Put(DESTROYED, id, {}) for id in old]
            try:
                self.store.write([put, self._still_ours(), *marks])
            except Conflict:
                continue
            self._active.pop(user, None)
            return
        raise Conflict("others change this user's keys all the time; try again later")

    def holds(self, user: str) -> bool:
        """Whether a user has keys."""
        return self._record(user) is not None

    def retire(self, used: set[str]) -> int:
        """Delete the keys that no record is sealed with any more; returns how many.

        A key that another process may still take for the active one stays.
        """
        spare = [
            record.key
            for record in self.store.records(Query(KEYS, exact=True))
            if len(record.value["keys"]) > 1
        ]
        return sum(self._retire(name, used) for name in spare)

    def _retire(self, name: str, used: set[str]) -> int:
        gone = 0

        def change(value: Value) -> Value:
            nonlocal gone
            keys = value["keys"]
            since = keys[value["active"]]["created"]
            sure = self.store.now() - since > timedelta(seconds=2 * FRESH)
            kept = {
                id: held
                for id, held in keys.items()
                if id == value["active"] or id in used or not sure
            }
            gone = len(keys) - len(kept)
            return {**value, "keys": kept}

        self.store.update(KEYS, name, change)
        return gone

    def fits(self, setting: Value) -> bool:
        """Whether one of the master keys at hand is that of a store with this setting."""
        names = {name_of_key(key_bytes(source, setting["salt"])) for source in self._sources}
        return setting.get("master") in names | set(self._masters)

    def reload(self) -> None:
        """Forget what is at hand: the keys in the store have changed (a backup was restored)."""
        fresh = Keyring(self.store, [self._masters[self._first], *self._sources])
        self._salt, self._masters, self._first = fresh._salt, fresh._masters, fresh._first
        self._digest_key = fresh._digest_key
        self._ciphers.clear()
        self._active.clear()

    # -- inside ----------------------------------------------------------------------------

    def _record(self, user: str) -> Record | None:
        return self.store.get(KEYS, _name(user))

    def _create(self, user: str) -> Record:
        for _ in range(RETRIES):
            name = _name(user)
            id, held = self._new(name)
            value = {"name": name, "active": id, "keys": {id: held}}
            put = Put(KEYS, name, value, None, ABSENT)
            try:
                record, _ = self.store.write([put, self._still_ours()])
            except Conflict:
                record = self._record(user)
            if record is not None:
                return record
        raise Conflict("others change this user's keys all the time; try again later")

    def _still_ours(self) -> Expect:
        """That the store's master key is one that is at hand. Raises WrongKey."""
        setting = self.store.get(SETTINGS, "encryption")
        if setting is None or setting.value["master"] not in self._masters:
            raise WrongKey(
                "the master key was changed meanwhile; nothing was written. Open the store again, "
                "with the new one"
            )
        return Expect(*setting.id, setting)

    def _new(self, name: str) -> tuple[str, Value]:
        id = secrets.token_hex(8)
        context = _context({"name": name}, id)
        wrapped = wrap(self._masters[self._first], secrets.token_bytes(32), context)
        return id, {"wrapped": wrapped, "master": self._first, "created": self.store.now()}

    def _open(self, user: str, record: Record, id: str) -> AESGCM:
        plain = self._unwrapped(record.value["name"], id, record.value["keys"][id])
        cipher = self._ciphers[user, id] = AESGCM(plain)
        return cipher

    def _unwrapped(self, name: str, id: str, held: Value) -> bytes:
        master = self._masters.get(held["master"])
        if master is None:
            raise WrongKey(
                "a data key is wrapped with a master key that was not given; after a change of "
                "keys, open the store with the new one, or both: encryption_key=[new, old]"
            )
        try:
            return unwrap(master, held["wrapped"], _context({"name": name}, id))
        except InvalidTag:
            raise CorruptStore("a data key in the store was changed; restore a backup") from None

    def _load_digest_key(self) -> bytes:
        name = "digests"
        record = self.store.get(KEYS, name)
        if record is None:
            id, held = self._new(name)
            value = {"name": name, "active": id, "keys": {id: held}}
            try:
                record = self.store.put(KEYS, name, value, replacing=ABSENT)
            except Conflict:
                record = self.store.get(KEYS, name)
                assert record is not None
        id = record.value["active"]
        return self._unwrapped(name, id, record.value["keys"][id])


def _name(user: str) -> str:
    return "user-" + hashlib.sha256(b"lc_memory user\0" + user.encode()).hexdigest()[:32]


def _context(value: Value, id: str) -> bytes:
    return f"lc_memory data key\0{value['name']}\0{id}".encode()
