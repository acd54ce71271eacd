"""Files that a person, or a spreadsheet, has changed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lc_memory.errors import CorruptStore
from lc_memory.records import Put
from lc_memory.testing import FakeClock
from lc_memory.testing.writing import NAMES
from tests.stores.test_files import FORMATS, open_file


@pytest.mark.parametrize("format", FORMATS[:3])
def test_edits_by_hand_are_accepted_when_asked_to(tmp_path: Path, format: str) -> None:
    with open_file(tmp_path, format) as store:
        store.put(("n",), "k", {"name": "Ada", "raw": b"1", "n": 12345})
        store.put(("n",), "z", {})
    edited = store.path.read_bytes().replace(b"Ada", "Bob😀".encode())
    edited = edited.replace(b"12345", str(2**70).encode())
    store.path.write_bytes(edited)
    with pytest.raises(CorruptStore, match=rf"memory\.{format}: .*accept_edits=True"):
        open_file(tmp_path, format)
    assert store.path.read_bytes() == edited
    with open_file(tmp_path, format, accept_edits=True) as store:
        assert store.read([(("n",), "k")])[0].value == {  # type: ignore[union-attr]
            "name": "Bob😀",
            "raw": b"1",
            "n": 2**70,
        }
    with open_file(tmp_path, format) as store:
        assert store.count() == 2


def test_a_spreadsheet_may_save_a_csv(tmp_path: Path) -> None:
    """It quotes otherwise, ends lines otherwise and begins with a byte order mark."""
    with open_file(tmp_path, "csv") as store:
        store.write([Put(("n",), name, {"name": name}, owner=name) for name in NAMES])
        written = list(store.records())
    with store.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with store.path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    with pytest.raises(CorruptStore, match="accept_edits"):
        open_file(tmp_path, "csv")
    with open_file(tmp_path, "csv", accept_edits=True) as store:
        assert list(store.records()) == written


def test_an_edit_under_an_open_store_is_not_overwritten(tmp_path: Path) -> None:
    with open_file(tmp_path, "json", idle=60) as store:
        store.put(("n",), "k", {"name": "Ada"})
        store._fold_alone(1)
        edited = store.path.read_text().replace("Ada", "Bob")
        store.path.write_text(edited)
        for use in (store.count, lambda: store.put(("n",), "k", {"name": "Eve"})):
            with pytest.raises(CorruptStore, match="accept_edits"):
                use()
    assert store.path.read_text() == edited
    with open_file(tmp_path, "json", accept_edits=True) as store:
        assert store.get(("n",), "k").value == {"name": "Bob"}  # type: ignore[union-attr]


def test_an_edit_keeps_what_the_journal_held(tmp_path: Path) -> None:
    with open_file(tmp_path, "json") as store:
        store.write([Put(("n",), "a", {"v": 1}), Put(("n",), "b", {"v": 1})])
    store = open_file(tmp_path, "json", idle=60)
    store.put(("n",), "b", {"v": 2})
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    store.close()
    for path, content in files.items():  # as if it had been killed
        path.write_bytes(content.replace(b'"v":1', b'"v":7') if path == store.path else content)
    for _ in range(2):
        with open_file(tmp_path, "json", accept_edits=True) as store:
            assert [record.value["v"] for record in store.records()] == [7, 2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(('"v":1', f'"v":{new}') for new in ("NaN", '{"$bytes":"é"}', '{"$odd":1}', "1}}}")),
        *(('{"v":1}', new) for new in ("[]", "null", '"text"')),
        *(('"key":"b"', f'"key":{new}') for new in ('"a"', "7", "null", '"a\\u0000"')),
        *(('"version":1,"c', f'"version":{new},"c') for new in ("0", "true", "1.5", '"1"')),
        *((old, new) for old, new in [('"owner":', '"wner":'), ('"records": [', '"records": [7,')]),
        ("2026-01-01T", "2026-01-99T"),
    ],
)
def test_an_edit_that_is_no_record_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with open_file(tmp_path, "json", clock=FakeClock()) as store:
        store.write([Put(("n",), "a", {"v": 1}), Put(("n",), "b", {"v": 1})])
    text = store.path.read_text()
    assert old in text
    store.path.write_text(text.replace(old, new))
    with pytest.raises(CorruptStore, match=r"memory\.json"):
        open_file(tmp_path, "json", accept_edits=True)
