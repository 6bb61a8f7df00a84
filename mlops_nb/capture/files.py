"""Which files and addresses a cell reads and writes.

Three sources fill one log (`capture.touched`): the interpreter's audit events, wrappers around libraries that open files past it
(`capture.bypasses`), and the words of shell commands (`capture.processes`). Here they are put in place, and here is what counts.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_nb.capture import audit, bypasses, processes, touched
from mlops_nb.capture.kinds import library_folders
from mlops_nb.capture.touched import Log, Touched
from mlops_nb.hashing import FileHasher
from mlops_nb.records import FileUse

_CACHES = (".cache", ".config", ".ipython", ".jupyter", ".matplotlib", "__pycache__", ".ipynb_checkpoints", ".git", ".mlops_nb", ".local")


def install() -> None:
    """Subscribe to the audit events and wrap the libraries; a second call wraps what came since."""
    for event, handler in _HANDLERS.items():
        audit.subscribe(event, handler)
    bypasses.install()


def start() -> None:
    """Forget what was seen and look from now on."""
    touched.start()
    audit.start()


def stop() -> Log:
    """What was touched since `start`; nothing is looked at any more. Raises what went wrong inside an audit event or a wrapper."""
    log = touched.stop()
    audit.stop()
    return log


# --- audit events ----------------------------------------------------------------------------------------------


def _on_open(args: tuple[Any, ...]) -> None:
    touched.note_open(args[0], args[2])


def _on_rename(args: tuple[Any, ...]) -> None:
    touched.note_move(args[0], args[1])


def _on_link(args: tuple[Any, ...]) -> None:
    touched.note_named(args[0], "read")
    touched.note_named(args[1], "write")


def _on_truncate(args: tuple[Any, ...]) -> None:
    touched.note_named(args[0], "both")


def _on_sqlite(args: tuple[Any, ...]) -> None:
    for name in touched.names_in(args[0]):
        if path := name.removeprefix("file:").partition("?")[0]:
            touched.note_database(path)


def _on_url(args: tuple[Any, ...]) -> None:
    if type(args[0]) is str:
        touched.note_url(args[0], bypasses.url_mode(args[3]))


_HANDLERS: dict[str, audit.Handler] = {
    "open": _on_open,
    "os.rename": _on_rename,
    "os.link": _on_link,
    "os.truncate": _on_truncate,
    "os.remove": lambda args: touched.note_removal(args[0]),
    "os.chdir": lambda _: touched.note_folder_change(),
    "sqlite3.connect": _on_sqlite,
    "urllib.Request": _on_url,
    "subprocess.Popen": lambda args: processes.note_arguments(args[1], folder=args[2]),
    "os.posix_spawn": lambda args: processes.note_arguments(args[1]),
    "os.system": lambda args: processes.note_command(args[0]),
}


# --- what counts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Where a project's files are: `root` makes paths relative, `home` (.mlops_nb) is left out."""

    root: Path
    home: Path


def uses(log: Log, places: Places) -> tuple[tuple[FileUse, str], ...]:
    """The files that count, each with the path where its content is found ('' where there is nothing to hash), then the addresses.

    A file that was written before it was read is only written; one that was read and then overwritten is both, the read first and with
    the digest of what was there, where that was known. A file that was there and was removed is written, with size -1.
    """
    found: list[tuple[FileUse, str]] = []
    folders: dict[str, str] = {}
    for one in touched.settled(log):
        if _counts(one.path, places):
            found += _uses_of(one, _shown(one.path, places.root, folders))
    return (*found, *((FileUse(name, mode), "") for name, mode in log.urls))


def hashed(found: Iterable[tuple[FileUse, str]], hasher: FileHasher) -> tuple[FileUse, ...]:
    """The file uses with their digests; a file that cannot be read any more keeps an empty one."""
    return tuple(replace(use, digest=_digest(path, hasher)) if path else use for use, path in found)


def _digest(path: str, hasher: FileHasher) -> str:
    try:
        return hasher.digest(path)
    except OSError:
        return ""


def _uses_of(one: Touched, name: str) -> Iterator[tuple[FileUse, str]]:
    now, before = touched.stamp_of(one.path), one.before
    gone = now is None and not (one.removed or one.content)  # by a way that is not seen: it was nobody's but the cell's
    if before and one.reads and not gone:
        changed = one.writes or now is None
        known = one.digest if changed else ""
        yield FileUse(name, "read", known, before[1]), "" if known or (changed and not one.content) else one.content or one.path
    if now and one.writes:
        yield FileUse(name, "write", size=now[1]), one.path
    elif before and one.removed and now is None:
        yield FileUse(name, "write"), ""


def _counts(path: str, places: Places) -> bool:
    if path.startswith(f"{places.home}/"):
        return False
    if "/site-packages/" not in path and path.startswith(library_folders()):
        return False
    parts = path.split("/")
    outside = not path.startswith(f"{places.root}/")
    return not ("__pycache__" in parts or (outside and "/site-packages/" not in path and not set(_CACHES).isdisjoint(parts)))


def _shown(path: str, root: Path, folders: dict[str, str]) -> str:
    """The real path, relative to `root` where it is inside; `folders` remembers those of folders, which cost the most."""
    folder, _, name = path.rpartition("/")
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    full = os.path.realpath(path) if os.path.islink(path) else f"{folders[folder]}/{name}"  # noqa: PTH114 (a Path costs ten times as much)
    return full.removeprefix(f"{root}/")
