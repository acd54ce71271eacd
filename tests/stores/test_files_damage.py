"""Files that are not as they were written: by accident, or by somebody who means harm."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lc_memory.errors import CorruptStore, NewerFormat, StoreError
from lc_memory.records import Delete, Put
from lc_memory.stores import formats, journal
from lc_memory.stores.files import FileStore
from lc_memory.stores.journal import Sealer
from lc_memory.stores.pickle_format import Pickle
from tests.stores.test_files import FORMATS, open_file

# -- damage ----------------------------------------------------------------------------------


def abandon(store: FileStore) -> None:
    """Leave the store as a killed process does: its journal is not folded."""
    store._archive.unfolded = False
    store.close()


def written(folder: Path, format: str, **options: Any) -> list[Any]:
    """A store with two records in the file and three batches in the journal; what it holds after
    each batch."""
    with open_file(folder, format, **options) as store:
        store.write([Put(("n",), "a", {"v": 1}), Put(("n",), "b", {"v": "x"})])
    store = open_file(folder, format, idle=60, **options)
    states = [list(store.records())]
    for i in range(3):
        store.write([Put(("n",), "a", {"v": i}), Put(("m",), f"{i}", {}), Delete(("n",), "b")])
        states.append(list(store.records()))
    abandon(store)
    return states


@pytest.mark.parametrize("format", FORMATS)
def test_a_changed_byte_in_the_file_is_seen(tmp_path: Path, format: str) -> None:
    written(tmp_path, format)
    path = tmp_path / f"memory.{format}"
    whole = path.read_bytes()
    for at in sorted({*range(0, len(whole), 5), *range(100), *range(len(whole) - 90, len(whole))}):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptStore, match=rf"memory\.{format}: "):
            open_file(tmp_path, format)
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_short_is_seen(tmp_path: Path, format: str) -> None:
    written(tmp_path, format)
    path = tmp_path / f"memory.{format}"
    whole = path.read_bytes()
    for size in sorted({0, 1, *range(2, len(whole), 11), len(whole) - 1}):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptStore, match=rf"memory\.{format}: "):
            open_file(tmp_path, format)


def test_a_changed_byte_in_the_journal_is_seen(tmp_path: Path) -> None:
    written(tmp_path, "json")
    path = tmp_path / "memory.json.journal"
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptStore, match=r"memory\.json\.journal: .*remove it"):
            open_file(tmp_path, "json")
    path.unlink()  # the remedy that the message names
    with open_file(tmp_path, "json") as store:
        assert [record.value for record in store.records()] == [{"v": 1}, {"v": "x"}]


def test_a_journal_cut_short_loses_whole_batches_only(tmp_path: Path) -> None:
    """A line that was not finished was never acknowledged; it goes with the next write."""
    states = written(tmp_path, "json")
    path = tmp_path / "memory.json.journal"
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in sorted({*range(0, len(whole), 5), *(end - by for end in ends for by in (0, 1, 2))}):
        path.write_bytes(whole[:size])
        store = open_file(tmp_path, "json", idle=60)
        batches = max(sum(end <= size for end in ends) - 1, 0)
        assert list(store.records()) == states[batches]
        store.put(("new",), "k", {})
        kept = list(store.records())
        abandon(store)
        store = open_file(tmp_path, "json", idle=60)
        assert list(store.records()) == kept
        abandon(store)


def test_lines_moved_taken_out_or_doubled_are_seen(tmp_path: Path) -> None:
    written(tmp_path, "json")
    path = tmp_path / "memory.json.journal"
    head, one, two, three = path.read_bytes().splitlines(keepends=True)
    for lines in (
        *([head, two, one, three], [head, two, three], [head, one, one, two, three]),
        *([one, two, three], [one], [head, head, one], [head, one, b"\n", two], [b"\n"]),
    ):
        path.write_bytes(b"".join(lines))
        with pytest.raises(CorruptStore, match=r"memory\.json\.journal: "):
            open_file(tmp_path, "json")


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 500, b"a,b\r\n1,2\r\n", b"\x80\x04N."])
@pytest.mark.parametrize("format", FORMATS)
def test_another_programs_file_is_left_alone(tmp_path: Path, format: str, content: bytes) -> None:
    path = tmp_path / f"memory.{format}"
    path.write_bytes(content)
    for edits in (False, True):
        with pytest.raises(CorruptStore, match=rf"memory\.{format}: "):
            open_file(tmp_path, format, accept_edits=edits)
    assert path.read_bytes() == content


def test_one_format_is_not_read_as_another(tmp_path: Path) -> None:
    for format in FORMATS:
        open_file(tmp_path, format).close()
        for other in FORMATS:
            if other != format:
                with pytest.raises(CorruptStore):
                    FileStore(f"{other}:///{tmp_path}/memory.{format}")


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((formats, "file"), (journal, "journal")):
        (tmp_path / name).mkdir()
        with monkeypatch.context() as later:
            later.setattr(module, "VERSION", 2)
            open_file(tmp_path / name, "json").close()
        with pytest.raises(NewerFormat, match="upgrade"):
            open_file(tmp_path / name, "json")


# -- files and journals of different times ---------------------------------------------------


def test_an_older_copy_may_be_put_back_after_closing(tmp_path: Path) -> None:
    with open_file(tmp_path, "json") as store:
        store.put(("n",), "k", {"v": 1})
    old = store.path.read_bytes()
    with open_file(tmp_path, "json", idle=60) as store:
        store.put(("n",), "k", {"v": 2})
    with open_file(tmp_path, "json") as other:
        store.path.write_bytes(old)
        assert other.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
        other.put(("n",), "z", {})
        assert [record.key for record in other.records()] == ["k", "z"]
    with open_file(tmp_path, "json") as store:
        assert [record.value for record in store.records()] == [{"v": 1}, {}]


def test_a_journal_never_continues_another_file(tmp_path: Path) -> None:
    written(tmp_path, "json")
    (tmp_path / "other").mkdir()
    with open_file(tmp_path / "other", "json") as store:
        store.put(("other",), "k", {})
    shutil.copy(store.path, tmp_path / "memory.json")
    with pytest.raises(CorruptStore, match=r"journal: holds writes that continue another"):
        open_file(tmp_path, "json")
    (tmp_path / "memory.json").unlink()
    with pytest.raises(CorruptStore, match="is gone, but its journal"):
        open_file(tmp_path, "json")


def test_a_copy_of_the_file_alone_is_a_store(tmp_path: Path) -> None:
    written(tmp_path, "json")
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "memory.json", tmp_path / "copy")
    with open_file(tmp_path / "copy", "json") as store:
        assert store.count() == 2
        store.put(("n",), "c", {})
    with open_file(tmp_path / "copy", "json") as store:
        assert store.count() == 3


def test_a_file_that_vanishes_under_an_open_store(tmp_path: Path) -> None:
    with open_file(tmp_path, "json", idle=60) as store:
        store.put(("n",), "k", {})
        kept = store.path.read_bytes()
        store.path.unlink()
        for use in (store.count, lambda: store.put(("n",), "k", {})):
            with pytest.raises(StoreError, match="gone"):
                use()
        store.path.write_bytes(kept)
        assert store.count() == 1


# -- pickles ---------------------------------------------------------------------------------

SECRET = b"0123456789abcdef0123456789abcdef"


def seal(body: bytes, key: bytes | None = None) -> bytes:
    return body + b"\n%s\n" % Sealer(key).seal(body).encode()


class Runs:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class SetsState:
    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it ran")

    def __getstate__(self) -> Any:
        return {"x": 1}


def _attacks(folder: Path) -> dict[str, bytes]:
    proof = str(folder / "ran")
    good = pickle.dumps(formats.document([]), 4)
    attacks: dict[str, Any] = {
        "os.system": Runs(os.system, f"touch {proof}"),
        "eval": Runs(builtins.eval, f"open({proof!r}, 'w')"),
        "open": Runs(open, proof, "w"),
        "in a record": {**formats.document([]), "records": [Runs(os.system, f"touch {proof}")]},
        "setstate": SetsState(),
        "class": FileStore,
        "bytearray": bytearray(b"x"),
        "set": {1, 2},
        "shared": [good, good],
    }
    found = {
        f"{name}, protocol {protocol}": pickle.dumps(attack, protocol)
        for name, attack in attacks.items()
        for protocol in (0, 2, 4, 5)
    }
    cycle: list[Any] = []
    cycle.append(cycle)
    bomb: Any = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 4).dump(bomb)
    return {
        **found,
        "cycle": pickle.dumps(cycle, 4),
        "bomb of references": buffer.getvalue(),
        "huge memo": b"\x80\x04Nr\xff\xff\xff\x7f.",
        "huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
        "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        "persistent": b"\x80\x04Pos\n.",
        "extension": b"\x80\x04\x82\x01.",
        "deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "empty stack": b"\x80\x04.",
        "odd stack": b"\x80\x04}u.",
        "no end": b"\x80\x04N",
        "nothing": b"",
        "odd keys": b"\x80\x04}}Ns.",
    }


def test_no_pickle_can_run_anything(tmp_path: Path) -> None:
    """Even with a checksum that fits: without a key, everybody can make one."""
    path = tmp_path / "memory.pickle"
    for name, body in _attacks(tmp_path).items():
        path.write_bytes(seal(body))
        for edits in (False, True):
            with pytest.raises(CorruptStore, match=r"memory\.pickle: "):
                open_file(tmp_path, "pickle", accept_edits=edits)
            assert not (tmp_path / "ran").exists(), name
    path.write_bytes(seal(Pickle().body([])))
    open_file(tmp_path, "pickle").close()


def test_a_key_refuses_whatever_lacks_its_mac(tmp_path: Path) -> None:
    states = written(tmp_path, "pickle", pickle_key=SECRET)
    path = tmp_path / "memory.pickle"
    whole = path.read_bytes()
    assert b"hmac-sha256:" in whole
    store = open_file(tmp_path, "pickle", pickle_key=SECRET.decode(), idle=60)
    assert list(store.records()) == states[-1]
    abandon(store)
    body = whole[: whole.rindex(b"\nhmac-")]
    for content, key, says in (
        (whole, b"another", "not the key, or the file was changed"),
        (whole, None, "pickle_key="),
        (seal(body), SECRET, "no MAC"),
        (seal(body, b"another"), SECRET, "MAC does not fit"),
        (body, SECRET, "no MAC"),
        (whole.replace(b"x", b"y"), SECRET, "MAC does not fit"),
    ):
        path.write_bytes(content)
        for edits in (False, True):
            with pytest.raises(CorruptStore, match=says):
                open_file(tmp_path, "pickle", pickle_key=key, accept_edits=edits)


def test_a_journal_under_a_key_carries_macs(tmp_path: Path) -> None:
    for name, key in (("keyed", SECRET), ("plain", None)):
        (tmp_path / name).mkdir()
        written(tmp_path / name, "pickle", pickle_key=key)
    shutil.copy(tmp_path / "plain" / "memory.pickle.journal", tmp_path / "keyed")
    with pytest.raises(CorruptStore, match=r"memory\.pickle\.journal"):
        open_file(tmp_path / "keyed", "pickle", pickle_key=SECRET)
    with pytest.raises(ValueError, match="empty"):
        open_file(tmp_path / "keyed", "pickle", pickle_key="")
