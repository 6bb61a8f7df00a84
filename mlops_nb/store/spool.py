"""The spool: each process appends its records to files of its own; a record in the spool is acknowledged and survives SIGKILL.

A line is the checksum and the JSON of one record. The owner holds a flock(2) on its file, so that others can tell a left-over
file from a live one. A file is cut to nothing when all of it is committed, and a new one is begun at `FILE_BYTES`.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_nb.hashing import quick_hex
from mlops_nb.store.forks import guard

SUFFIX = ".spool"
REFUSED = ".refused"  # records that the database would not take, each with the reason
FILE_BYTES = 4 << 20
READ_BYTES = 1 << 16
CHECKSUM = 32  # hex digits before the space

Position = tuple[int, int]  # (which file, bytes of it): later records have greater positions


def sealed(record: bytes) -> bytes:
    """The spool line of a record (one line of JSON)."""
    return quick_hex(record).encode() + b" " + record + b"\n"


def unsealed(line: bytes) -> bytes | None:
    """The record of a line without its line feed; None where the line is damaged."""
    record = line[CHECKSUM + 1 :]
    whole = line[CHECKSUM : CHECKSUM + 1] == b" " and quick_hex(record).encode() == line[:CHECKSUM]
    return record if whole else None


class SpoolFile:
    """One open, locked spool file; `taken` bytes of it are committed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.taken = 0
        self.end = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, folder: Path) -> "SpoolFile":
        """A new file of this process, mode 0600."""
        while True:
            path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
            os.close(descriptor)  # a process looking for left-overs was quicker than our lock

    @classmethod
    def left_over(cls, path: Path) -> "SpoolFile | None":
        """A dead process's file, now ours; None where its owner lives or another has taken it in."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def append(self, line: bytes) -> None:
        """Write the line with one write(2). Raises OSError with nothing of it left in the file."""
        self._mend()
        written = os.write(self.descriptor, line)
        if written != len(line):
            os.ftruncate(self.descriptor, self.end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.end += written

    def _mend(self) -> None:
        """Cut off what an interrupted append left behind after the last whole line."""
        size = os.fstat(self.descriptor).st_size
        if size != self.end:
            if os.pread(self.descriptor, 1, size - 1) == b"\n":
                self.end = size
            else:
                os.ftruncate(self.descriptor, self.end)

    def lines(self, most: int) -> list[bytes]:
        """Up to `most` whole lines after what is taken, with their line feeds."""
        size = os.fstat(self.descriptor).st_size
        wanted = READ_BYTES
        while True:
            data = os.pread(self.descriptor, min(wanted, size - self.taken), self.taken)
            if b"\n" in data or len(data) < wanted:
                break
            wanted *= 4
        found = data.split(b"\n")[:-1]
        return [line + b"\n" for line in found[:most]]

    def close(self, *, unlink: bool) -> None:
        """Let go of the file, and remove it where all of it is committed."""
        if unlink:
            self.path.unlink(missing_ok=True)
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # a child forked meanwhile may hold the same lock
        os.close(self.descriptor)

    def forget(self) -> None:
        """In a forked child: let go of the parent's file without unlocking it."""
        with contextlib.suppress(OSError):  # the parent's other thread was closing it as we were forked
            os.close(self.descriptor)

    @property
    def gone(self) -> bool:
        """Whether someone has deleted the file."""
        return os.fstat(self.descriptor).st_nlink == 0


def _is_left_over(path: Path) -> bool:
    """Whether no living process holds the file; a shared lock, so that several may look at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of one file, in order, not yet committed."""

    file: SpoolFile
    lines: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """The bytes they take."""
        return sum(map(len, self.lines))


class Spool:
    """This process's spool, for any number of appending threads and one that takes the records away.

    `changed` is notified when the reader has something to do: a first record, `batch` records, a flush, the end.
    """

    def __init__(self, folder: Path, *, batch: int, prepare: Callable[[], None]) -> None:
        self.folder = folder
        self.changed = threading.Condition()
        self.acknowledged = 0
        self.waiting = 0
        self._batch = batch
        self._prepare = prepare
        self._files: deque[SpoolFile] = deque()
        self._number = 0  # of the oldest file held, counting a cut one as new

    def append(self, line: bytes) -> None:
        """Acknowledge a record. Raises OSError where it cannot be written; then nothing of it is."""
        with self.changed:
            self._current().append(line)
            self.acknowledged += 1
            self.waiting += 1
            if self.waiting in (1, self._batch):
                self.changed.notify_all()

    def position(self) -> Position:
        """Where the next record would go."""
        with self.changed:
            return (self._number + len(self._files) - 1, self._files[-1].end) if self._files else (self._number, 0)

    def done(self, position: Position) -> bool:
        """Whether everything before `position` is taken; the caller holds `changed`."""
        return (self._number, self._files[0].taken if self._files else 0) >= position

    def take(self) -> Batch | None:
        """The oldest records, one batch of them."""
        with self.changed:
            file = self._files[0] if self._files else None
        if file is None:
            return None
        lines = file.lines(self._batch)
        if lines:
            return Batch(file, tuple(lines))
        return self.take() if self._drop(file) else None

    def committed(self, batch: Batch) -> None:
        """Forget a batch that `take` gave; its file is cut or removed where nothing is left in it."""
        with self.changed:
            batch.file.taken += batch.size
            self.waiting = max(self.waiting - len(batch.lines), 0)
            if len(self._files) == 1 and batch.file.taken == os.fstat(batch.file.descriptor).st_size:
                os.ftruncate(batch.file.descriptor, 0)
                batch.file.taken = batch.file.end = 0
                self._number += 1
            self.changed.notify_all()
        self._drop(batch.file)

    def own(self) -> set[str]:
        """The names of this process's files."""
        with self.changed:
            return {file.path.name for file in self._files}

    def left_overs(self) -> list[Path]:
        """The spool files of dead processes, oldest first."""
        own = self.own()
        return sorted((path for path in self.folder.glob(f"*{SUFFIX}") if path.name not in own and _is_left_over(path)), key=_age)

    def close(self) -> None:
        """Let go of the files; those with records not yet committed stay for the next process."""
        with self.changed:
            while self._files:
                file = self._files.popleft()
                self._number += 1
                file.close(unlink=file.taken >= os.fstat(file.descriptor).st_size)

    def forget(self) -> None:
        """In a forked child: close the parent's files without unlocking them."""
        for file in self._files:
            file.forget()
        self._files.clear()

    def _current(self) -> SpoolFile:
        """The file to append to: a new one where there is none, it is full, or someone deleted it."""
        if not self._files or self._files[-1].end >= FILE_BYTES or self._files[-1].gone:
            self._prepare()
            with guard.using():  # a child must know of every locked file, to let go of it
                self._files.append(SpoolFile.create(self.folder))
        return self._files[-1]

    def _drop(self, file: SpoolFile) -> bool:
        """Remove the oldest file if a newer one is begun and nothing is left in it."""
        with self.changed:
            if len(self._files) < 2 or self._files[0] is not file or file.lines(1):  # noqa: PLR2004 (one to drop, one to keep)
                return False
            self._files.popleft()
            self._number += 1
            file.close(unlink=True)
            self.changed.notify_all()
            return True


def _age(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def set_aside(path: Path, refused: Sequence[tuple[str, bytes]]) -> None:
    """Keep lines that cannot be committed, with the reason of each, at the end of the file `path`."""
    text = "".join(json.dumps({"reason": reason, "line": line.decode("latin-1")}) + "\n" for reason, line in refused)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, text.encode()) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def release_refused(folder: Path) -> None:
    """Make left-over spools out of what was set aside: what it refers to, or the version that knows its table, may have come."""
    for aside in folder.glob(f"*{REFUSED}"):
        claimed = aside.with_name(f"{aside.stem}-{uuid.uuid4().hex[:6]}.again")
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            aside.rename(claimed)
    for claimed in folder.glob("*.again"):
        with contextlib.suppress(FileNotFoundError):
            lines = [json.loads(line)["line"].encode("latin-1") for line in claimed.read_text(encoding="ascii").splitlines()]
            ready = claimed.with_suffix(f".{os.getpid()}.new")
            ready.write_bytes(b"".join(lines))
            ready.rename(claimed.with_suffix(SUFFIX))
            claimed.unlink()
