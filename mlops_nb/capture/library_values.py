"""What tells values of numpy, pandas, pyarrow, polars, scikit-learn and scipy apart, for `capture.values`.

Nothing is imported here: a value of a library is there only where the library is. Only the libraries' own methods run.
"""

import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import xxhash

from mlops_nb.capture.kinds import bases_of, entries_of, module_of

COLUMN_COST = 512  # bytes of the budget that a column takes besides its content: about 5 µs
LIST_COST = 32  # the same for an element that has to become a Python object
QUICK, SLOW = 64, 16  # bytes of an array that cost one of the budget: hashed as they lie there, or copied first
MAX_LISTED = 10_000  # elements of an arrow array that has to become Python objects
_BASIC_SIZE = type.__dict__["__basicsize__"].__get__
_WORD = object.__basicsize__ // 2
# What these keep depends on what was asked of them before, or is a place in memory.
_CACHED = frozenset({"_stop_words_id", "_has_sorted_indices", "_has_canonical_format"})


class Untold(Exception):
    """The value, or something in it, has no digest."""


class Walker(Protocol):
    """The walk that a value is part of (`capture.values.Walk`)."""

    def encode(self, value: Any, depth: int) -> bytes:
        """The bytes that stand for a part."""

    def each(self, values: Iterable[Any], depth: int) -> list[bytes]:
        """Those of several."""

    def items(self, values: list[Any], depth: int) -> list[bytes]:
        """Those of a list's elements."""

    def spend(self, size: int) -> None:
        """Take `size` bytes off the budget. Raises Untold where it is used up."""

    def check(self, size: int) -> None:
        """Raises Untold where `size` bytes are not left."""

    def attributes(self, value: Any, kind: type, depth: int, *, without: frozenset[str] = ...) -> list[bytes]:
        """Those of an instance's attributes."""


Reader = Callable[[Walker, Any, type, int], list[bytes]]


def check_plain(kind: type) -> None:
    """Raises Untold for a type some of whose state is neither in `__dict__` nor in slots: it has room for more than these take."""
    bases = bases_of(kind)
    for base in bases[:-1]:
        entries = entries_of(base)
        known = sum(type(entry) is types.MemberDescriptorType for entry in entries.values()) + ("__dict__" in entries) + ("__weakref__" in entries)
        if _BASIC_SIZE(base) - max(map(_BASIC_SIZE, bases_of(base)[1:])) > _WORD * known:
            raise Untold
    if len(bases) == 1:
        raise Untold  # a bare object() is nothing but its address


# --- numpy ----------------------------------------------------------------------------------------------------


def of_numpy(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """Arrays whatever their memory order, scalars, types, generators, functions."""
    numpy = sys.modules["numpy"]
    if issubclass(kind, numpy.ndarray):
        own = module_of(kind).partition(".")[0] != "numpy" or kind is numpy.ma.MaskedArray
        return of_array(walk, value, depth) + (walk.attributes(value, kind, depth) if own else [])
    if issubclass(kind, numpy.generic):
        return of_array(walk, numpy.asarray(value), depth)
    if issubclass(kind, numpy.dtype):
        return [repr(value).encode()]
    if kind is numpy.ufunc or kind is type(numpy.mean):
        return walk.each((value.__name__,), depth)
    return _generator(walk, value, kind, depth)


def _generator(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """A random generator by its state; what else numpy has, by its attributes."""
    numpy = sys.modules["numpy"]
    if kind is numpy.random.Generator:
        return [walk.encode(value.bit_generator.state, depth)]
    if kind is numpy.random.RandomState:
        return [walk.encode(value.get_state(legacy=False), depth)]
    if issubclass(kind, numpy.random.BitGenerator):
        return [walk.encode(value.state, depth)]
    check_plain(kind)
    return walk.attributes(value, kind, depth)


def of_array(walk: Walker, value: Any, depth: int) -> list[bytes]:
    """Shape, type and elements; of records field by field, since what lies between the fields is chance."""
    numpy = sys.modules["numpy"]
    plain = numpy.ndarray.view(value, numpy.ndarray)
    dtype = plain.dtype
    parts = [f"{plain.shape}{dtype.str}".encode()]
    if dtype.names:
        fields = (part for name in dtype.names for part in (name.encode(), *of_array(walk, plain[name], depth)))
        return [*parts, *fields]
    if dtype.hasobject or dtype.kind == "T":
        walk.check(LIST_COST * plain.size)
        return parts + walk.items(plain.reshape(-1).tolist(), depth)
    if dtype.char in "gG":
        raise Untold  # long doubles have padding
    walk.spend(plain.nbytes // (QUICK if plain.flags.c_contiguous else SLOW))
    if plain.nbytes:
        parts.append(xxhash.xxh3_64_digest(numpy.ascontiguousarray(plain).reshape(-1).view(numpy.uint8)))
    return parts


# --- pandas ---------------------------------------------------------------------------------------------------


def of_pandas(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """Frames, series, indexes and arrays by what they hold, whatever the blocks; scalars and types."""
    pandas = sys.modules["pandas"]
    if module_of(kind).partition(".")[0] != "pandas":
        raise Untold  # a subclass may hold anything
    if issubclass(kind, pandas.DataFrame | pandas.Series):
        return _frame(walk, value, depth)
    if issubclass(kind, pandas.Index):
        return _index(walk, value, depth)
    if issubclass(kind, pandas.api.extensions.ExtensionArray):
        return _extension(walk, value, depth)
    if issubclass(kind, pandas.api.extensions.ExtensionDtype):
        return _dtype(walk, value, depth)
    return _scalar(walk, value, kind, depth)


def _frame(walk: Walker, value: Any, depth: int) -> list[bytes]:
    manager = object.__getattribute__(value, "_mgr")
    attributes = {name: item for name, item in object.__getattribute__(value, "_attrs").items() if name != "mlops_nb"}
    parts = [part for axis in manager.axes for part in _index(walk, axis, depth)]
    if attributes:
        parts.append(walk.encode(attributes, depth))
    if manager.ndim == 1:
        return [*parts, walk.encode(value.name, depth), *_column(walk, manager.blocks[0].values, depth)]
    arrays = [block.values for block in manager.blocks]
    walk.spend(COLUMN_COST * len(manager.blknos))
    for block, place in zip(manager.blknos.tolist(), manager.blklocs.tolist(), strict=True):
        values = arrays[block]
        parts += _column(walk, values[place] if values.ndim > 1 else values, depth)
    return parts


def _column(walk: Walker, values: Any, depth: int) -> list[bytes]:
    numpy = sys.modules["numpy"]
    return of_array(walk, values, depth) if type(values) is numpy.ndarray else _extension(walk, values, depth)


def _index(walk: Walker, value: Any, depth: int) -> list[bytes]:
    pandas = sys.modules["pandas"]
    if module_of(type(value)).partition(".")[0] != "pandas":
        raise Untold
    names = walk.each(value.names, depth)
    if isinstance(value, pandas.RangeIndex):
        return [*names, f"{value.start}:{value.stop}:{value.step}".encode()]
    if isinstance(value, pandas.MultiIndex):
        levels = [part for level in value.levels for part in _index(walk, level, depth)]
        return [*names, *levels, *(part for codes in value.codes for part in of_array(walk, codes, depth))]
    return [*names, *_column(walk, object.__getattribute__(value, "_data"), depth)]


def _extension(walk: Walker, value: Any, depth: int) -> list[bytes]:
    """One of pandas' own extension arrays."""
    numpy = sys.modules["numpy"]
    if module_of(type(value)).partition(".")[0] != "pandas":
        raise Untold
    kind = _dtype(walk, value.dtype, depth)
    if (arrow := getattr(value, "_pa_array", None)) is not None:
        return kind + _chunked(walk, arrow, depth)
    if (mask := getattr(value, "_mask", None)) is not None:
        held = numpy.where(mask, numpy.zeros((), value._data.dtype), value._data)  # noqa: SLF001 (what lies under the mask is chance)
        return kind + of_array(walk, mask, depth) + of_array(walk, held, depth)
    if (backing := getattr(value, "_ndarray", None)) is not None:
        return kind + of_array(walk, backing, depth)
    if (left := getattr(value, "_left", None)) is not None:
        return kind + _column(walk, getattr(left, "_data", left), depth) + _column(walk, getattr(value._right, "_data", value._right), depth)  # noqa: SLF001
    raise Untold


def _dtype(walk: Walker, value: Any, depth: int) -> list[bytes]:
    categories = getattr(value, "categories", None)
    own = [b"%d" % bool(value.ordered), *_index(walk, categories, depth)] if categories is not None else []
    return [str(value).encode(), *own]


def _scalar(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    pandas = sys.modules["pandas"]
    if value is pandas.NaT or value is pandas.NA:
        return []
    if kind is pandas.Timestamp:
        return walk.each((value._value, value.unit, value.tzinfo), depth)  # noqa: SLF001 (`value` overflows for coarse units)
    if kind is pandas.Timedelta:
        return walk.each((value._value, value.unit), depth)  # noqa: SLF001 (as above)
    if kind is pandas.Period:
        return walk.each((value.ordinal, value.freqstr), depth)
    if kind is pandas.Interval:
        return walk.each((value.left, value.right, value.closed), depth)
    if issubclass(kind, pandas.tseries.offsets.BaseOffset):
        return [repr(value).encode()]
    raise Untold


# --- arrow ----------------------------------------------------------------------------------------------------


def of_pyarrow(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """Tables and arrays, however they are cut into chunks; schemas and types."""
    arrow = sys.modules["pyarrow"]
    if issubclass(kind, arrow.Table | arrow.RecordBatch):
        return [value.schema.to_string().encode(), *(part for column in value.columns for part in _chunked(walk, column, depth))]
    if issubclass(kind, arrow.ChunkedArray | arrow.Array):
        return [str(value.type).encode(), *_chunked(walk, value, depth)]
    if issubclass(kind, arrow.Schema | arrow.DataType | arrow.Field):
        return [str(value).encode()]
    raise Untold


def _chunked(walk: Walker, value: Any, depth: int) -> list[bytes]:
    walk.spend(value.nbytes // SLOW)
    arrow = sys.modules["pyarrow"]
    chunks = value.chunks if isinstance(value, arrow.ChunkedArray) else [value]
    kind = value.type
    missing = b"".join(chunk.is_null().to_numpy(zero_copy_only=False).tobytes() for chunk in chunks) if value.null_count else b""
    parts = [f"{len(value)},{value.null_count}".encode(), xxhash.xxh3_64_digest(missing)]
    if arrow.types.is_large_string(kind) or arrow.types.is_string(kind):
        return [*parts, *_texts(chunks, wide=arrow.types.is_large_string(kind))]
    if arrow.types.is_integer(kind) or arrow.types.is_floating(kind):
        plain = (chunk.fill_null(0) if chunk.null_count else chunk for chunk in chunks)
        return [*parts, xxhash.xxh3_64_digest(b"".join(chunk.to_numpy(zero_copy_only=False).tobytes() for chunk in plain))]
    if len(value) > MAX_LISTED:
        raise Untold
    return [*parts, walk.encode(value.to_pylist(), depth)]


def _texts(chunks: Iterable[Any], *, wide: bool) -> list[bytes]:
    """The lengths of all texts, then the texts; a missing one has none."""
    numpy = sys.modules["numpy"]
    lengths, letters = xxhash.xxh3_64(), xxhash.xxh3_64()
    for chunk in chunks:
        full = chunk.fill_null("") if chunk.null_count else chunk
        _, ends, data = full.buffers()
        if not len(full):
            continue
        ends = numpy.frombuffer(ends, numpy.int64 if wide else numpy.int32, len(full) + 1, full.offset * (8 if wide else 4))
        lengths.update(numpy.diff(ends).astype(numpy.int64))
        if data is not None:
            letters.update(memoryview(data)[ends[0] : ends[-1]])
    return [lengths.digest(), letters.digest()]


def of_polars(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """Frames and series as arrow, where that is loaded."""
    polars, arrow = sys.modules["polars"], sys.modules.get("pyarrow")
    if arrow is None or not issubclass(kind, polars.DataFrame | polars.Series):
        raise Untold
    walk.spend(value.estimated_size() // SLOW)
    table = value.to_arrow()
    names = value.columns if issubclass(kind, polars.DataFrame) else value.name
    return [walk.encode(names, depth), str(getattr(value, "dtypes", "")).encode(), *of_pyarrow(walk, table, type(table), depth)]


# --- scikit-learn, scipy ---------------------------------------------------------------------------------------


def of_estimators(walk: Walker, value: Any, kind: type, depth: int) -> list[bytes]:
    """Estimators by their attributes; compiled trees and the like by the state they give to be copied."""
    try:
        check_plain(kind)
    except Untold:
        if module_of(kind).partition(".")[0] not in {"sklearn", "scipy"}:
            raise
        return [walk.encode(_reduced(value, kind), depth), *walk.attributes(value, kind, depth)]
    return walk.attributes(value, kind, depth, without=_CACHED)


def _reduced(value: Any, kind: type) -> list[Any]:
    try:
        found = type.__getattribute__(kind, "__reduce_ex__")(value, 2)
    except (TypeError, NotImplementedError):
        raise Untold from None
    return list(found[1:3]) if type(found) is tuple else [found]


LIBRARIES: Mapping[str, Reader] = {
    "numpy": of_numpy,
    "pandas": of_pandas,
    "pyarrow": of_pyarrow,
    "polars": of_polars,
    "sklearn": of_estimators,
    "scipy": of_estimators,
}
