"""Which files a cell reads and writes: an audit hook on `open`, and pyarrow's parquet classes, which do not go through it.

The hook is installed once per process and cannot be taken out again; it does nothing unless a cell runs.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from mlops_nb.hashing import FileHasher
from mlops_nb.records import FileUse

Mode = Literal["read", "write"]
Opened = tuple[str, bool]  # absolute path, whether it was opened for writing

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".pth", ".egg-link")
# What a package's folder may hold that a user reads by its path; anything else there is the package's own business.
_DATA = re.compile(
    r"\.(?:csv|tsv|txt|parquet|jsonl?|geojson|npy|npz|feather|arrow|orc|avro|h5|hdf5|nc|xlsx?|db|sqlite|pkl|pickle|joblib"
    r"|skops|onnx|zip|gz|bz2|xz|zst|tar|png|jpe?g|wav|ya?ml|xml)$"
)
_SYSTEM = ("/proc/", "/dev/", "/sys/", "/etc/", "/usr/share/", "/usr/lib/", "/run/")
_CACHES = (".cache", ".config", ".ipython", ".jupyter", ".matplotlib", "__pycache__", ".ipynb_checkpoints", ".git", ".mlops_nb", ".local")
_MAX_PARTS = 256

_log: list[Opened] | None = None
_installed = False


def install() -> None:
    """Put the hook and the parquet wrappers in place; a second call does nothing."""
    global _installed  # noqa: PLW0603 (the interpreter's hook list is global too)
    if not _installed:
        _installed = True
        sys.meta_path.insert(0, _Finder())
        sys.addaudithook(_hook)
    for name in _BYPASSES:
        if module := sys.modules.get(name):
            _wrap(module)


def start() -> None:
    """Forget what was seen and look from now on."""
    global _log  # noqa: PLW0603 (as above)
    _log = []


def stop() -> list[Opened]:
    """What was opened since `start`, in order; nothing is looked at any more."""
    global _log
    seen, _log = _log or [], None
    return seen


@contextmanager
def unseen() -> Iterator[None]:
    """What this project opens for itself inside a cell is not the cell's."""
    global _log  # noqa: PLW0603 (as above)
    kept, _log = _log, None
    try:
        yield
    finally:
        _log = kept


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # Called for every audit event of the process, so the first line decides its cost.
    if event == "open" and _log is not None:
        path, _, flags = args
        _note(path, writes=bool(flags & _WRITING))


def _note(path: Any, *, writes: bool) -> None:
    kind = type(path)
    name = path if kind is str else os.fsdecode(path) if kind is bytes else ""
    if not name or name.endswith(_CODE) or _log is None:
        return
    if name[0] != "/":
        try:
            name = os.path.abspath(name)  # noqa: PTH100 (a Path costs ten times as much)
        except OSError:  # the working directory is gone; the open will say so itself
            return
    if "/site-packages/" in name and (".dist-info/" in name or not _DATA.search(name) or _opened_by_its_package(name)):
        return
    _log.append((name, writes))


def _opened_by_its_package(name: str) -> bool:
    """Whether a package opens its own file: such a file comes with the package's version."""
    head, _, tail = name.rpartition("/site-packages/")
    package = f"{head}/site-packages/{tail.split('/', 1)[0]}/"
    frame = sys._getframe(3)  # noqa: SLF001 (the only way to ask who calls)
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(package):
            return True
        frame = frame.f_back
    return False


# --- pyarrow ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bypass:
    """A method that opens a file past the audit hook: its argument `place` (not counting self) or one of `names` is the path."""

    owner: str
    method: str
    place: int
    names: tuple[str, ...]
    writes: bool


# Classes, not functions: a user may hold a function from before it was wrapped, but its body looks the class up when it runs.
_BYPASSES: Mapping[str, tuple[_Bypass, ...]] = {
    "pyarrow.parquet.core": (
        _Bypass("ParquetDataset", "__init__", 0, ("path_or_paths",), writes=False),
        _Bypass("ParquetFile", "__init__", 0, ("source",), writes=False),
        _Bypass("ParquetWriter", "__init__", 0, ("where",), writes=True),
    ),
    "pandas.io.parquet": (
        _Bypass("PyArrowImpl", "read", 0, ("path",), writes=False),
        _Bypass("PyArrowImpl", "write", 1, ("path",), writes=True),
    ),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the bypasses when their module is first imported; leaves every other import alone."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _BYPASSES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _wrap(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _wrap(module: ModuleType) -> None:
    for bypass in _BYPASSES[module.__name__]:
        owner = getattr(module, bypass.owner, None)
        method = vars(owner).get(bypass.method) if isinstance(owner, type) else None
        if callable(method) and not hasattr(method, "_mlops_nb"):
            setattr(owner, bypass.method, _noting(method, bypass))


def _noting(method: Callable[..., Any], bypass: _Bypass) -> Callable[..., Any]:
    @functools.wraps(method)
    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _log is not None:
            by_name = (kwargs[name] for name in bypass.names if name in kwargs)
            given = args[bypass.place] if len(args) > bypass.place else next(by_name, None)
            for path in _paths(given):
                _note(path, writes=bypass.writes)
        return method(self, *args, **kwargs)

    noting._mlops_nb = True  # type: ignore[attr-defined]  # noqa: SLF001 (our own mark)
    return noting


def _paths(given: Any) -> list[str]:
    kind = type(given)
    if kind is list or kind is tuple:
        return [name for part in given[:_MAX_PARTS] for name in _paths(part)]
    name = given if kind is str else str(given) if issubclass(kind, Path) else ""
    if not name or "://" in name:
        return []
    if Path(name).is_dir():
        return [str(part) for part in sorted(Path(name).rglob("*.parquet"))[:_MAX_PARTS]]
    return [name]


# --- what counts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Where a project's files are: `root` makes paths relative, `home` (.mlops_nb) is left out."""

    root: Path
    home: Path


def uses(opened: Iterable[Opened], places: Places) -> tuple[tuple[FileUse, str], ...]:
    """The files that count, each with its full path; a file that was written before it was read is only written."""
    found: dict[tuple[str, Mode], tuple[FileUse, str]] = {}
    for path, writes in opened:
        if not _counts(path, places):
            continue
        mode: Mode = "write" if writes else "read"
        if mode == "read" and (path, "write") in found:
            continue
        found.setdefault((path, mode), (FileUse(_shown(path, places.root), mode, size=_size(path)), path))
    return tuple(found.values())


def hashed(found: Iterable[tuple[FileUse, str]], hasher: FileHasher) -> tuple[FileUse, ...]:
    """The file uses with their digests; a file that cannot be read any more keeps an empty one."""
    result = []
    for use, path in found:
        try:
            result.append(replace(use, digest=hasher.digest(path)))
        except OSError:
            result.append(use)
    return tuple(result)


def _counts(path: str, places: Places) -> bool:
    if path.startswith(_SYSTEM) or path.startswith(f"{places.home}/"):
        return False
    if "/site-packages/" not in path and path.startswith(_library_folders()):
        return False
    parts = path.split("/")
    outside = not path.startswith(f"{places.root}/")
    if "__pycache__" in parts or (outside and "/site-packages/" not in path and not set(_CACHES).isdisjoint(parts)):
        return False
    return _size(path) >= 0


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({f"{os.path.realpath(paths[name])}/" for name in ("stdlib", "platstdlib")} | {f"{paths['stdlib']}/"})


def _size(path: str) -> int:
    """Bytes of a regular file; -1 where there is none (any more)."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _shown(path: str, root: Path) -> str:
    full = os.path.realpath(path)
    return os.path.relpath(full, root) if full.startswith(f"{root}/") else full
