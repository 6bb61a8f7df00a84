"""Bounded fingerprints of values: equal before and after means unchanged, as far as was looked.

No code of the user's classes runs here: types are asked by `type(x)`, containers are read through the built-in types' own methods.
"""

import array
import collections
import functools
import gc
import itertools
import operator
import pickle
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import xxhash

from mlops_nb.capture.kinds import (
    ATOMS,
    COUNTED,
    DRAWN_FROM,
    HEAP_TYPE,
    SCALARS,
    attributes_of,
    bases_of,
    closure_of,
    entries_of,
    flags_of,
    is_local,
    is_own,
    is_plain,
    module_of,
    namespace_of,
    offset_of,
    slots_of,
)

_dumps = pickle.dumps  # the user may patch it
_NO_MODULE = types.ModuleType("")
MAX_BYTES = 4 << 20
MAX_NODES = 1000
MAX_ITEMS = 512
MAX_DEPTH = 5
_CHUNK = 2 << 10
_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`digest` of what was looked at; `whole` when that was everything; `ids` of the objects on the way, to find aliases.

    `moves`: some part, such as an iterator or an open file, may change by being read, and would not show it. `codes`: code of
    the notebook on the way, that may run when the value is used, and whether it is a
    method's.
    """

    digest: int
    whole: bool
    ids: frozenset[int]
    moves: bool = False
    codes: tuple[tuple[types.CodeType, bool], ...] = ()


def fingerprint(value: Any) -> Fingerprint:
    """The fingerprint of any value in about a millisecond or less; an object's identity counts.

    >>> x = [1, 2]
    >>> before = fingerprint(x)
    >>> before == fingerprint(x), x.append(3), before == fingerprint(x)
    (True, None, False)
    """
    walk = _Walk()
    walk.visit(value, 0)
    return Fingerprint(hash(tuple(walk.parts)), walk.whole, frozenset(walk.seen), walk.moves, tuple(walk.codes))


def reach(value: Any) -> frozenset[int]:
    """The `ids` of the fingerprint alone, without a look at contents that hold no objects."""
    walk = _Walk(contents=False)
    walk.visit(value, 0)
    return frozenset(walk.seen)


class _Walk:
    """One bounded walk over a value; `parts` are the numbers that make up the digest."""

    def __init__(self, *, contents: bool = True) -> None:
        self.contents = contents
        self.parts: list[int] = []
        self.seen: set[int] = set()
        self.codes: list[tuple[types.CodeType, bool]] = []
        self.classes = 0
        self.whole = True
        self.moves = False
        self.nodes = MAX_NODES
        self.bytes = MAX_BYTES

    def visit(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in SCALARS:
            self.parts.append(hash((id(kind), value)))
            return
        self.parts.append(id(value))
        if kind in ATOMS or id(value) in self.seen:
            return
        self.nodes -= 1
        if depth > MAX_DEPTH or self.nodes < 0:
            self.whole = False
            return
        self.seen.add(id(value))
        self._content(value, kind, depth)

    def _content(self, value: Any, kind: type, depth: int) -> None:
        for base in bases_of(kind):
            if reader := _READERS.get(base):
                reader(self, value, depth)
                if base is not kind:
                    self.instance(value, kind, depth)
                return
        modules = tuple(map(module_of, bases_of(kind)))
        for prefix, library in _LIBRARIES:
            if any(module.startswith(prefix) for module in modules):
                if library(self, value, kind, depth):
                    return
                break
        if not self.instance(value, kind, depth):
            self.opaque(value, kind, depth)
        elif not flags_of(kind) & HEAP_TYPE and not offset_of(kind):
            self.whole &= kind is types.SimpleNamespace  # what a type in C shows of its members is not all there is

    # --- built-in containers ---

    def items(self, values: list[Any], depth: int) -> None:
        """Elements in order; scalars alone are hashed at once, at the speed of C."""
        kinds = set(map(type, values))
        if kinds <= SCALARS:
            self.parts.append(hash((tuple(map(id, map(type, values))) if len(kinds) > 1 else id(next(iter(kinds), None)), tuple(values))))
            return
        for value in values:
            self.visit(value, depth + 1)

    def list_(self, value: list[Any], depth: int) -> None:
        size = list.__len__(value)
        self.parts.append(size)
        self.items(_sampled(list.__getitem__, value, size), depth)
        self.whole &= size <= MAX_ITEMS

    def tuple_(self, value: tuple[Any, ...], depth: int) -> None:
        size = tuple.__len__(value)
        self.items(_sampled(tuple.__getitem__, value, size), depth)
        self.whole &= size <= MAX_ITEMS

    def dict_(self, value: dict[Any, Any], depth: int) -> None:
        size = dict.__len__(value)
        self.parts.append(size)
        pairs = _ends(dict.items(value), size)
        self.items([key for key, _ in pairs], depth)
        self.items([item for _, item in pairs], depth)
        self.whole &= size <= MAX_ITEMS

    def set_(self, value: set[Any], depth: int) -> None:
        self._unordered(itertools.islice(set.__iter__(value), MAX_ITEMS), set.__len__(value), depth)

    def frozenset_(self, value: frozenset[Any], depth: int) -> None:
        self._unordered(itertools.islice(frozenset.__iter__(value), MAX_ITEMS), frozenset.__len__(value), depth)

    def _unordered(self, values: Iterable[Any], size: int, depth: int) -> None:
        self.parts.append(size)
        self.items(list(values), depth)
        self.whole &= size <= MAX_ITEMS

    def deque_(self, value: "collections.deque[Any]", depth: int) -> None:
        size = collections.deque.__len__(value)
        self.parts.append(size)
        half = MAX_ITEMS // 2
        walk = collections.deque.__iter__(value), collections.deque.__reversed__(value)
        self.items(list(itertools.islice(walk[0], MAX_ITEMS if size <= MAX_ITEMS else half)), depth)
        self.items(list(itertools.islice(walk[1], 0 if size <= MAX_ITEMS else half)), depth)
        self.whole &= size <= MAX_ITEMS

    def raw(self, value: bytearray, _depth: int) -> None:
        self.buffer(memoryview(value))

    def view(self, value: memoryview, depth: int) -> None:
        self.visit(value.obj, depth + 1)

    def ordered(self, value: "collections.OrderedDict[Any, Any]", depth: int) -> None:
        """Its order is not the one that `dict.items` shows."""
        self.dict_(value, depth)
        self.items(list(itertools.islice(collections.OrderedDict.__iter__(value), MAX_ITEMS)), depth)

    def referred(self, value: "weakref.ref[Any]", depth: int) -> None:
        target = weakref.ref.__call__(value)
        if target is not None:
            self.visit(target, depth + 1)

    def class_(self, value: type, depth: int) -> None:
        if module_of(value) == "__main__":
            own = entries_of(value).items()
            for base in bases_of(value)[1:]:
                if module_of(base) == "__main__":
                    self.visit(base, depth + 1)
            self.classes += 1
            self.dict_({name: entry for name, entry in own if type(entry) is types.FunctionType or not name.startswith(("__", "_abc_"))}, depth)
            self.classes -= 1
            return
        self.whole &= not flags_of(value) & HEAP_TYPE  # a class made by Python code may be given other attributes

    # --- code ---

    def function(self, value: types.FunctionType, depth: int) -> None:
        """What a function of the user's keeps: closure, defaults, attributes, and the variables of its module."""
        if not is_own(value):
            return
        space = value.__globals__
        if space.get("__name__") == "__main__":
            self.codes.append((value.__code__, self.classes > 0))
        elif id(space) not in self.seen and is_local(sys.modules.get(str(space.get("__name__")), _NO_MODULE)):
            self.variables(space, depth)
        self.seen.update(map(id, value.__closure__ or ()))  # a variable that other functions close over too
        self.items(closure_of(value), depth)
        self.items([*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *value.__dict__.values()], depth)

    def variables(self, space: dict[str, Any], depth: int) -> None:
        """The variables of a module of the user's."""
        self.seen.add(id(space))
        self.dict_({name: value for name, value in space.items() if not name.startswith("__")}, depth)

    def module(self, value: types.ModuleType, depth: int) -> None:
        if is_local(value):
            self.variables(namespace_of(value), depth)

    def builtin(self, value: types.BuiltinFunctionType, depth: int) -> None:
        """`add = xs.append` holds the list."""
        if not is_plain(value):
            self.visit(value.__self__, depth + 1)

    def method(self, value: types.MethodType, depth: int) -> None:
        self.items([value.__self__, value.__func__], depth)

    def partial(self, value: "functools.partial[Any]", depth: int) -> None:
        self.items([value.func, *value.args, *value.keywords.values()], depth)

    def wrapped(self, value: Any, depth: int) -> None:
        self.items([part for part in gc.get_referents(value) if type(part) is types.FunctionType], depth)

    def generator(self, value: Any, depth: int) -> None:
        """Where a generator or coroutine stands, and its variables."""
        frame = getattr(value, {types.GeneratorType: "gi_frame", types.CoroutineType: "cr_frame"}.get(type(value), "ag_frame"))
        self.parts.append(-1 if frame is None else frame.f_lasti)
        if frame is not None:
            if frame.f_globals.get("__name__") == "__main__":
                self.codes.append((frame.f_code, False))
            self.items([part for part in gc.get_referents(value) if type(part) is not types.CodeType][:MAX_ITEMS], depth)

    def opaque(self, value: Any, kind: type, depth: int) -> None:
        """Objects of C code: what they refer to, and for iterators how far they are."""
        held = [part for part in gc.get_referents(value) if not issubclass(type(part), type)]
        self.items(held[:MAX_ITEMS], depth)
        if kind in COUNTED:
            self.parts.append(operator.length_hint(value, -1))
            return
        self.whole = False
        self.moves |= module_of(kind).partition(".")[0] in DRAWN_FROM or any("__next__" in entries_of(base) for base in bases_of(kind))

    # --- instances ---

    def instance(self, value: Any, kind: type, depth: int) -> bool:
        """The attributes in `__dict__` and slots; was there any place to look at?"""
        state = attributes_of(value, kind)
        looked = state is not None
        if module_of(kind) == "__main__":
            self.visit(kind, depth + 1)
        elif module_of(kind).partition(".")[0] in DRAWN_FROM:
            self.moves, self.whole = True, False
        if state:
            self.dict_(state, depth)
        for slot in slots_of(kind):
            looked = True
            try:
                self.visit(slot.__get__(value, kind), depth + 1)
            except AttributeError:
                self.parts.append(0)
        return looked

    # --- bytes ---

    def made(self, state: Callable[[], Any]) -> None:
        """Plain data made for this look, whose identity says nothing."""
        if self.contents:
            self.parts.append(hash(_dumps(state())))

    def buffer(self, view: memoryview) -> None:
        """Bytes as one hash, sampled where the budget does not reach."""
        if not view.nbytes or not self.contents:
            return
        flat = view.cast("B") if view.contiguous else memoryview(view.tobytes() if view.nbytes <= self.bytes else b"")
        if view.nbytes <= self.bytes:
            self.bytes -= view.nbytes
            self.parts.append(xxhash.xxh3_64_intdigest(flat))
            return
        self.whole = False
        step = max((len(flat) - _CHUNK) // _CHUNKS, 1)
        state = xxhash.xxh3_64()
        for start in range(0, max(len(flat) - _CHUNK, 1), step):
            state.update(flat[start : start + _CHUNK])
        state.update(flat[-_CHUNK:])
        self.parts.append(state.intdigest())

    def array(self, value: Any, depth: int) -> None:
        """A numpy array: its shape, type and bytes, or its elements where it holds objects."""
        numpy = sys.modules["numpy"]
        plain = numpy.ndarray.view(value, numpy.ndarray)
        self.parts.append(hash((plain.shape, plain.dtype.str)))
        base = numpy.ndarray.base.__get__(value)
        self.seen.update(map(id, (base, plain.base) if type(base) is not memoryview else (base, base.obj)) if base is not None else ())
        if not self.contents and not plain.dtype.hasobject:
            return
        if plain.dtype.hasobject:
            sample = plain.reshape(-1)[:MAX_ITEMS].tolist() if plain.flags.c_contiguous else plain.ravel(order="K")[:MAX_ITEMS].tolist()
            self.items(sample, depth)
            self.whole &= plain.size <= MAX_ITEMS
            return
        if plain.flags.f_contiguous and not plain.flags.c_contiguous:
            plain = plain.T
        if not plain.flags.c_contiguous and plain.nbytes > self.bytes:
            self.whole = False
            flat = plain.flat
            plain = flat[:: max(plain.size // (_CHUNK * 4), 1)]
        self.buffer(memoryview(numpy.ascontiguousarray(plain).view(numpy.uint8).reshape(-1)) if plain.size else memoryview(b""))


def _sampled(get: Callable[[Any, Any], Any], value: Any, size: int) -> list[Any]:
    """All elements of a short sequence; of a long one both ends and some between."""
    if size <= MAX_ITEMS:
        return list(get(value, slice(None)))
    quarter = MAX_ITEMS // 4
    inner = get(value, slice(quarter, -quarter, max((size - 2 * quarter) // (2 * quarter), 1)))
    return [*get(value, slice(quarter)), *inner, *get(value, slice(-quarter, None))]


def _ends(items: Iterable[Any], size: int) -> list[Any]:
    if size <= MAX_ITEMS:
        return list(items)
    half = MAX_ITEMS // 2
    return [*itertools.islice(items, half), *itertools.islice(reversed(items), half)]  # type: ignore[call-overload]


# --- libraries, where they are loaded --------------------------------------------------------------------------


def _numpy(walk: _Walk, value: Any, kind: type, depth: int) -> bool:
    numpy = sys.modules["numpy"]
    if issubclass(kind, numpy.ndarray):
        walk.array(value, depth)
        if kind is not numpy.ndarray:
            walk.instance(value, kind, depth)
        return True
    if kind is numpy.random.Generator:
        walk.seen.add(id(value.bit_generator))
        walk.made(lambda: value.bit_generator.state)
        return True
    if kind is numpy.random.RandomState:
        walk.made(lambda: value.get_state(legacy=False))
        return True
    if kind.__name__ == "SeedSequence":
        walk.made(lambda: value.n_children_spawned)
        return True
    if issubclass(kind, numpy.generic):
        walk.parts.append(hash(numpy.generic.tobytes(value)))
        return True
    return False


def _pandas(walk: _Walk, value: Any, kind: type, depth: int) -> bool:
    pandas = sys.modules["pandas"]
    if issubclass(kind, pandas.DataFrame | pandas.Series):
        manager = object.__getattribute__(value, "_mgr")
        for axis in manager.axes:
            walk.parts.append(hash((id(axis), len(axis))))
            walk.visit(axis.name, depth + 1)
        for block in manager.blocks:
            walk.visit(block.values, depth + 1)
        walk.visit(object.__getattribute__(value, "_attrs"), depth + 1)
        if issubclass(kind, pandas.Series):
            walk.visit(object.__getattribute__(value, "_name"), depth + 1)
        return True
    if issubclass(kind, pandas.Index):
        walk.visit(value.name, depth + 1)
        return True
    if not module_of(kind).startswith("pandas."):
        return False
    arrow = getattr(value, "_pa_array", None)
    if arrow is not None:
        _arrow_buffers(walk, arrow)
        return True
    backing = getattr(value, "_ndarray", None)
    if backing is not None:
        walk.visit(backing, depth + 1)
        return True
    return False


def _arrow_buffers(walk: _Walk, chunked: Any) -> None:
    """Arrow data never changes in place, but the array that holds it may come to hold other data."""
    chunks = chunked.chunks
    walk.whole &= len(chunks) <= MAX_ITEMS
    for chunk in chunks[:MAX_ITEMS]:
        walk.parts.append(hash((chunk.offset, len(chunk))))
        for buffer in chunk.buffers():
            if buffer is not None:
                walk.buffer(memoryview(buffer))


def _ctypes(walk: _Walk, value: Any, _kind: type, _depth: int) -> bool:
    walk.buffer(memoryview(value).cast("B"))
    return True


def _random(walk: _Walk, value: Any, kind: type, _depth: int) -> bool:
    if kind is not random.Random:
        return False
    walk.parts.append(hash(random.Random.getstate(value)))
    return True


_READERS: dict[type, Callable[[_Walk, Any, int], None]] = {
    list: _Walk.list_,
    tuple: _Walk.tuple_,
    dict: _Walk.dict_,
    set: _Walk.set_,
    frozenset: _Walk.frozenset_,
    collections.deque: _Walk.deque_,
    bytearray: _Walk.raw,
    memoryview: _Walk.view,
    collections.OrderedDict: _Walk.ordered,
    weakref.ref: _Walk.referred,
    array.array: _Walk.raw,
    type: _Walk.class_,
    types.FunctionType: _Walk.function,
    types.ModuleType: _Walk.module,
    types.BuiltinFunctionType: _Walk.builtin,
    types.MethodType: _Walk.method,
    functools.partial: _Walk.partial,
    type(functools.lru_cache(len)): _Walk.wrapped,
    staticmethod: _Walk.wrapped,
    classmethod: _Walk.wrapped,
    property: _Walk.wrapped,
    types.GeneratorType: _Walk.generator,
    types.CoroutineType: _Walk.generator,
    types.AsyncGeneratorType: _Walk.generator,
}
_LIBRARIES: tuple[tuple[str, Callable[[_Walk, Any, type, int], bool]], ...] = (
    ("numpy", _numpy),
    ("pandas", _pandas),
    ("random", _random),
    ("_ctypes", _ctypes),
)
