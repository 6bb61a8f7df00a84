"""The global names that a value's code reads and binds: functions, methods, partials, classes and instances made in the notebook."""

import dis
import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from mlops_nb.capture.kinds import attributes_of, bases_of, closure_of, entries_of, module_of
from mlops_nb.notebook.scopes import CHANGES_FIRST, IN_PLACE

MAX_FUNCTIONS = 200
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_BINDS = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_STORES = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_ATTR", "DELETE_ATTR"})
_CHANGING = IN_PLACE | CHANGES_FIRST
_DYNAMIC = frozenset({"exec", "eval", "run_cell", "run_line_magic", "run_cell_magic", "ev", "ex"})
_SPACES = frozenset({"globals", "user_ns", "user_global_ns", "__main__", "__globals__", "f_globals"})
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class CodeNames:
    """Of one code object: globals read before its first branch, read anywhere, bound; environment variables it names.

    `attributes`: the names it looks up, on objects too. `changes`: it sets items or attributes, or calls what changes objects in place.
    """

    first: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    changes: bool = False


@dataclass(slots=True)
class Resolved:
    """Names behind what a cell uses: `certain` when a call is sure to read them, else only in `reads`.

    `changes`: some of the code changes objects in place; `changing` are the globals that such code reads. `wanted`: the attributes that
    were known to be looked up ("*": any); `met_class`: there was a class of the notebook, so that they mattered.
    """

    certain: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    changing: set[str] = field(default_factory=set)
    changes: bool = False
    wanted: set[str] = field(default_factory=set)
    met_class: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether code that may run here runs text as code."""
        return not _DYNAMIC.isdisjoint(self.attributes)

    @property
    def whole(self) -> bool:
        """Whether code that may run here may read or bind any global."""
        return not _SPACES.isdisjoint(self.attributes)


_known: "WeakKeyDictionary[types.CodeType, CodeNames]" = WeakKeyDictionary()


def names_of(code: types.CodeType) -> CodeNames:
    """The names in a code object and those inside it; remembered."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = _read_code(code)
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """What a cell asks for: the names it `uses` and `calls`, the `attributes` it looks up, and the names it hands `out` to functions.

    Of an instance of the notebook's classes only the methods that are looked up somewhere can run, and its special methods; of one that is
    handed out, or whose class has a library's class among its bases, any.
    """

    uses: frozenset[str]
    calls: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    out: frozenset[str] = frozenset()


def resolve(asked: Asked, namespace: dict[str, Any]) -> Resolved:
    """What the code behind `asked.uses` takes from `namespace`, through other functions too; `asked.calls` are sure to be called."""
    wanted = set(asked.attributes)
    while True:
        found = Resolved(wanted=wanted | ({"*"} if "getattr" in wanted else set()))
        for name in sorted(name for name in asked.uses if name in namespace):
            _follow(found, [(name, name in asked.calls)], namespace, every=name in asked.out)
        if not found.met_class or found.attributes <= wanted:
            return found
        wanted |= found.attributes


def resolve_codes(found: Resolved, codes: Iterable[types.CodeType], namespace: dict[str, Any]) -> set[str]:
    """Take in what code found inside objects may read and bind; the names that are new."""
    known = set(found.reads)
    for code in codes:
        take_in(found, code, namespace)
    return found.reads - known


def take_in(found: Resolved, code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Take in the names of code that ran, and of the functions behind them."""
    _follow(found, [(name, False) for name in sorted(_take_in(found, names_of(code), namespace))], namespace)


def _follow(found: Resolved, todo: list[tuple[str, bool]], namespace: dict[str, Any], *, every: bool = False) -> None:
    """Follow names to code and on to the names it reads; `every`: all methods of what the first ones are bound to count."""
    seen: set[int] = set()
    reader = _Reader(namespace, found, every=every)
    while todo and len(seen) < MAX_FUNCTIONS:
        name, called = todo.pop()
        for code in reader.codes(namespace[name], seen):
            names = names_of(code)
            if called and type(namespace[name]) is types.FunctionType:
                found.certain |= {n for n in names.first if n in namespace}
            todo += [(n, False) for n in sorted(_take_in(found, names, namespace))]


def _take_in(found: Resolved, names: CodeNames, namespace: dict[str, Any]) -> set[str]:
    """Add the names of one code object; those that were not known."""
    reached = {n for n in names.reads if n in namespace}
    new = reached - found.reads
    found.reads |= reached
    found.binds |= names.binds
    found.variables |= names.variables
    found.attributes |= names.attributes
    found.changes |= names.changes
    found.changing |= reached if names.changes else set()
    return new


def _read_code(code: types.CodeType) -> CodeNames:
    first, reads, binds = set(), set(), set()
    branched = False
    attributes = set(code.co_names)
    changes = not _CHANGING.isdisjoint(attributes) or "inplace" in str(code.co_consts)
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in _READS:
            reads.add(instruction.argval)
            if not branched:
                first.add(instruction.argval)
        elif name in _BINDS:
            binds.add(instruction.argval)
            reads |= {instruction.argval} if name == "DELETE_GLOBAL" else set()
        changes = changes or name in _STORES or (name == "BINARY_OP" and instruction.argrepr.endswith("="))
        branched = branched or "JUMP_IF" in name or "_JUMP_FORWARD_IF" in name
    variables = {c for c in code.co_consts if type(c) is str and _VARIABLE.fullmatch(c)} if {"environ", "getenv"} & set(code.co_names) else set()
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            inner = _read_code(constant)
            reads |= inner.reads
            binds |= inner.binds
            variables |= inner.variables
            attributes |= inner.attributes
            changes |= inner.changes
    return CodeNames(
        frozenset(first), frozenset(reads), frozenset(binds), variables=frozenset(variables), attributes=frozenset(attributes), changes=changes
    )


class _Reader:
    """Finds the code objects that may run when a value is used."""

    def __init__(self, namespace: dict[str, Any], found: Resolved, *, every: bool) -> None:
        self.namespace = namespace
        self.found = found
        self.every = every or "*" in found.wanted

    def codes(self, value: Any, seen: set[int]) -> Iterator[types.CodeType]:
        """Each code object once."""
        todo = [value]
        while todo and len(seen) < MAX_FUNCTIONS:
            value = todo.pop()
            if id(value) in seen:
                continue
            if type(value) is types.FunctionType and value.__globals__ is self.namespace:
                yield value.__code__
            parts = self.parts(value)
            if parts or type(value) is types.FunctionType:
                seen.add(id(value))
            todo += parts

    def parts(self, value: Any) -> list[Any]:
        """The values inside a value that may hold code."""
        kind = type(value)
        if reader := _READERS.get(kind):
            return reader(value)
        if issubclass(kind, type):
            return self.methods(value)
        return [kind] if module_of(kind) == "__main__" else _held_functions(value, kind)

    def methods(self, value: type) -> list[Any]:
        """The functions of a class of the notebook and its bases that may be called."""
        bases = bases_of(value)
        own = [base for base in bases if module_of(base) == "__main__"]
        self.found.met_class |= bool(own)
        every = self.every or len(own) + 1 < len(bases)
        return [
            entry
            for base in own
            for name, entry in entries_of(base).items()
            if type(entry) in _METHODS and (every or name in self.found.wanted or name[:2] == "__")
        ]


_METHODS = frozenset({types.FunctionType, classmethod, staticmethod, property})
_METHODS |= {functools.cached_property, functools.partialmethod, functools.singledispatchmethod}


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
    types.FunctionType: lambda value: [*closure_of(value), *(value.__defaults__ or ()), *value.__dict__.values()],
    types.MethodType: lambda value: [value.__func__, value.__self__],
    functools.partial: lambda value: [value.func, *value.args, *value.keywords.values()],
    classmethod: lambda value: [value.__func__],
    staticmethod: lambda value: [value.__func__],
    property: lambda value: [part for part in (value.fget, value.fset, value.fdel) if part is not None],
    functools.cached_property: lambda value: [value.func],
}
