"""The writer thread: takes records out of the spools and commits them, one process at a time, behind the gate.

Committed = durable: WAL with synchronous=FULL. Every COMMIT and every checkpoint happens while the gate is held, which also
closes the window of SQLite's WAL-reset bug (3.7.0 to 3.51.2). Nobody but SQLite may open the files of the registry in this
process: closing any other descriptor of them would drop SQLite's locks.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlops_nb.config import HOME_VARIABLE, Layout
from mlops_nb.errors import RegistryError
from mlops_nb.store import disk, schema
from mlops_nb.store.forks import guard
from mlops_nb.store.spool import REFUSED, Batch, Position, Spool, SpoolFile, release_refused, set_aside, unsealed

BATCH = 100  # records
PATIENCE = 0.02  # seconds a first record waits for more
WAL_BYTES = 16 << 20  # beyond it the log is emptied as soon as no reader holds it
BACK_OFF = (0.2, 5.0)  # seconds between tries while the disk or the registry is in trouble: first, most
DISK_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


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
        self._database = _Database(layout.registry)
        self._asked = 1  # flushes asked for; the first thing to do is to take in left-overs
        self._swept = 0  # the last of them that is done
        self._stopping = False
        self._retried = False  # what was refused before gets one more chance a process
        self._delay = BACK_OFF[0]

    def run(self) -> None:
        """The thread: wait, work, and after trouble try again."""
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
                changed.wait_for(lambda: self._stopping, self._delay)
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
        if not self._database.is_open:
            disk.prepare(self._layout)
            with self._gate.held(), guard.using():
                self._database.open()
        if not self._retried:
            self._retried = True
            release_refused(self._layout.spool)
        for path in self._spool.left_overs():
            file = SpoolFile.left_over(path)
            if file is not None:
                self._take_in(file)

    def _take_in(self, file: SpoolFile) -> None:
        try:
            while lines := file.lines(BATCH):
                batch = Batch(file, tuple(lines))
                self.progress.taken_in += self._commit(batch)
                file.taken += batch.size
        except BaseException:
            file.close(unlink=False)
            raise
        file.close(unlink=True)  # what may follow is a torn line, never acknowledged

    def _commit(self, batch: Batch) -> int:
        """Commit the batch's records, in order; those that are damaged or refused are set aside. How many are committed."""
        with self._gate.held(), guard.using(), self._database.transaction(batch.lines) as refused:
            if refused:
                self._set_aside(batch.file.path, refused)
        count = len(batch.lines) - len(refused)
        if batch.file.path.name in self._spool.own():
            self.progress.committed += count
        return count

    def _set_aside(self, path: Path, refused: Sequence[tuple[str, bytes]]) -> None:
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


class _Database:
    """The registry's one writing connection in this process, used with the gate held; the guard keeps forks away meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._size = 0
        self._wrote = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self.connection is not None

    def open(self) -> sqlite3.Connection:
        """The connection, made or made anew where the file at our path is not the one we had open."""
        if self.connection is not None and not self._replaced():
            return self.connection
        self.close()
        schema.ensure(self.path)
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)  # see let_go
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={WAL_BYTES}"):
            self.connection.execute(f"pragma {pragma}")
        stat = self.path.stat()
        self._identity, self._size = (stat.st_dev, stat.st_ino), stat.st_size
        return self.connection

    @contextlib.contextmanager
    def transaction(self, lines: Sequence[bytes]) -> Iterator[list[tuple[str, bytes]]]:
        """Insert the records, give those refused with the reason, then commit. After an error the connection is closed."""
        connection = self.open()
        try:
            connection.execute("begin immediate")
            schema.check_current(connection, self.path)
            yield [(reason, line) for line in lines if (reason := _insert_line(connection, line))]
            connection.execute("commit")
            self._wrote = True
            self._shorten_log(connection)
        except BaseException:
            self.close()
            raise

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        log = self.path.with_name(self.path.name + "-wal")
        if log.exists() and log.stat().st_size > WAL_BYTES:
            connection.execute("pragma busy_timeout=0")  # a reader that holds the log must not hold up the gate
            connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            connection.execute("pragma busy_timeout=30000")

    def close(self) -> None:
        """Roll back what is not committed and close."""
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.close()

    def _replaced(self) -> bool:
        """Whether the file was deleted, replaced or cut since it was opened: by stat alone, see the module's first lines.

        Raises RegistryError where it is gone after this process wrote to it: what later records refer to is gone with it.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            stat = None
        if stat is not None and (stat.st_dev, stat.st_ino) == self._identity and stat.st_size >= self._size:
            return False
        if (stat is None or not stat.st_size) and self._wrote:
            raise RegistryError(
                "the registry was deleted or emptied while this process was recording",
                where=str(self.path),
                hint="put it back, or restart the kernel to begin a new one; what is not yet committed is kept in the spool",
            )
        return True


def _insert_line(connection: sqlite3.Connection, line: bytes) -> str:
    """Insert all facts of a record, or none and say why not."""
    record = unsealed(line.rstrip(b"\n"))
    if record is None:
        return "damaged: the checksum does not match"
    connection.execute("savepoint record")
    try:
        for table, row in json.loads(record):
            connection.execute(_statement(table, tuple(row)), tuple(row.values()))
    except (sqlite3.Error, OverflowError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK_TROUBLE:
            raise
        connection.execute("rollback to record")
        connection.execute("release record")
        return f"refused: {error}"
    connection.execute("release record")
    return ""


@cache
def _statement(table: str, names: tuple[str, ...]) -> str:
    """`do nothing` only for a row that is there already: `or ignore` would also swallow a missing value."""
    columns = schema.columns().get(table, {})
    if not set(names) <= set(columns):
        raise ValueError(f"this version knows no table {table!r} with the columns {names}")
    primary = ", ".join(name for name, column in columns.items() if column.primary)
    quoted = ", ".join(f'"{name}"' for name in names)
    return f'insert into "{table}" ({quoted}) values ({", ".join("?" * len(names))}) on conflict ({primary}) do nothing'  # noqa: S608 (known names)
