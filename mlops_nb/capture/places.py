"""What a cell does to places that are no data: folders it makes, links, and source files that another cell imports.

They are edges between cells like files, under the names `file:out/` and `file:made.py`, but no file uses of a run.
"""

import os
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_nb.capture import audit
from mlops_nb.capture.kinds import namespace_of

MAX_NOTES = 1000
_WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(slots=True)
class Notes:
    """Absolute paths: folders end with a slash. `left`: the working directory before the first change of it, '' for one that was gone."""

    made: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    left: str | None = None


_notes: Notes | None = None


def install() -> None:
    """Subscribe to the audit events; a second call does nothing."""
    for event, handler in {"os.mkdir": _on_mkdir, "os.symlink": _on_symlink, "open": _on_open, "os.chdir": _on_chdir}.items():
        audit.subscribe(event, handler)


def start() -> None:
    """Forget what was noted and note from now on."""
    global _notes  # noqa: PLW0603 (the audit hook is the interpreter's)
    _notes = Notes()


def stop() -> Notes:
    """What was noted since `start`."""
    global _notes
    noted, _notes = _notes or Notes(), None
    return Notes(noted.made.copy(), noted.read.copy(), noted.left)  # another thread may be in the middle of a note


def is_elsewhere(noted: Notes) -> bool:
    """Whether the working directory is another than before; without a look where nothing changed it, since a system call costs 20 µs."""
    return noted.left is not None and noted.left != _directory()


def named(paths: Iterable[str], root: Path) -> set[str]:
    """The names of paths in runs' reads and writes."""
    top = f"{root}/"
    return {f"file:{path.removeprefix(top)}" for path in paths}


def sources_read(known: Iterable[str], root: Path) -> set[str]:
    """Of the source files that cells wrote (`file:made.py`), those that a loaded module is from."""
    wanted = {name for name in known if name.endswith(".py")}
    if not wanted:
        return set()
    loaded: list[Any] = [module for module in sys.modules.copy().values() if type(module) is types.ModuleType]
    files = {file for module in loaded if type(file := namespace_of(module).get("__file__")) is str}
    return wanted & named(map(os.path.realpath, files), root)


def folders_of(paths: Iterable[str], known: Iterable[str]) -> set[str]:
    """Of the folders that cells made (`file:out/`), those that hold one of `paths` (as in file uses)."""
    made = [name for name in known if name.endswith("/")]
    return {name for name in made if any(path.startswith(name[5:]) for path in paths)} if made else set()


def _note(kept: set[str], path: Any, *, folder: bool = False) -> None:
    name = path if type(path) is str else os.fsdecode(path) if type(path) is bytes else ""
    if name and len(kept) < MAX_NOTES:
        kept.add(os.path.realpath(name) + ("/" if folder else ""))


def _on_mkdir(args: tuple[Any, ...]) -> None:
    if (notes := _notes) is not None:
        _note(notes.made, args[0], folder=True)


def _on_chdir(_: tuple[Any, ...]) -> None:
    if (notes := _notes) is not None and notes.left is None:
        notes.left = _directory()


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 (a Path costs ten times as much)
    except OSError:  # it is gone
        return ""


def _on_symlink(args: tuple[Any, ...]) -> None:
    if (notes := _notes) is not None:
        _note(notes.read, args[0])
        notes.made.add(os.path.abspath(os.fsdecode(args[1])))  # noqa: PTH100 (a Path costs ten times as much)


def _on_open(args: tuple[Any, ...]) -> None:
    path, _, flags = args
    notes = _notes
    if notes is not None and flags & _WRITING and type(path) is str and path.endswith(".py"):
        _note(notes.made, path)
