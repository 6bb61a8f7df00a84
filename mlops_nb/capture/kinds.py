"""What kinds of values there are: those that cannot change, functions and modules of the user's, classes asked without their own code."""

import datetime as dt
import decimal
import fractions
import functools
import itertools
import os
import pathlib
import re
import sys
import sysconfig
import types
import uuid
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)})
# Bound by identity: what they hold does not change in place, is followed elsewhere, or is no more than a cache.
ATOMS = frozenset(
    {types.CodeType, types.GetSetDescriptorType}
    | {types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType, types.GenericAlias, types.UnionType}
    | {dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone, decimal.Decimal, fractions.Fraction, re.Pattern, re.Match, uuid.UUID}
    | {pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath, slice}
    | {weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet}
)
# Iterators of the interpreter that can say how far they are from their end.
COUNTED = frozenset(map(type, (iter([]), iter(()), iter(""), iter(b""), iter({}), iter(set()), iter(range(0)), reversed([]), iter({}.values()))))
COUNTED |= frozenset(map(type, (iter({}.items()), iter(range(1 << 70)), itertools.repeat(0, 0), reversed({}))))
DRAWN_FROM = ("_io", "io", "_csv", "sqlite3", "_socket", "socket", "select", "subprocess", "queue", "_queue")  # a use may move or empty them


MAX_WRAPPED = 8  # decorators on one function


def is_plain(value: Any) -> bool:
    """Whether a value cannot change in place at all."""
    kind = type(value)
    if kind is types.FunctionType:
        return not is_own(value)  # attributes may be set on the plainest function
    if kind is types.ModuleType:
        return not is_local(value)
    if kind is types.BuiltinFunctionType:
        return type(value.__self__) in (types.ModuleType, type(None))
    return kind in SCALARS or kind in ATOMS


def is_own(function: types.FunctionType) -> bool:
    """Whether a function is of the notebook or of a module that is no installed package, or a library's decorator wrapped one that is."""
    inner: Any = function
    for _ in range(MAX_WRAPPED):
        name = inner.__globals__.get("__name__")
        module = sys.modules.get(name) if type(name) is str else None
        if name == "__main__" or (type(module) is types.ModuleType and is_local(module)):
            return True
        inner = inner.__dict__.get("__wrapped__")
        if type(inner) is not types.FunctionType:
            return False
    return False


_local: dict[str, bool] = {}


def is_local(module: types.ModuleType) -> bool:
    """Whether a module is a file of the user's: neither of the interpreter nor of an installed package. Remembered by name and file."""
    space = namespace_of(module)
    name, file = space.get("__name__"), space.get("__file__")
    if type(name) is not str or type(file) is not str or name == "__main__":
        return False
    known = _local.get(file)
    if known is None:
        known = _local[file] = not file.startswith(_OURS) and "-packages/" not in file and not file.startswith(library_folders())
    return known


@functools.cache
def library_folders() -> tuple[str, ...]:
    """Where the interpreter's own library lies; each ends with a slash."""
    paths = sysconfig.get_paths()
    return tuple({f"{os.path.realpath(paths[n])}/" for n in ("stdlib", "platstdlib")} | {f"{paths[n]}/" for n in ("stdlib", "platstdlib")})


def closure_of(function: types.FunctionType) -> list[Any]:
    """The values of the variables that a function closes over, as far as they are bound."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return found


# A metaclass of the user's may answer for `kind.__module__` and the like; type's own descriptors do not ask it.
_MRO = type.__dict__["__mro__"].__get__
_MODULE = type.__dict__["__module__"].__get__
offset_of = type.__dict__["__dictoffset__"].__get__
_DICT = type.__dict__["__dict__"].__get__
flags_of = type.__dict__["__flags__"].__get__
namespace_of = vars(types.ModuleType)["__dict__"].__get__
_OURS = str(pathlib.Path(__file__).resolve().parents[1]) + "/"
HEAP_TYPE = 1 << 9


def bases_of(kind: type) -> tuple[type, ...]:
    """The class and its bases, in the order in which attributes are looked up."""
    found: tuple[type, ...] = _MRO(kind)
    return found


def module_of(kind: type) -> str:
    """The module a class says it is from; '' where it does not say."""
    module = _MODULE(kind)
    return module if type(module) is str else ""


def entries_of(kind: type) -> Mapping[str, Any]:
    """The class's own attributes."""
    found: Mapping[str, Any] = _DICT(kind)
    return found


def attributes_of(value: Any, kind: type) -> dict[str, Any] | None:
    """An instance's `__dict__` itself; None where it has none, or its class hides it."""
    if not offset_of(kind):
        return None
    for base in bases_of(kind):
        entry = entries_of(base).get("__dict__")
        if entry is not None:
            state = entry.__get__(value, kind) if type(entry) is types.GetSetDescriptorType else None
            return state if type(state) is dict else None
    return None


def slots_of(kind: type) -> Iterator[Any]:
    """The descriptors of the slots that classes in Python or C give their instances."""
    for base in bases_of(kind):
        if module_of(base) != "builtins":
            yield from (entry for entry in entries_of(base).values() if type(entry) is types.MemberDescriptorType)
