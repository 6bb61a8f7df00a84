"""The writer thread: takes records out of the spools and commits them, one process at a time, behind the gate.

Committed = durable: WAL with synchronous=FULL. Every COMMIT and every checkpoint happens while the gate is held, which also
closes the window of SQLite's WAL-reset bug (3.7.0 to 3.51.2). Nobody but SQLite may open the files of the registry in this
process: closing any other descriptor of them would drop SQLite's locks.
"""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_nb.config import HOME_VARIABLE, Layout
from mlops_nb.errors import RegistryError
from mlops_nb.store import disk
from mlops_nb.store.database import Database, Refused, decoded
from mlops_nb.store.forks import guard
from mlops_nb.store.spool import REFUSED, Batch, Position, Spool, SpoolFile, release_refused, set_aside
from mlops_nb.unseen import unseen

BATCH = 100  # records
PATIENCE = 0.1  # seconds a first record waits for more: it is safe in the spool, and a transaction costs as much as ten records
BACK_OFF = (0.2, 5.0)  # seconds between tries while the disk or the registry is in trouble: first, most


@dataclass(slots=True)
class Progress:
    """What the writer has done; written by it alone, read by anyone.

    `trouble` says why nothing can be committed now ('' = all is well), `refusing` whether no record may be acknowledged meanwhile.
    """

    committed: int = 0
    set_aside: int = 0
    taken_in: int = 0
    trouble: str = ""
    refusing: bool = False
    failures: int = 0
    aside: str = ""


class Writer(threading.Thread):
    """Commits what the spool holds until it is told to stop; its connection never leaves the thread."""

    def __init__(self, layout: Layout, spool: Spool, gate: disk.Gate) -> None:
        super().__init__(name="mlops_nb writer", daemon=True)
        self.progress = Progress()
        self._layout = layout
        self._spool = spool
        self._gate = gate
        self._database = Database(layout.registry)
        self._asked = 1  # flushes asked for; the first thing to do is to take in left-overs
        self._swept = 0  # the last of them that is done
        self._stopping = False
        self._left_over: SpoolFile | None = None  # what is being taken in
        self._retried = False  # what was refused before gets one more chance a process
        self._delay = BACK_OFF[0]

    def run(self) -> None:
        """The thread: wait, work, and after trouble try again."""
        with unseen():
            while not self._wait():
                try:
                    self._work()
                    self._well()
                except (RegistryError, sqlite3.Error, OSError) as error:
                    self._troubled(error)
            self._leave()

    def flush(self, position: Position, timeout: float) -> bool:
        """Wait until all before `position` and all left-overs are committed; False after `timeout` seconds or once trouble is met."""
        with self._spool.changed:
            self._asked += 1
            asked, failures = self._asked, self.progress.failures
            self._spool.changed.notify_all()
            self._spool.changed.wait_for(lambda: self._flushed(position, asked) or self.progress.failures > failures or not self.is_alive(), timeout)
            return self._flushed(position, asked)

    def stop(self, timeout: float) -> bool:
        """Commit what is there, close the database, end the thread. False where that took longer than `timeout` seconds."""
        with self._spool.changed:
            self._stopping = True
            self._spool.changed.notify_all()
        self.join(timeout)
        return not self.is_alive()

    def let_go(self) -> None:
        """Before a fork, with no connection in use: close the database; the next batch opens it again.

        Without the gate, for a fork must not wait for other processes: where one holds it we are not the last to close, so
        closing is no checkpoint.
        """
        self._database.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's files without unlocking them."""
        self._gate.forget()
        if self._left_over is not None:
            self._left_over.forget()

    def _flushed(self, position: Position, asked: int) -> bool:
        return self._swept >= asked and self._spool.done(position)

    @property
    def _hurry(self) -> bool:
        return self._asked > self._swept

    def _wait(self) -> bool:
        """Wait for something to do, then a little for more of it; whether to end."""
        changed, spool = self._spool.changed, self._spool
        with changed:
            if self.progress.trouble:
                asked = self._asked
                changed.wait_for(lambda: self._stopping or self._asked > asked, self._delay)
            changed.wait_for(lambda: spool.waiting or self._hurry or self._stopping)
            if spool.waiting < BATCH:
                changed.wait_for(lambda: spool.waiting >= BATCH or self._hurry or self._stopping, PATIENCE)
            return self._stopping

    def _work(self) -> None:
        asked = self._asked
        if self._hurry:
            self._sweep()
        while batch := self._spool.take():
            self._commit(batch)
            self._spool.committed(batch)
            if self._asked > asked:
                return  # a flush waits for left-overs too
        with self._spool.changed:
            self._swept = asked
            self._spool.changed.notify_all()

    def _sweep(self) -> None:
        """Have a database, and take in the spools of dead processes."""
        if self._database.connection is None:
            disk.prepare(self._layout)
            with self._gate.held(), guard.using():
                self._database.open()
        if not self._retried:
            self._retried = True
            release_refused(self._layout.spool)
        for path in self._spool.left_overs():
            with guard.using():  # as in Spool: a child must know of it
                self._left_over = SpoolFile.left_over(path)
            if self._left_over is not None:
                self._take_in(self._left_over)

    def _take_in(self, file: SpoolFile) -> None:
        try:
            while lines := file.lines(BATCH):
                batch = Batch(file, tuple(lines))
                self.progress.taken_in += self._commit(batch)
                file.taken += batch.size
        except BaseException:
            self._left_over = None
            file.close(unlink=False)
            raise
        self._left_over = None
        file.close(unlink=True)  # what may follow is a torn line, never acknowledged

    def _commit(self, batch: Batch) -> int:
        """Commit the batch's records, in order; those that are damaged or refused are set aside. How many are committed."""
        records = [decoded(line) for line in batch.lines]
        with self._gate.held(), guard.using():
            refused = self._database.insert(records)
        if refused:
            self._set_aside(batch.file.path, refused)
        count = len(batch.lines) - len(refused)
        if batch.file.path.name in self._spool.own():
            self.progress.committed += count
        return count

    def _set_aside(self, path: Path, refused: Sequence[Refused]) -> None:
        """Keep what cannot be committed in a file of its own beside the spool, with the reason."""
        aside = path.with_suffix(REFUSED)
        set_aside(aside, refused)
        self.progress.set_aside += len(refused)
        self.progress.aside = f"{refused[-1][0]} (kept in {aside})"

    def _well(self) -> None:
        self.progress.trouble, self.progress.refusing, self._delay = "", False, BACK_OFF[0]

    def _troubled(self, error: Exception) -> None:
        with self._spool.changed:
            self.progress.refusing = isinstance(error, RegistryError)
            self.progress.trouble = str(error) if self.progress.refusing else words(error, self._layout.home)
            self.progress.failures += 1
            self._delay = min(self._delay * 2, BACK_OFF[1])
            self._spool.changed.notify_all()

    def _leave(self) -> None:
        try:
            self._work()
            with self._gate.held(), guard.using():  # closing the last connection is a checkpoint
                self._database.close()
        except (RegistryError, sqlite3.Error, OSError) as error:
            self._troubled(error)
        with self._spool.changed:
            self._spool.changed.notify_all()


def words(error: Exception, place: Path) -> str:
    """Why the disk does not take records, in words, and what to do."""
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return f"{place}: {text}\n  make room or make it writable, or set {HOME_VARIABLE} to another folder; it is tried again by itself"
