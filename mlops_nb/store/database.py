"""The registry's one writing connection in a process: records into rows.

While the gate is held, the fewest possible calls go to sqlite3: each releases the interpreter's lock, and a busy cell gives it back
only after 5 ms. So the rows of a batch go in one statement a table, and foreign keys are checked at COMMIT.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlops_nb.errors import RegistryError
from mlops_nb.store import schema
from mlops_nb.store.spool import unsealed

WAL_BYTES = 16 << 20  # beyond it the log is emptied as soon as no reader holds it
ROWS = 200  # in one statement; with 32,766 variables SQLite takes more than any table needs
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

Refused = tuple[str, bytes]  # the reason, and the spool's line
Rows = list[tuple[str, dict[str, Any]]]  # table and row


class NotARecord(ValueError):
    """The line is no record that this version can insert."""


@dataclass(frozen=True, slots=True)
class Record:
    """A spool line with the facts in it; `damage` says why there are none."""

    line: bytes
    rows: Rows
    damage: str = ""


def decoded(line: bytes) -> Record:
    """The record of a spool line; a damaged one, or one of a newer version, comes with the reason."""
    payload = unsealed(line.rstrip(b"\n"))
    if payload is None:
        return Record(line, [], "damaged: the checksum does not match")
    try:
        return Record(line, [_checked(table, row) for table, row in json.loads(payload)])
    except (ValueError, TypeError, AttributeError) as error:
        return Record(line, [], f"refused: {error}")


def _checked(table: str, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    columns = schema.columns().get(table, {})
    if not set(row) <= set(columns):
        raise NotARecord(f"this version knows no table {table!r} with the columns {', '.join(row)}")
    return table, row


class Database:
    """The connection. Every method is called with the gate held, while the fork guard keeps forks away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._size = 0
        self._wrote = False

    def open(self) -> sqlite3.Connection:
        """The connection, made or made anew where the file at our path is not the one we had open."""
        if self.connection is not None and not self._replaced():
            return self.connection
        self.close()
        schema.ensure(self.path)
        # another thread may close it: the one that forks, see forks.py
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={WAL_BYTES}"):
            self.connection.execute(f"pragma {pragma}")
        stat = self.path.stat()
        self._identity, self._size = (stat.st_dev, stat.st_ino), stat.st_size
        return self.connection

    def insert(self, records: Sequence[Record]) -> list[Refused]:
        """Commit the records, each all or nothing; those refused come back with the reason. After an error nothing is open."""
        whole = [record for record in records if not record.damage]
        refused = [(record.damage, record.line) for record in records if record.damage]
        connection = self.open()
        try:
            if self._why_not(connection, whole):  # then one by one, to know which
                refused += [(why, record.line) for record in whole if (why := self._why_not(connection, [record]))]
            self._shorten_log(connection)
        except BaseException:
            self.close()
            raise
        self._wrote = True
        return refused

    def close(self) -> None:
        """Roll back what is not committed and close."""
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.close()

    def _why_not(self, connection: sqlite3.Connection, records: Sequence[Record]) -> str:
        """Commit the records in one transaction; '' or why the database refuses them."""
        connection.execute("begin immediate")
        schema.check_current(connection, self.path)
        try:
            for statement, values in _statements(records):
                connection.execute(statement, values)
            connection.execute("commit")
        except (sqlite3.Error, OverflowError) as error:
            if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK_TROUBLE:
                raise
            connection.execute("rollback")
            return f"refused: {error}"
        return ""

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        try:
            size = self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return
        if size > WAL_BYTES:
            connection.execute("pragma busy_timeout=0")  # a reader that holds the log must not hold up the gate
            connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            connection.execute("pragma busy_timeout=30000")

    def _replaced(self) -> bool:
        """Whether the file was deleted, replaced or cut since it was opened. By stat alone: opening and closing it would drop SQLite's locks.

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


def _statements(records: Sequence[Record]) -> Iterator[tuple[str, list[Any]]]:
    """Few statements for the rows of all the records: their order counts only within a table, for foreign keys wait for COMMIT."""
    groups: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for record in records:
        for table, row in record.rows:
            groups.setdefault((table, tuple(row)), []).append(row)
    for (table, names), rows in groups.items():
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            yield _statement(table, names, len(part)), [value for row in part for value in row.values()]


@lru_cache(maxsize=256)
def _statement(table: str, names: tuple[str, ...], rows: int) -> str:
    """`do nothing` only for a row that is there already: `or ignore` would also swallow a missing value."""
    primary = ", ".join(name for name, column in schema.columns()[table].items() if column.primary)
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    return f'insert into "{table}" ({quoted}) values {values} on conflict ({primary}) do nothing'  # noqa: S608 (checked names)
