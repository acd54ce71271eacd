"""A file, the journal beside it, and in memory what the two hold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, TypeAlias

from lc_memory.errors import CorruptStore, NewerFormat, StoreReadOnly, StoreUnavailable
from lc_memory.stores.disk import Disk, Stamp
from lc_memory.stores.formats import Format
from lc_memory.stores.journal import Entry, Journal, Place, Sealer
from lc_memory.stores.table import Changes, Table

_Stamps: TypeAlias = "tuple[Stamp, Stamp]"

#: Where the journal ends after a write, and its stamp then.
Written: TypeAlias = "tuple[Place, Stamp]"

#: A journal may grow to this size (in bytes) before the file's own size decides.
SMALL: Final = 1 << 20


class Archive:
    """Reads, extends and folds. Not locked: the store that owns it does that.

    :meth:`catch_up` needs no lock file, the rest does. A crash between any two steps leaves a
    file and a journal that say by their seals what belongs together.
    """

    def __init__(self, path: Path, format: Format, sealer: Sealer, disk: Disk) -> None:
        self.path = path
        self.table = Table()
        self.journal = Journal(path.with_name(path.name + ".journal"), disk, sealer)
        #: The journal holds what the file does not.
        self.unfolded = False
        self.fold_seconds = 0.0  # how long the last fold took
        self._format = format
        self._sealer = sealer
        self._disk = disk
        self._names = str(path), str(self.journal.path)
        self._place = Place()
        self._seal = ""
        self._size = 0  # of the file, in bytes
        self._stamps: _Stamps | None = None

    @property
    def outgrown(self) -> bool:
        """Whether the journal should be folded even though writes go on."""
        return self._place.end > max(SMALL, self._size)

    def exists(self) -> bool:
        return self._disk.stamp(self.path) is not None

    def open(self, accept_edits: bool) -> bool:
        """Read the file, or create it; one changed by hand is sealed anew. Gives False."""
        if self.exists():
            sealed = self._load(self._stamp(), accept_edits)
        else:
            entries, _ = self.journal.read()
            if any(entry.file is None for entry in entries):
                raise CorruptStore(
                    f"{self.path}: is gone, but its journal {self.journal.path.name} holds writes. "
                    "Put the file back, or remove the journal to begin anew"
                )
            sealed = False
        if not sealed:
            self._replace_file()
        return False

    def catch_up(self) -> bool:
        """Take over what other processes wrote since; all of it, or nothing and an error.

        Says whether there was anything. Raises CorruptStore or OSError, also if the others are
        just replacing the file.
        """
        stamps = self._stamp()
        if stamps == self._stamps:
            return False
        if not self._read_on(stamps):
            self._load(stamps)
        return True

    def append(self, changes: Changes) -> Written:
        """Write to the journal, durably or not at all; to be followed by :meth:`apply`."""
        if not self._disk.writable(self._names[0]):
            raise StoreReadOnly(f"{self.path}: is marked as read-only")
        assert self._stamps is not None
        place, stamp = self._place, self._stamps[1]
        if not place.end:
            place, stamp = self.journal.begin(self._seal, stamp)
        return self.journal.append(place, changes, stamp)

    def apply(self, changes: Changes, written: Written) -> None:
        """Show in the table what was appended."""
        assert self._stamps is not None
        self.table.apply(changes)
        self._place, stamp = written
        self._stamps = self._stamps[0], stamp
        self.unfolded = True

    def fold(self) -> None:
        """Bring the file up to date and empty the journal, if there is anything in it."""
        if self._place.start:
            self._replace_file()
        self.unfolded = False

    def close(self) -> None:
        """Hold no file open; what is written later opens it again."""
        self.journal.close()

    # -- inside ----------------------------------------------------------------------------

    def _stamp(self) -> _Stamps:
        file, journal = self._names
        return self._disk.stamp(file), self._disk.stamp(journal)

    def _read_on(self, stamps: _Stamps) -> bool:
        """Go on from where the journal was read to, if it goes on there."""
        if self._stamps is None or not self._place.end:
            return False
        try:
            if stamps[0] == self._stamps[0]:
                entries, place = self.journal.read(self._place)
            else:
                entries, place = self.journal.read()
                if not entries or entries[0].state != self._place.state:
                    return False
                if entries[0].file == self._seal:  # no fold, then: somebody else's doing
                    return False
                # Folded by another, of just the records that are known here: no need to load.
                self._seal = entries.pop(0).file or ""
                self.unfolded = False
        except CorruptStore:
            return False
        for entry in entries:
            entry.apply(self.table)
        self._place, self._stamps = place, stamps
        return True

    def _load(self, stamps: _Stamps, accept_edits: bool = False) -> bool:
        """Read everything anew; says whether the file's seal fits."""
        try:
            data = self._disk.read(self.path)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{self.path}: is gone; open the store anew") from error
        try:
            rows, seal = self._format.load(data, self._sealer, accept_edits)
        except (CorruptStore, NewerFormat) as error:
            raise type(error)(f"{self.path}: {error}") from error
        entries, place = self.journal.read()
        news, place = self._since(seal, entries, place)
        if self._disk.stamp(self.path) != stamps[0]:
            raise CorruptStore(f"{self.path}: is being replaced")
        table = Table(rows)
        for entry in news:
            entry.apply(table)
        if self.table.postings is not None:
            table.index_words()
        self.table, self._place, self._stamps = table, place, stamps
        self._seal, self._size = seal or "", len(data)
        self.unfolded = len(entries) > 1
        return seal is not None

    def _since(
        self, seal: str | None, entries: list[Entry], place: Place
    ) -> tuple[list[Entry], Place]:
        """What the journal holds later than the file, and where to go on."""
        matching = [i for i, entry in enumerate(entries) if entry.file == seal]
        if seal is not None and matching:
            return entries[matching[-1] + 1 :], place
        batches = [entry for entry in entries if entry.file is None]
        if not batches:  # the file is a copy from elsewhere: begin a new journal for it
            return [], Place()
        if seal is None:
            return batches, place._replace(state=None)
        raise CorruptStore(
            f"{self.journal.path}: holds writes that continue another {self.path.name} than this. "
            "Put the right file back; or, if you restored an older one, remove the journal"
        )

    def _replace_file(self) -> None:
        began = time.monotonic()
        data, seal = self._format.dump(self.table, self._sealer)
        self._stamps = None  # if this fails half-way, look at everything again
        stamp = self._disk.stamp(self.journal.path)
        if self._place.end:
            self._place, stamp = self.journal.announce(self._place, seal, stamp)
        self._disk.swap(self.path, data)
        self._seal, self._size = seal, len(data)
        self._place, _ = self.journal.begin(seal, stamp, self._place.state)
        self._stamps = self._stamp()
        self.fold_seconds = time.monotonic() - began
