"""What a running cell touches: files and addresses, noted where it happens, in a few microseconds each.

A `Touched` is one path with how things stood before the cell; what a command or a database did to it is told at the cell's end by
comparing stamps (`Touched.settled`). Nothing is noted unless a log is open (`start` to `stop`).
"""

import glob
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from mlops_nb.hashing import file_hex
from mlops_nb.unseen import is_unseen, unseen

Stamp = tuple[int, int, int]  # inode, bytes, mtime in ns
Role = Literal["read", "write", "both"]

MAX_FILES = 10_000
MAX_URLS = 1_000
MAX_PARTS = 256  # files of one folder or pattern
MAX_DATABASES = 8
SMALL_BYTES = 1 << 20  # what is hashed before it is overwritten: below 100 us
SMALL_BYTES_A_CELL = 8 << 20
CLOCK_STEP_NS = 10_000_000  # a file's mtime is the kernel's coarse clock, up to a tick behind

_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".pth", ".egg-link")
# What a package's folder may hold that a user reads by its path; anything else there is the package's own business.
_DATA = re.compile(
    r"\.(?:csv|tsv|txt|parquet|jsonl?|geojson|npy|npz|feather|arrow|orc|avro|h5|hdf5|nc|xlsx?|db|sqlite|pkl|pickle|joblib"
    r"|skops|onnx|zip|gz|bz2|xz|zst|tar|png|jpe?g|wav|ya?ml|xml)$"
)
_SYSTEM = ("/proc/", "/dev/", "/sys/", "/etc/", "/usr/share/", "/usr/lib/", "/usr/bin/", "/bin/", "/run/")
_LOGS = ("", "-wal", "-journal", ".wal")  # of SQLite and DuckDB: what is not in the database file yet


@dataclass(slots=True)
class Touched:
    """One path in one cell. `before` is its stamp at the first touch, None where there was no file; `digest` what it held, where known.

    `content` is where a file that has moved is found now; `since` the time (ns) from when on a written folder's files count.
    `guess`: what a command or a query that names it may have done, still to be seen from its stamps.
    """

    path: str
    before: Stamp | None
    reads: bool = False
    writes: bool = False
    removed: bool = False
    guess: Role | None = None
    database: bool = False
    digest: str = ""
    content: str = ""
    since: int = 0


@dataclass(slots=True)
class Log:
    """All that one cell touched, in the order of first touches; `known` holds what needs no second look."""

    files: dict[str, Touched] = field(default_factory=dict)
    urls: dict[tuple[str, Literal["read", "write"]], None] = field(default_factory=dict)
    known: set[tuple[Any, int]] = field(default_factory=set)
    hashed: int = 0


_log: Log | None = None
_databases: dict[str, tuple[Stamp | None, ...]] = {}  # opened in this session, as they were at the end of the last cell


def start() -> None:
    """Open an empty log."""
    global _log  # noqa: PLW0603 (of this process, whose cells run one at a time)
    _log = Log()


def stop() -> Log:
    """Close the log and give it; an empty one where none was open."""
    global _log
    log, _log = _log, None
    return log or Log()


def recording() -> bool:
    """Whether what this thread does is noted now."""
    return _log is not None and not is_unseen()


# --- notes -----------------------------------------------------------------------------------------------------


def note_open(path: Any, flags: int) -> None:
    """`path` (str or bytes, else it is nobody's name) is about to be opened with these `os.O_` flags."""
    log = _log
    if log is None or (path, flags) in log.known:
        return
    name = _absolute(path)
    if not name or not _may_count(name):
        return
    touched = _touch(log, name)
    if touched is None:
        return
    _opened(log, touched, flags)
    if touched.before or touched.writes:
        log.known.add((path, flags))


def note_file(path: str, role: Role, *, base: str = "") -> None:
    """`path` is read, written (a folder: its new files) or both; relative to `base` or the working directory."""
    log = _log
    name = _absolute(path, base)
    if log is None or not name or not _may_count(name):
        return
    touched = _touch(log, name)
    if touched is not None:
        _mark(log, touched, role)


def note_guess(path: str, role: Role, *, base: str = "") -> None:
    """A command or a query names `path`: what became of it is seen at the end."""
    log = _log
    name = _absolute(path, base)
    if log is None or not name or name.startswith(_SYSTEM):
        return
    touched = _touch(log, name)
    if touched is not None and not touched.writes:
        touched.guess = role if touched.guess in (None, role) else "both"
        _keep_content(log, touched)


def note_database(path: str) -> None:
    """A database file is connected to: written when its content changes, in this cell or in a later one."""
    name = _absolute(path)
    if _log is None or not name:
        return
    note_guess(name, "both")
    if name in _log.files:
        _log.files[name].database = True
    _databases.pop(name, None)
    _databases[name] = _database_stamps(name)
    while len(_databases) > MAX_DATABASES:
        del _databases[next(iter(_databases))]


def note_move(source: Any, target: Any) -> None:
    """`source` is about to take the place of `target`."""
    log = _log
    old, new = _absolute(source), _absolute(target)
    if log is None or not old or not new:
        return
    if _may_count(new) and (there := _touch(log, new)) is not None:
        _mark(log, there, "write")
    if _may_count(old) and (gone := _touch(log, old)) is not None:
        _mark(log, gone, "read")
        gone.content = new
        log.known.clear()


def note_removal(path: Any) -> None:
    """`path` is about to be removed."""
    log = _log
    name = _absolute(path)
    if log is None or not name or not _may_count(name) or (touched := _touch(log, name)) is None:
        return
    _keep_content(log, touched)
    touched.removed = True
    log.known.clear()


def note_url(url: str, mode: Literal["read", "write"] = "read") -> None:
    """An address is asked for; kept without credentials, query and fragment."""
    log = _log
    if log is not None and len(log.urls) < MAX_URLS and (name := public_url(url)):
        log.urls[name, mode] = None


def note_named(given: Any, role: Role) -> None:
    """What a library's reader or writer was given: a path, a pattern, an address, or several of them; anything else names nothing."""
    for name in names_in(given):
        if name.startswith("file://"):
            note_file(name.removeprefix("file://"), role)
        elif "://" in name:
            note_url(name, "write" if role == "write" else "read")
        else:
            for path in expanded(name) if role == "read" else (name,):
                note_file(path, role)


def note_folder_change() -> None:
    """The working directory changes: a relative path may mean another file."""
    if _log is not None:
        _log.known.clear()


def public_url(url: str) -> str:
    """`url` without credentials, query and fragment; '' for what is none.

    >>> public_url("https://me:secret@host.org:8443/data.csv?token=1#top")
    'https://host.org:8443/data.csv'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if not parts.scheme or not parts.netloc or parts.scheme in ("data", "file"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def names_in(given: Any) -> Iterator[str]:
    """The names in what a library was given as path; at most `MAX_PARTS` of a list."""
    kind = type(given)
    if kind is str:
        yield given
    elif _is_path(kind):
        yield os.fspath(given)
    elif kind is list or kind is tuple:
        for part in given[:MAX_PARTS]:
            if type(part) is not list and type(part) is not tuple:
                yield from names_in(part)


def expanded(name: str, base: str = "") -> Iterator[str]:
    """The files that a pattern means, at most `MAX_PARTS`; a plain name means itself."""
    if not glob.has_magic(name):
        return iter((name,))
    return islice(glob.iglob(os.path.join(base, name), recursive=True), MAX_PARTS)  # noqa: PTH118, PTH207 (Paths cost ten times as much)


# --- at the end ------------------------------------------------------------------------------------------------


def settled(log: Log) -> Iterator[Touched]:
    """Each path with what the cell did to it; a written folder, or one that is read, as its files."""
    for touched in log.files.values():
        if touched.guess:
            _see(touched)
        if touched.reads or touched.writes or touched.removed:
            yield from _parts(touched)
    yield from _changed_databases(log)


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a regular file, None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path costs ten times as much)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def files_under(folder: str) -> Iterator[str]:
    """Files in a folder and below, at most `MAX_PARTS`, hidden ones left out."""
    return islice(_walk(folder), MAX_PARTS)


def _walk(folder: str) -> Iterator[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (os.path.join(where, name) for name in sorted(names) if name[0] != ".")  # noqa: PTH118 (as above)


def _see(touched: Touched) -> None:
    """Tell from its stamps what a command did to a file."""
    now = stamp_of(touched.path)
    if touched.database and touched.before and now == touched.before:
        changed = _database_stamps(touched.path) != _databases.get(touched.path)
    else:
        changed = now != touched.before
    touched.reads |= touched.before is not None and touched.guess != "write"
    touched.writes |= changed
    touched.removed |= now is None


def _parts(touched: Touched) -> Iterator[Touched]:
    if touched.before is not None or not os.path.isdir(touched.path):  # noqa: PTH112 (as above)
        yield touched
        return
    for path in files_under(touched.path):
        stamp = stamp_of(path)
        if stamp and (not touched.writes or stamp[2] >= touched.since):
            yield Touched(path, stamp, reads=touched.reads, writes=touched.writes)


def _changed_databases(log: Log) -> Iterator[Touched]:
    for path, before in _databases.items():
        now = _database_stamps(path)
        if now != before:
            _databases[path] = now
            if path not in log.files:
                yield Touched(path, before[0], reads=True, writes=True)


def _database_stamps(path: str) -> tuple[Stamp | None, ...]:
    return tuple(stamp_of(path + suffix) for suffix in _LOGS)


# --- one touch -------------------------------------------------------------------------------------------------


def _is_path(kind: type) -> bool:
    """Whether it is one of pathlib's own classes: another's `__fspath__` would be the user's code."""
    return issubclass(kind, PurePath) and kind.__module__.partition(".")[0] == "pathlib"


def _absolute(path: Any, base: str = "") -> str:
    kind = type(path)
    name: str = path if kind is str else os.fsdecode(path) if kind is bytes or _is_path(kind) else ""
    if name and name[0] != "/":
        try:
            return os.path.abspath(os.path.join(base, name))  # noqa: PTH100, PTH118 (a Path costs ten times as much)
        except OSError:  # the working directory is gone; the open will say so itself
            return ""
    return os.path.normpath(name) if "/." in name or "//" in name else name


def _may_count(name: str) -> bool:
    if name.endswith(_CODE) or name.startswith(_SYSTEM):
        return False
    return "/site-packages/" not in name or not (".dist-info/" in name or not _DATA.search(name) or _opened_by_its_package(name))


def _opened_by_its_package(name: str) -> bool:
    """Whether a package opens its own file: such a file comes with the package's version."""
    head, _, tail = name.rpartition("/site-packages/")
    package = f"{head}/site-packages/{tail.split('/', 1)[0]}/"
    frame = sys._getframe(1)  # noqa: SLF001 (the only way to ask who calls)
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(package):
            return True
        frame = frame.f_back
    return False


def _touch(log: Log, name: str) -> Touched | None:
    """The entry of `name`; looks again at a file that was not there. None when the log is full."""
    touched = log.files.get(name)
    if touched is None:
        if len(log.files) >= MAX_FILES or "\0" in name:
            return None
        touched = log.files[name] = Touched(name, stamp_of(name))
    elif touched.before is None and not touched.writes:
        touched.before = stamp_of(name)
    return touched


def _opened(log: Log, touched: Touched, flags: int) -> None:
    writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    if not writing:
        _mark(log, touched, "read")
    elif flags & os.O_TRUNC or (flags & os.O_EXCL):
        _mark(log, touched, "write")
    else:
        _mark(log, touched, "both")  # appended to or changed in place: what was there still counts


def _mark(log: Log, touched: Touched, role: Role) -> None:
    if role != "write" and not touched.writes and (touched.before or _is_folder(touched.path)):
        touched.reads = True
    if role == "read":
        return
    if not touched.writes:
        touched.writes = True
        touched.since = time.time_ns() - CLOCK_STEP_NS
        if touched.reads:
            _keep_content(log, touched)
    touched.removed = False


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (as above)


def _keep_content(log: Log, touched: Touched) -> None:
    """Hash what a small file holds before it changes."""
    before = touched.before
    if touched.digest or before is None or before[1] > min(SMALL_BYTES, SMALL_BYTES_A_CELL - log.hashed):
        return
    log.hashed += before[1]
    touched.digest = _digest(touched.path)


def _digest(path: str) -> str:
    try:
        with unseen():
            return file_hex(path)
    except OSError:
        return ""
