"""The registry: facts in, rows out. What `record` acknowledges survives SIGKILL; what is committed survives a power cut."""

import atexit
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_nb.config import Layout
from mlops_nb.errors import RegistryError
from mlops_nb.records import Fact
from mlops_nb.store import disk, facts, schema
from mlops_nb.store.forks import guard
from mlops_nb.store.redaction import Redactor
from mlops_nb.store.spool import Spool, sealed
from mlops_nb.store.writer import BATCH, Writer, words

EXIT_SECONDS = 5.0  # what committing may take when the process ends; the rest stays in the spool for the next one


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """Whether facts are being recorded. `reason` says in words what is wrong and what to do ('' = nothing).

    `acknowledged` and `committed` count this process's records, `set_aside` those that the database refused; they are kept
    beside the spool.
    """

    on: bool
    reason: str
    acknowledged: int
    committed: int
    set_aside: int = 0


class Registry:
    """One process's door to the registry; any of its threads may use it, and a forked child gets a spool and a writer of its own."""

    def __init__(self, layout: Layout, environ: Mapping[str, str] = os.environ) -> None:
        self.layout = layout
        self._redactor = Redactor(environ)
        self._refusal = ""
        self._closed = False
        self._begin()

    @classmethod
    def open(cls, layout: Layout, environ: Mapping[str, str] = os.environ) -> "Registry":
        """The registry of a project. Never raises for trouble with the disk or the file: recording is then off, see `status`."""
        registry = cls(layout, environ)
        registry._look()
        _opened.add(registry)
        return registry

    def record(self, record: Sequence[Fact]) -> bool:
        """Acknowledge `record`, all its facts or none; False where it cannot be written, and `status` says why.

        Raises BadInput or NotFound for a fact that its table cannot hold.
        """
        line = sealed(facts.encoded(record, self._redactor))
        if self._is_refusing():
            return False
        try:
            self._spool.append(line)
        except RegistryError as error:
            self._refusal = str(error)
        except OSError as error:
            self._refusal = words(error, self.layout.home)
        else:
            self._refusal = ""
            self._running()
        return not self._refusal

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything acknowledged so far, here and by processes now dead, is committed; False where it is not after `timeout` seconds."""
        writer = self._running()
        return writer is not None and writer.flush(self._spool.position(), timeout)

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, fresh: bool = True) -> list[dict[str, Any]]:
        """The answer to a query; with `fresh`, all that was recorded before is in it, unless `status` says what is in the way.

        Where there is no registry and none can be made, nothing was recorded: no rows. Raises RegistryError where it cannot be read.
        """
        if fresh and not self._is_settled():
            self.flush()
        found = self._read(sql, parameters)
        if found is None and self.flush():
            found = self._read(sql, parameters)
        return found or []

    def status(self) -> RecordingStatus:
        """Whether recording is on, and if not, why."""
        progress = self._writer.progress if self._writer else None
        refusing = bool(progress and progress.refusing)
        reason = self._refusal or (progress.trouble if progress else "")
        if progress and progress.aside and not reason:
            reason = f"{progress.set_aside} record(s) set aside; the last: {progress.aside}"
        return RecordingStatus(
            on=not (self._refusal or refusing or self._closed),
            reason="the registry is closed" if self._closed and not reason else reason,
            acknowledged=self._spool.acknowledged,
            committed=min(progress.committed, self._spool.acknowledged) if progress else 0,
            set_aside=progress.set_aside if progress else 0,
        )

    def close(self, timeout: float = 30.0) -> None:
        """Commit what is acknowledged and let go of the files; after `timeout` seconds the rest is left to the next process."""
        with self._starting:
            self._closed = True
        if self._writer is None or self._writer.stop(timeout):
            self._spool.close()
        _opened.discard(self)

    def _begin(self) -> None:
        self._gate = disk.Gate(self.layout.gate)
        self._spool = Spool(self.layout.spool, batch=BATCH, prepare=lambda: disk.prepare(self.layout))
        self._writer: Writer | None = None
        self._starting = threading.Lock()

    def _let_go(self) -> None:
        if self._writer is not None:
            self._writer.let_go()

    def _forked(self) -> None:
        """In a forked child: begin anew; nothing of the parent's is used or unlocked."""
        if self._writer is not None:
            self._writer.forget()
        self._spool.forget()
        self._begin()

    def _running(self) -> Writer | None:
        """The writer, started; None where the process is ending or must not use SQLite: what is in the spool is left to others."""
        if self._writer is not None and self._writer.is_alive():
            return self._writer
        with self._starting:
            return None if self._closed or guard.unsafe else self._started()

    def _started(self) -> Writer | None:
        if self._writer is None or not self._writer.is_alive():
            writer = Writer(self.layout, self._spool, self._gate)
            try:
                writer.start()
            except RuntimeError:  # no thread starts while the interpreter ends
                return None
            self._writer = writer
        return self._writer

    def _is_refusing(self) -> bool:
        """Whether no record may be acknowledged now; after trouble that is looked at afresh."""
        if self._closed:
            return True
        refusing = self._writer is not None and self._writer.progress.refusing  # the writer tries again by itself
        if self._refusal:
            self._look()
        return bool(self._refusal) or refusing

    def _look(self) -> bool:
        """Whether the home and the registry in it can be used, as far as can be told cheaply."""
        try:
            disk.prepare(self.layout)
            schema.inspect(self.layout.registry)
        except RegistryError as error:
            self._refusal = str(error)
        except OSError as error:
            self._refusal = words(error, self.layout.home)
        except sqlite3.Error as error:
            self._refusal = words(error, self.layout.registry)
        else:
            self._refusal = ""
        return not self._refusal

    def _is_settled(self) -> bool:
        return not self._spool.waiting and not self._spool.left_overs()

    def _read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows; None where there is no registry yet, or an old one."""
        path = self.layout.registry
        try:
            if not path.stat().st_size:
                return None
            with schema.reading(path) as connection:
                if schema.check(connection, path) != "current":
                    return None
                cursor = connection.execute(sql, parameters)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor]
        except OSError:
            return None
        except sqlite3.Error as error:
            raise RegistryError(str(error), where=str(path)) from error


_opened: set[Registry] = set()  # held, so that what was acknowledged is committed at exit though its project was dropped


def _before_fork() -> None:
    guard.before()
    for registry in _opened:
        registry._let_go()  # noqa: SLF001 (one module)


def _in_child() -> None:
    guard.after_in_child()
    for registry in _opened:
        registry._forked()  # noqa: SLF001 (one module)


def _at_exit() -> None:
    for registry in list(_opened):
        registry.close(EXIT_SECONDS)


os.register_at_fork(before=_before_fork, after_in_parent=guard.after_in_parent, after_in_child=_in_child)
atexit.register(_at_exit)
