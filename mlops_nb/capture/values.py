"""Digests of values that mean the same in every process: what a slice that runs again must reproduce.

A digest depends on the value only: no address, no hash seed, no memory layout. Where a value cannot be told so, there is none.
No code of the user's classes runs here (see `capture.fingerprint`); libraries' own methods do.
"""

import array
import collections
import datetime as dt
import decimal
import enum
import functools
import marshal
import pathlib
import random
import re
import sys
import types
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import xxhash

from mlops_nb.capture.kinds import attributes_of, bases_of, entries_of, module_of
from mlops_nb.capture.library_values import LIBRARIES, Untold, check_plain

BUDGET = 1 << 20
NODE_COST = 512  # bytes of the budget that a container or instance takes besides its content: about 3 µs
ELEMENT_COST = 32  # the same for an element of a container: about 0.1 µs
MAX_DEPTH = 80
LEAST = 48  # bytes that the smallest of elements is reckoned with

_FORMAT = 2  # of marshal: the last without references, which depend on how often an object is used
_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_FIXED = frozenset({type(None), bool, float, complex, type(...)})  # scalars of one size
# Made anew by the interpreter or by `@dataclass`, or a place in memory: no part of what a class is.
_NOT_OF_A_CLASS = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__annotations__"}
    | {"__annotate__", "__annotate_func__", "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__", "__match_args__"}
    | {"_abc_impl", "__abstractmethods__", "__orig_bases__", "__parameters__"}
)
# Nothing to compare: windows onto the machine, the screen and other threads.
_OPAQUE = frozenset(
    {"matplotlib", "IPython", "ipykernel", "ipywidgets", "traitlets", "threading", "_thread", "concurrent", "asyncio", "logging", "socket"}
    | {"sqlite3", "sqlalchemy", "duckdb", "weakref", "_io", "io", "torch", "tensorflow", "jax", "mlops_nb"}
)
_QUALIFIED_NAME = type.__dict__["__qualname__"].__get__


def value_digest(value: Any, *, budget: int = BUDGET) -> str:
    """16 hex characters that equal values have in common in every process; '' where that cannot be told, or not within `budget` bytes.

    A byte of an array or frame costs a small part of one of the budget. The order of a dict counts, that of a set does not; types count
    (`1`, `1.0` and `True` differ), so does the sign of zero.

    >>> value_digest({"a": [1, 2]}) == value_digest({"a": [1, 2]}), value_digest([1]) == value_digest((1,)), value_digest(object())
    (True, False, '')
    """
    try:
        return xxhash.xxh3_64_hexdigest(_Walk(budget).encode(value, 0))
    except (Untold, RuntimeError, AttributeError):  # changed by a thread meanwhile; a library whose insides are others
        return ""


Reader = Callable[["_Walk", Any, int], list[bytes]]


class _Walk:
    """One walk over a value within a budget: each object becomes some bytes, containers a digest of their parts'."""

    __slots__ = ("above", "alive", "done", "left")

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.above: dict[int, int] = {}  # containers that the walk is in -> depth
        self.done: dict[int, bytes] = {}
        self.alive: list[Any] = []  # those in `done`, lest an id is given to another object

    def encode(self, value: Any, depth: int) -> bytes:
        """The bytes that stand for `value`. Raises Untold."""
        kind = type(value)
        if kind in _SCALARS:
            return self.scalar(value, kind)
        identity = id(value)
        if found := self.done.get(identity):
            return found
        if identity in self.above:
            return b"^%d;" % (depth - self.above[identity])
        self.spend(NODE_COST)
        if depth > MAX_DEPTH:
            raise Untold
        self.above[identity] = depth
        reader = _READERS.get(kind)
        parts = reader(self, value, depth + 1) if reader else self.other(value, kind, depth + 1)
        del self.above[identity]
        self.alive.append(value)
        self.done[identity] = found = b"#" + xxhash.xxh3_64_digest(b"".join((name_of(kind), *parts)))
        return found

    def spend(self, size: int) -> None:
        """Take `size` bytes off the budget. Raises Untold where it is used up."""
        self.left -= size
        if self.left < 0:
            raise Untold

    def check(self, size: int) -> None:
        """Raises Untold where `size` bytes are not left, before anything is copied."""
        if size > self.left:
            raise Untold

    def scalar(self, value: Any, kind: type) -> bytes:
        """A scalar of an exact built-in type."""
        if kind is float and value != value:  # noqa: PLR0124 (one NaN)
            return b"nan"
        if kind not in _FIXED:
            self.spend(max(sys.getsizeof(value) - LEAST, 0))
        return marshal.dumps(value, _FORMAT)

    # --- built-in containers ---

    def items(self, values: list[Any], depth: int) -> list[bytes]:
        """Elements in order; scalars alone are written at once, at the speed of C."""
        self.spend(ELEMENT_COST * len(values))
        kinds = set(map(type, values))
        if not kinds <= _SCALARS:
            return [self.encode(value, depth) for value in values]
        if not kinds <= _FIXED:
            self.spend(max(sum(map(sys.getsizeof, values)) - LEAST * len(values), 0))
        return [b"*", marshal.dumps(values, _FORMAT)]

    def list_(self, value: list[Any], depth: int) -> list[bytes]:
        self.check(ELEMENT_COST * list.__len__(value))
        return self.items(list.__getitem__(value, slice(None)), depth)

    def tuple_(self, value: tuple[Any, ...], depth: int) -> list[bytes]:
        return self.items(list(tuple.__iter__(value)), depth)

    def dict_(self, value: dict[Any, Any], depth: int) -> list[bytes]:
        self.check(2 * ELEMENT_COST * dict.__len__(value))
        pairs = list(dict.items(value))
        return self.pairs(pairs, depth)

    def pairs(self, pairs: list[tuple[Any, Any]], depth: int) -> list[bytes]:
        """Keys in order, then what they stand for."""
        return [*self.items([key for key, _ in pairs], depth), b":", *self.items([item for _, item in pairs], depth)]

    def ordered(self, value: "collections.OrderedDict[Any, Any]", depth: int) -> list[bytes]:
        found = {id(key): item for key, item in dict.items(value)}
        keys = list(collections.OrderedDict.__iter__(value))
        return self.pairs([(key, found[id(key)]) for key in keys], depth)

    def set_(self, value: set[Any], depth: int) -> list[bytes]:
        return self.unordered(set.__iter__(value), set.__len__(value), depth)

    def frozenset_(self, value: frozenset[Any], depth: int) -> list[bytes]:
        return self.unordered(frozenset.__iter__(value), frozenset.__len__(value), depth)

    def unordered(self, values: Iterable[Any], size: int, depth: int) -> list[bytes]:
        self.spend(ELEMENT_COST * size)
        held = list(values)
        if set(map(type, held)) <= _SCALARS:
            self.spend(max(sum(map(sys.getsizeof, held)) - LEAST * size, 0))
            return [b"*", marshal.dumps(frozenset(held), _FORMAT)]  # in the order of their bytes
        return sorted(self.encode(value, depth) for value in held)

    def deque_(self, value: "collections.deque[Any]", depth: int) -> list[bytes]:
        self.check(ELEMENT_COST * collections.deque.__len__(value))
        return [b"%d" % (collections.deque.maxlen.__get__(value) or -1), *self.items(list(collections.deque.__iter__(value)), depth)]

    def raw(self, value: Any, depth: int) -> list[bytes]:
        view = memoryview(value)
        return [view.format.encode(), self.encode(view.shape, depth), *self.buffer(view)]

    def buffer(self, view: memoryview) -> list[bytes]:
        """Bytes as they lie there."""
        self.spend(view.nbytes)
        return [xxhash.xxh3_64_digest(view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes())]

    def each(self, values: Iterable[Any], depth: int) -> list[bytes]:
        """Several objects one after the other."""
        return [self.encode(value, depth) for value in values]

    # --- code ---

    def function(self, value: types.FunctionType, depth: int) -> list[bytes]:
        """A function of the notebook by its code, defaults and closure, a library's by its name (and what it closes over)."""
        home = value.__globals__.get("__name__")
        code = value.__code__
        parts = [self.encode(home if type(home) is str else "", depth), self.encode(code.co_qualname, depth)]
        if home != "__main__" and "<" not in code.co_qualname:
            return parts
        parts += self.code(code, depth)
        parts += self.each((value.__defaults__, value.__kwdefaults__), depth)
        for cell in value.__closure__ or ():
            try:
                parts.append(self.encode(cell.cell_contents, depth))
            except ValueError:  # not bound yet
                parts.append(b"-")
        return [*parts, self.encode(value.__dict__, depth)]

    def code(self, code: types.CodeType, depth: int) -> list[bytes]:
        """Bytecode, constants and names; neither file nor lines."""
        self.spend(len(code.co_code))
        names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags)
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        return [marshal.dumps((code.co_code, code.co_exceptiontable, names, counts), _FORMAT), *self.items(list(code.co_consts), depth)]

    def method(self, value: types.MethodType, depth: int) -> list[bytes]:
        return self.each((value.__func__, value.__self__), depth)

    def builtin(self, value: types.BuiltinFunctionType, depth: int) -> list[bytes]:
        owner = value.__self__
        return self.each((value.__qualname__, owner if type(owner) is not types.ModuleType else owner.__name__), depth)

    def wrapper(self, value: Any, depth: int) -> list[bytes]:
        return self.each((value.__func__,), depth)

    def property_(self, value: property, depth: int) -> list[bytes]:
        return self.each((value.fget, value.fset, value.fdel), depth)

    def descriptor(self, value: Any, depth: int) -> list[bytes]:
        return self.each((value.__objclass__, value.__name__), depth)

    def module(self, value: types.ModuleType, depth: int) -> list[bytes]:
        return self.each((object.__getattribute__(value, "__dict__").get("__name__"),), depth)

    def class_(self, value: type, depth: int) -> list[bytes]:
        """A class of the notebook by its name, bases and attributes, another by its name."""
        if module_of(value) != "__main__":
            return [name_of(value)]
        bases = bases_of(value)[1:]
        own = [(name, entry) for name, entry in entries_of(value).items() if name not in _NOT_OF_A_CLASS]
        own = [(name, entry) for name, entry in own if type(entry) not in {types.MemberDescriptorType, types.GetSetDescriptorType}]
        return [name_of(value), *self.each(bases, depth), *self.pairs(own, depth)]

    # --- instances ---

    def other(self, value: Any, kind: type, depth: int) -> list[bytes]:
        """Subclasses of built-in types, objects of known libraries, and whatever keeps all it has in attributes."""
        for base in bases_of(kind):
            home = module_of(base).partition(".")[0]
            if home in _OPAQUE:
                raise Untold
            if library := LIBRARIES.get(home):
                return library(self, value, kind, depth)
            if base is enum.Enum:
                return self.member(value, kind, depth)
            if reader := _BASES.get(base):
                return [*reader(self, value, depth), *self.attributes(value, kind, depth)]
        check_plain(kind)
        return self.attributes(value, kind, depth)

    def attributes(self, value: Any, kind: type, depth: int, *, without: frozenset[str] = frozenset()) -> list[bytes]:
        """What an instance keeps in `__dict__` and slots, read past properties and `__getattr__`."""
        parts = []
        state = attributes_of(value, kind)
        if state:
            parts += self.pairs([(name, item) for name, item in dict.items(state) if name not in without], depth)
        for base in bases_of(kind):
            for name, slot in entries_of(base).items():
                if type(slot) is types.MemberDescriptorType and module_of(base) != "builtins":
                    parts.append(self.slot(name, slot, value, depth))
        return parts

    def slot(self, name: str, slot: Any, value: Any, depth: int) -> bytes:
        try:
            item = slot.__get__(value, type(value))
        except AttributeError:
            return b"-"
        return name.encode() + b"=" + self.encode(item, depth)

    def member(self, value: Any, kind: type, depth: int) -> list[bytes]:
        """A member of an enumeration; some are numbers too, and all know their class."""
        state = attributes_of(value, kind) or {}
        return self.each((state.get("_name_"), state.get("_value_")), depth)

    def namespace(self, value: types.SimpleNamespace, depth: int) -> list[bytes]:
        return self.dict_(object.__getattribute__(value, "__dict__"), depth)

    def partial(self, value: "functools.partial[Any]", depth: int) -> list[bytes]:
        kind = functools.partial
        slots = (kind.__dict__[name].__get__(value) for name in ("func", "args", "keywords"))
        return self.each(slots, depth)

    # --- small values of the standard library ---

    def text(self, value: Any, _depth: int) -> list[bytes]:
        return [repr(value).encode()]

    def moment(self, value: "dt.datetime | dt.time", depth: int) -> list[bytes]:
        zone = value.tzinfo
        return [repr(value.replace(tzinfo=None)).encode(), self.encode(zone, depth)]

    def zone(self, value: zoneinfo.ZoneInfo, depth: int) -> list[bytes]:
        return self.each((value.key,), depth)

    def path(self, value: pathlib.PurePath, _depth: int) -> list[bytes]:
        return [str(type(value)(value)).encode("utf-8", "surrogateescape")]  # of a copy: a path remembers its text once asked

    def pattern(self, value: "re.Pattern[Any]", depth: int) -> list[bytes]:
        return self.each((value.pattern, value.flags), depth)

    def triple(self, value: Any, depth: int) -> list[bytes]:
        return self.each((value.start, value.stop, value.step), depth)

    def generator(self, value: random.Random, depth: int) -> list[bytes]:
        state = random.Random.getstate(value)
        return self.each((state,), depth)

    def mapping(self, value: "types.MappingProxyType[Any, Any]", depth: int) -> list[bytes]:
        held = value | {}
        if type(held) is not dict:
            raise Untold
        return self.dict_(held, depth)


def name_of(kind: type) -> bytes:
    """A class's module and qualified name."""
    return f"{module_of(kind)}.{_QUALIFIED_NAME(kind)};".encode("utf-8", "surrogatepass")


def _as(exact: Callable[[Any], Any]) -> Reader:
    """How to read an instance of a subclass of a scalar type, by a method that makes it an exact one."""

    def reader(walk: _Walk, value: Any, depth: int) -> list[bytes]:
        return [walk.encode(exact(value), depth)]

    return reader


_READERS: Mapping[type, Reader] = {
    list: _Walk.list_,
    tuple: _Walk.tuple_,
    dict: _Walk.dict_,
    set: _Walk.set_,
    frozenset: _Walk.frozenset_,
    collections.OrderedDict: _Walk.ordered,
    collections.deque: _Walk.deque_,
    bytearray: _Walk.raw,
    memoryview: _Walk.raw,
    array.array: _Walk.raw,
    range: _Walk.triple,
    slice: _Walk.triple,
    type: _Walk.class_,
    types.FunctionType: _Walk.function,
    types.CodeType: _Walk.code,
    types.MethodType: _Walk.method,
    types.BuiltinFunctionType: _Walk.builtin,
    types.ModuleType: _Walk.module,
    types.WrapperDescriptorType: _Walk.descriptor,
    types.MethodDescriptorType: _Walk.descriptor,
    types.ClassMethodDescriptorType: _Walk.descriptor,
    types.MemberDescriptorType: _Walk.descriptor,
    types.GetSetDescriptorType: _Walk.descriptor,
    types.MappingProxyType: _Walk.mapping,
    types.SimpleNamespace: _Walk.namespace,
    staticmethod: _Walk.wrapper,
    classmethod: _Walk.wrapper,
    property: _Walk.property_,
    functools.partial: _Walk.partial,
    type(NotImplemented): _Walk.text,
    dt.datetime: _Walk.moment,
    dt.time: _Walk.moment,
    dt.date: _Walk.text,
    dt.timedelta: _Walk.text,
    dt.timezone: _Walk.text,
    zoneinfo.ZoneInfo: _Walk.zone,
    decimal.Decimal: _Walk.text,
    pathlib.PosixPath: _Walk.path,
    pathlib.WindowsPath: _Walk.path,
    pathlib.PurePosixPath: _Walk.path,
    pathlib.PureWindowsPath: _Walk.path,
    re.Pattern: _Walk.pattern,
}
# Instances of subclasses are read as these, besides their attributes.
_BASES: Mapping[type, Reader] = {
    list: _Walk.list_,
    tuple: _Walk.tuple_,
    collections.OrderedDict: _Walk.ordered,
    dict: _Walk.dict_,
    set: _Walk.set_,
    frozenset: _Walk.frozenset_,
    collections.deque: _Walk.deque_,
    int: _as(int.__pos__),
    float: _as(float.__pos__),
    complex: _as(complex.__pos__),
    str: _as(str.__str__),
    bytes: _as(lambda value: bytes.__getitem__(value, slice(None))),
    type: _Walk.class_,
    random.Random: _Walk.generator,
}
