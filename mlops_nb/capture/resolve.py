"""The global names that a value's code reads and binds: functions, methods, partials, classes and instances made in the notebook."""

import dis
import functools
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from mlops_nb.capture.fingerprint import attributes_of, bases_of, entries_of, module_of

MAX_FUNCTIONS = 200
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_BINDS = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class CodeNames:
    """Of one code object: globals read before its first branch, read anywhere, bound; environment variables it names."""

    first: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()


@dataclass(slots=True)
class Resolved:
    """Names behind what a cell uses: `certain` when a call is sure to read them, else only in `reads`."""

    certain: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)


_known: "WeakKeyDictionary[types.CodeType, CodeNames]" = WeakKeyDictionary()


def names_of(code: types.CodeType) -> CodeNames:
    """The names in a code object and those inside it; remembered."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = _read_code(code)
    return found


def resolve(uses: frozenset[str], calls: frozenset[str], namespace: dict[str, Any]) -> Resolved:
    """What the code behind `uses` takes from `namespace`, through other functions too; `calls` are sure to be called."""
    found = Resolved()
    seen: set[int] = set()
    todo = [(name, name in calls) for name in sorted(uses) if name in namespace]
    while todo and len(seen) < MAX_FUNCTIONS:
        name, called = todo.pop()
        for code in _codes(namespace[name], namespace, seen):
            names = names_of(code)
            reached = {n for n in names.reads if n in namespace}
            if called and type(namespace[name]) is types.FunctionType:
                found.certain |= names.first & reached
            todo += [(n, False) for n in sorted(reached - found.reads)]
            found.reads |= reached
            found.binds |= names.binds
            found.variables |= names.variables
    return found


def _read_code(code: types.CodeType) -> CodeNames:
    first, reads, binds = set(), set(), set()
    branched = False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in _READS:
            reads.add(instruction.argval)
            if not branched:
                first.add(instruction.argval)
        elif name in _BINDS:
            binds.add(instruction.argval)
        branched = branched or "JUMP_IF" in name or "_JUMP_FORWARD_IF" in name
    variables = {c for c in code.co_consts if type(c) is str and _VARIABLE.fullmatch(c)} if {"environ", "getenv"} & set(code.co_names) else set()
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            inner = _read_code(constant)
            reads |= inner.reads
            binds |= inner.binds
            variables |= inner.variables
    return CodeNames(frozenset(first), frozenset(reads), frozenset(binds), frozenset(variables))


def _codes(value: Any, namespace: dict[str, Any], seen: set[int]) -> Iterator[types.CodeType]:
    """The code objects that may run when `value` is used, each once."""
    todo = [value]
    while todo and len(seen) < MAX_FUNCTIONS:
        value = todo.pop()
        if id(value) in seen:
            continue
        if type(value) is types.FunctionType and value.__globals__ is namespace:
            yield value.__code__
        parts = _parts(value)
        if parts or type(value) is types.FunctionType:
            seen.add(id(value))
        todo += parts


def _parts(value: Any) -> list[Any]:
    """The values inside a value that may hold code."""
    kind = type(value)
    if reader := _READERS.get(kind):
        return reader(value)
    if issubclass(kind, type):
        return _class_parts(value)
    return [kind] if module_of(kind) == "__main__" else _held_functions(value, kind)


def _cells(function: types.FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return found


def _class_parts(value: type) -> list[Any]:
    found: list[Any] = []
    for base in bases_of(value):
        if module_of(base) == "__main__":
            found += [
                e
                for e in entries_of(base).values()
                if type(e) in (types.FunctionType, classmethod, staticmethod, property, functools.cached_property)
            ]
    return found


def _held_functions(value: Any, kind: type) -> list[Any]:
    """Functions right inside a library's object or a small container: a wrapper, a transformer, a table of functions."""
    holders: list[Any] = []
    if kind in (list, tuple) and len(value) <= 16:  # noqa: PLR2004 (a table of functions, not data)
        holders = list(value)
    elif kind is dict and len(value) <= 16:  # noqa: PLR2004
        holders = list(value.values())
    else:
        holders = list((attributes_of(value, kind) or {}).values())[:64]
    return [held for held in holders if type(held) in (types.FunctionType, types.MethodType, functools.partial)]


_READERS: dict[type, Callable[[Any], list[Any]]] = {
    types.FunctionType: lambda value: [*_cells(value), *(value.__defaults__ or ()), *value.__dict__.values()],
    types.MethodType: lambda value: [value.__func__, value.__self__],
    functools.partial: lambda value: [value.func, *value.args, *value.keywords.values()],
    classmethod: lambda value: [value.__func__],
    staticmethod: lambda value: [value.__func__],
    property: lambda value: [part for part in (value.fget, value.fset, value.fdel) if part is not None],
    functools.cached_property: lambda value: [value.func],
}
