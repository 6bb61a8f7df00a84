"""Libraries that open files past the interpreter's audit hook, wrapped where they are given the path.

A module is wrapped when it is first imported, or at `install` if it is there already. Where there is a choice, a class's method is
wrapped rather than a function: a user may hold a function from before it was wrapped, but its body looks the class up when it runs.
"""

import atexit
import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from mlops_nb.capture import processes, touched
from mlops_nb.capture.audit import guarded
from mlops_nb.capture.queries import in_callers_names, note_query
from mlops_nb.capture.touched import Role

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Note = Callable[[tuple[Any, ...], Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Bypass:
    """A function of a module (no `owner`), a method of its class `owner`, or that class being called (no `method`).

    `note` gets the arguments, a method's `self` among them. `looks`: it looks up names in the frame that calls it.
    """

    owner: str
    method: str
    note: Note
    looks: bool = False


# --- what the arguments say ------------------------------------------------------------------------------------


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, names: Sequence[str]) -> Any:
    return args[place] if len(args) > place else next((kwargs[name] for name in names if name in kwargs), None)


def _named(role: Role, place: int, *names: str) -> Note:
    """Argument `place`, or the first of `names` that is given, is a path (or several)."""

    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        touched.note_named(_argument(args, kwargs, place, names), role)

    return note


def _first_named(role: Role, *names: str) -> Note:
    """The first positional arguments, or those called `names`, may each be a path."""

    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for given in (*args[:2], *(kwargs[name] for name in names if name in kwargs)):
            touched.note_named(given, role)

    return note


def _with_mode(place: int, names: Sequence[str], default: str) -> Note:
    """The argument after the path is a mode like `open`'s."""

    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        mode = _argument(args, kwargs, place + 1, ("mode",)) or default
        touched.note_named(_argument(args, kwargs, place, names), _role(mode if type(mode) is str else default))

    return note


def _role(mode: str) -> Role:
    return "both" if "a" in mode or "+" in mode else "write" if "w" in mode or "x" in mode else "read"


def _remote(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """`fsspec` opens `path` on a file system: its address is its name. Local files go through `open`."""
    path, mode = (_argument(args, kwargs, place, (name,)) for place, name in ((1, "path"), (2, "mode")))
    protocol = getattr(type(args[0]), "protocol", "") if args else ""
    scheme = protocol if type(protocol) is str else next(iter(protocol), "") if type(protocol) is tuple else ""
    if type(path) is str and scheme and scheme not in ("file", "local", "memory"):
        role = _role(mode if type(mode) is str else "rb")
        touched.note_url(path if "://" in path else f"{scheme}://{path}", "read" if role == "read" else "write")


def url_mode(method: Any) -> Literal["read", "write"]:
    """What an HTTP method does to the address."""
    return "write" if type(method) is str and method.upper() in ("PUT", "PATCH") else "read"


def _requested(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    url = _argument(args, kwargs, 2, ("url",))
    if type(url) is str:
        touched.note_url(url, url_mode(_argument(args, kwargs, 1, ("method",))))


def _sent(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    request = _argument(args, kwargs, 1, ("request",))
    if type(request).__module__.partition(".")[0] == "httpx":
        touched.note_url(str(request.url), url_mode(request.method))


def _spawned(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    program, rest = (_argument(args, kwargs, place, (name,)) for place, name in ((1, "command"), (2, "args")))
    if type(program) is str:
        if type(rest) is list and rest:
            processes.note_arguments([program, *rest])
        else:
            processes.note_command(program)


def _scripted(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    processes.note_command(_argument(args, kwargs, 2, ("cell",)))


def _connected(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    for name in touched.names_in(_argument(args, kwargs, 0, ("database",))):
        if name and not name.startswith(":") and "://" not in name:
            touched.note_database(name)


def _asked(place: int) -> Note:
    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        note_query(_argument(args, kwargs, place, ("query",)), _argument(args, kwargs, place + 1, ("parameters", "params")))

    return note


# --- the table -------------------------------------------------------------------------------------------------

_READ, _SCAN = _named("read", 0, "source", "sources"), _first_named("read", "source", "sources")
_POLARS = (
    *(_Bypass("PyLazyFrame", f"new_from_{kind}", _SCAN) for kind in ("csv", "parquet", "ipc", "ndjson", "scan_lines")),
    *(_Bypass("PyLazyFrame", f"sink_{kind}", _named("write", 1, "target")) for kind in ("csv", "parquet", "ipc", "ndjson", "json")),
    *(_Bypass("PyDataFrame", f"read_{kind}", _READ) for kind in ("csv", "parquet", "ipc", "ipc_stream", "json", "ndjson", "avro")),
    *(
        _Bypass("PyDataFrame", f"write_{kind}", _named("write", 1, "py_f"))
        for kind in ("csv", "parquet", "ipc", "ipc_stream", "json", "ndjson", "avro")
    ),
)
_DUCK_READERS = ("read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet")
_DUCK_QUERIES = ("sql", "query", "execute", "from_query", "executemany")
_DUCKDB = (
    _Bypass("", "connect", _connected, looks=True),
    *(_Bypass("", name, _named("read", 0, "path_or_buffer", "file_glob", "file_globs"), looks=True) for name in _DUCK_READERS),
    *(_Bypass("", name, _asked(0), looks=True) for name in _DUCK_QUERIES),
    *(_Bypass("DuckDBPyConnection", name, _named("read", 1, "path_or_buffer", "file_glob", "file_globs"), looks=True) for name in _DUCK_READERS),
    *(_Bypass("DuckDBPyConnection", name, _asked(1), looks=True) for name in _DUCK_QUERIES),
    *(
        _Bypass("DuckDBPyRelation", name, _named("write", 1, "file_name", "path"), looks=True)
        for name in ("to_csv", "to_parquet", "write_csv", "write_parquet")
    ),
)
_PYARROW_CSV = (
    _Bypass("", "read_csv", _named("read", 0, "input_file")),
    _Bypass("", "open_csv", _named("read", 0, "input_file")),
    _Bypass("", "write_csv", _named("write", 1, "output_file")),
    _Bypass("CSVWriter", "", _named("write", 0, "sink")),
)
_PYARROW_JSON = (_Bypass("", "read_json", _named("read", 0, "input_file")), _Bypass("", "open_json", _named("read", 0, "input_file")))
_PYARROW_FILES = (
    _Bypass("OSFile", "", _with_mode(0, ("path",), "r")),
    _Bypass("", "memory_map", _with_mode(0, ("path",), "r")),
    _Bypass("", "create_memory_map", _named("write", 0, "path")),
    _Bypass("", "input_stream", _named("read", 0, "source")),
    _Bypass("", "output_stream", _named("write", 0, "source")),
)

_PARQUET = tuple(_Bypass("", name, _named("read", 0, "where")) for name in ("read_schema", "read_metadata"))

_BYPASSES: Mapping[str, tuple[_Bypass, ...]] = {
    "pyarrow.lib": _PYARROW_FILES,
    "pyarrow": _PYARROW_FILES,
    "pyarrow._csv": _PYARROW_CSV,
    "pyarrow.csv": _PYARROW_CSV,
    "pyarrow._json": _PYARROW_JSON,
    "pyarrow.json": _PYARROW_JSON,
    "pyarrow.parquet.core": (
        _Bypass("ParquetDataset", "__init__", _named("read", 1, "path_or_paths")),
        _Bypass("ParquetFile", "__init__", _named("read", 1, "source")),
        _Bypass("ParquetWriter", "__init__", _named("write", 1, "where")),
        *_PARQUET,
    ),
    "pyarrow.parquet": _PARQUET,
    "pyarrow.feather": (
        _Bypass("", "read_table", _READ),
        _Bypass("", "_read_table_internal", _READ),
        _Bypass("", "write_feather", _named("write", 1, "dest")),
    ),
    "pyarrow.dataset": (
        _Bypass("", "dataset", _READ),
        _Bypass("", "parquet_dataset", _named("read", 0, "metadata_path")),
        _Bypass("", "write_dataset", _named("write", 1, "base_dir")),
    ),
    "pyarrow.orc": (
        _Bypass("ORCFile", "__init__", _named("read", 1, "source")),
        _Bypass("ORCWriter", "__init__", _named("write", 1, "where")),
        _Bypass("", "read_table", _READ),
    ),
    "pyarrow.ipc": (
        _Bypass("RecordBatchFileWriter", "__init__", _named("write", 1, "sink")),
        _Bypass("RecordBatchStreamWriter", "__init__", _named("write", 1, "sink")),
    ),
    "pandas.io.parquet": (
        _Bypass("PyArrowImpl", "read", _named("read", 1, "path")),
        _Bypass("PyArrowImpl", "write", _named("write", 2, "path")),
    ),
    "polars._plr": _POLARS,
    "polars.polars": _POLARS,
    "_duckdb": _DUCKDB,
    "duckdb.duckdb": _DUCKDB,
    "duckdb": _DUCKDB,
    "fsspec.spec": (_Bypass("AbstractFileSystem", "open", _remote),),
    "requests.sessions": (_Bypass("Session", "request", _requested),),
    "httpx._client": (_Bypass("Client", "send", _sent), _Bypass("AsyncClient", "send", _sent)),
    "pexpect.pty_spawn": (_Bypass("spawn", "_spawn", _spawned),),
    "IPython.core.magics.script": (_Bypass("ScriptMagics", "shebang", _scripted),),
}


# --- wrapping --------------------------------------------------------------------------------------------------


def install() -> None:
    """Wrap what is imported, and the rest when it is; a second call does it for what came since."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in _BYPASSES:
        if module := sys.modules.get(name):
            _wrap(name, module)


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
                _wrap(fullname, sys.modules.get(fullname, module))  # a module may put another in its place

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_wrappers: dict[Any, Any] = {}  # one for each original: a name in two modules stays one object


@atexit.register
def uninstall() -> None:
    """Put back what was wrapped, where the wrapper still stands; later imports are wrapped as before.

    Some libraries of C complain at the end of the process about functions of theirs that somebody still holds.
    """
    for name in _BYPASSES:
        if module := sys.modules.get(name):
            for owner, attribute, found in _standing(name, module):
                if "_mlops_nb" in getattr(_plain(found), "__dict__", ()):
                    _place(owner, attribute, found, _plain(found).__wrapped__)
    _wrappers.clear()


def _wrap(name: str, module: ModuleType) -> None:
    for bypass in _BYPASSES[name]:
        for owner, attribute, found in _standing(name, module, bypass):
            plain = _plain(found)
            if callable(plain) and "_mlops_nb" not in getattr(plain, "__dict__", ()):
                _place(owner, attribute, found, _wrapper_of(plain, bypass))


def _standing(name: str, module: ModuleType, *rows: _Bypass) -> Iterator[tuple[Any, str, Any]]:
    """Owner, attribute and what stands there, of these rows of the table (all of the module's, where none is given)."""
    for bypass in rows or _BYPASSES[name]:
        owner = vars(module).get(bypass.owner) if bypass.owner and bypass.method else module
        attribute = bypass.method or bypass.owner
        if isinstance(owner, type | ModuleType) and attribute in vars(owner):
            yield owner, attribute, vars(owner)[attribute]


def _plain(found: Any) -> Any:
    return found.__func__ if isinstance(found, staticmethod) else found


def _place(owner: Any, attribute: str, found: Any, new: Any) -> None:
    setattr(owner, attribute, staticmethod(new) if isinstance(found, staticmethod) else new)


def _wrapper_of(plain: Any, bypass: _Bypass) -> Any:
    if plain not in _wrappers:
        _wrappers[plain] = _noting(plain, bypass) if bypass.method else _calling(plain, bypass.note)
    return _wrappers[plain]


def _calling(original: Any, note: Note) -> Any:
    """A class of C, which cannot be changed: a stand-in that makes instances of it and knows them as its own."""

    class Calling(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if touched.recording():
                guarded(note, args, kwargs)
            return original(*args, **kwargs) if cls is stand_in else super().__call__(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original) if cls is stand_in else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original) if cls is stand_in else super().__subclasscheck__(subclass)

    described = {
        "__doc__": original.__doc__,
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "_mlops_nb": True,
        "__wrapped__": original,
    }
    stand_in = Calling(original.__name__, (original,), described)
    return stand_in


def _noting(method: Callable[..., Any], bypass: _Bypass) -> Callable[..., Any]:
    """`method` with its arguments noted first; the result, errors and signature are its own."""
    made = _made(method, bypass.note, in_callers_names if bypass.looks else None)
    if isinstance(method, types.FunctionType):
        # Warnings that look for the first frame outside their package shall not stop at ours.
        made.__code__ = made.__code__.replace(co_filename=method.__code__.co_filename)
    functools.update_wrapper(made, method)
    made._mlops_nb = True  # type: ignore[attr-defined]  # noqa: SLF001 (our own mark)
    return made


def _made(method: Callable[..., Any], note: Note, call: Callable[..., Any] | None) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if touched.recording():
                guarded(note, args, kwargs)
            return await method(*args, **kwargs)

        return awaited

    def noting(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if touched.recording():
            guarded(note, args, kwargs)
        return method(*args, **kwargs)

    def looking(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if touched.recording():
            guarded(note, args, kwargs)
        return call(sys._getframe(1), method, args, kwargs)  # type: ignore[misc]  # noqa: SLF001 (whose names it looks up)

    return looking if call else noting
