"""Bounded fingerprints of values: equal before and after means unchanged, as far as was looked.

No code of the user's classes runs here: types are asked by `type(x)`, containers are read through the built-in types' own methods.
"""

import collections
import itertools
import pickle
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

MAX_BYTES = 4 << 20
MAX_NODES = 1000
MAX_ITEMS = 512
MAX_DEPTH = 5
_CHUNK = 16 << 10
_CHUNKS = 64

SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)})
# Bound by identity: what they hold does not change in place, or is followed elsewhere.
ATOMS = frozenset(
    {types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType, types.MethodType, types.GetSetDescriptorType}
    | {types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType, property, staticmethod, classmethod}
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`digest` of what was looked at; `whole` when that was everything; `ids` of the objects on the way, to find aliases."""

    digest: int
    whole: bool
    ids: frozenset[int]


def fingerprint(value: Any) -> Fingerprint:
    """The fingerprint of any value in about a millisecond or less; an object's identity counts.

    >>> x = [1, 2]
    >>> before = fingerprint(x)
    >>> before == fingerprint(x), x.append(3), before == fingerprint(x)
    (True, None, False)
    """
    walk = _Walk()
    walk.visit(value, 0)
    return Fingerprint(hash(tuple(walk.parts)), walk.whole, frozenset(walk.seen))


def is_plain(value: Any) -> bool:
    """Whether a value cannot change in place at all."""
    kind = type(value)
    return kind in SCALARS or kind in ATOMS


def holds(value: Any, ids: frozenset[int] | set[int]) -> bool:
    """Whether a container, instance or array view holds one of the objects `ids`, two levels deep."""
    return _holds(value, ids, 2)


def _holds(value: Any, ids: frozenset[int] | set[int], depth: int) -> bool:
    kind = type(value)
    if kind is list or kind is tuple:
        inner = value[:MAX_ITEMS]
    elif kind is dict:
        inner = list(itertools.islice(value.values(), MAX_ITEMS))
    elif kind is getattr(sys.modules.get("numpy"), "ndarray", None):
        return id(value.base) in ids
    elif module_of(kind) == "__main__":
        inner = list((attributes_of(value, kind) or {}).values())[:MAX_ITEMS]
    else:
        return False
    return any(id(item) in ids or (depth > 1 and _holds(item, ids, depth - 1)) for item in inner)


class _Walk:
    """One bounded walk over a value; `parts` are the numbers that make up the digest."""

    def __init__(self) -> None:
        self.parts: list[int] = []
        self.seen: set[int] = set()
        self.whole = True
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
            self.whole = False

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

    def raw(self, value: bytearray | memoryview, _depth: int) -> None:
        self.buffer(memoryview(value))

    def class_(self, value: type, _depth: int) -> None:
        self.whole &= not _FLAGS(value) & _HEAP_TYPE  # a class made by Python code may be given other attributes

    # --- instances ---

    def instance(self, value: Any, kind: type, depth: int) -> bool:
        """The attributes in `__dict__` and slots; was there any place to look at?"""
        state = attributes_of(value, kind)
        looked = state is not None
        if state:
            self.dict_(state, depth)
        for slot in _slots(kind):
            looked = True
            try:
                self.visit(slot.__get__(value, kind), depth + 1)
            except AttributeError:
                self.parts.append(0)
        return looked

    # --- bytes ---

    def made(self, state: Any) -> None:
        """Plain data made for this look, whose identity says nothing."""
        self.parts.append(hash(pickle.dumps(state)))

    def buffer(self, view: memoryview) -> None:
        """Bytes as one hash, sampled where the budget does not reach."""
        if not view.nbytes:
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
        if plain.base is not None:
            self.seen.add(id(plain.base))
            self.seen.add(id(getattr(value, "base", None)) if type(value) is numpy.ndarray else id(plain.base))
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


# A metaclass of the user's may answer for `kind.__module__` and the like; type's own descriptors do not ask it.
_MRO = type.__dict__["__mro__"].__get__
_MODULE = type.__dict__["__module__"].__get__
_OFFSET = type.__dict__["__dictoffset__"].__get__
_DICT = type.__dict__["__dict__"].__get__
_FLAGS = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9


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
    if not _OFFSET(kind):
        return None
    for base in bases_of(kind):
        entry = entries_of(base).get("__dict__")
        if entry is not None:
            state = entry.__get__(value, kind) if type(entry) is types.GetSetDescriptorType else None
            return state if type(state) is dict else None
    return None


def _slots(kind: type) -> Iterator[Any]:
    for base in bases_of(kind):
        if module_of(base) != "builtins":
            yield from (entry for entry in entries_of(base).values() if type(entry) is types.MemberDescriptorType)


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
        walk.made(value.bit_generator.state)
        return True
    if kind is numpy.random.RandomState:
        walk.made(value.get_state(legacy=False))
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
        return True
    if issubclass(kind, pandas.Index):
        walk.visit(value.name, depth + 1)
        return True
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
    memoryview: _Walk.raw,
    type: _Walk.class_,
}
_LIBRARIES: tuple[tuple[str, Callable[[_Walk, Any, type, int], bool]], ...] = (("numpy", _numpy), ("pandas", _pandas), ("random", _random))
