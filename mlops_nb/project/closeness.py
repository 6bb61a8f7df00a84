"""Whether two values, or two data files, are equal within a tolerance."""

import io
import math
import pickle
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Self

MAX_DEPTH = 30


def close(one: Any, other: Any, *, rtol: float, depth: int = 0) -> bool:
    """Whether values are equal but for floats that differ by at most `rtol` of their size; NaN equals NaN. Types must be the same.

    >>> close({"a": [1.0, float("nan")]}, {"a": [1.0 + 1e-12, float("nan")]}, rtol=1e-9), close([1.0], [1.1], rtol=1e-9)
    (True, False)
    """
    if type(one) is not type(other) or depth > MAX_DEPTH:
        return False
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=rtol) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(close(a, b, rtol=rtol, depth=depth + 1) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return list(one) == list(other) and all(close(one[key], other[key], rtol=rtol, depth=depth + 1) for key in one)
    return _library_close(one, other, rtol=rtol, depth=depth)


def _library_close(one: Any, other: Any, *, rtol: float, depth: int) -> bool:
    if isinstance(one, _Inert):
        return close(one.parts, other.parts, rtol=rtol, depth=depth + 1)
    home = type(one).__module__.partition(".")[0]
    if home == "numpy":
        return _arrays_close(one, other, rtol=rtol, depth=depth)
    if home == "pandas":
        return _frames_close(one, other, rtol=rtol)
    if home in ("sklearn", "scipy"):
        state = [value.__getstate__() if hasattr(value, "__getstate__") else vars(value) for value in (one, other)]
        return close(state[0], state[1], rtol=rtol, depth=depth + 1)
    return bool(one == other)


def _arrays_close(one: Any, other: Any, *, rtol: float, depth: int) -> bool:
    numpy = sys.modules["numpy"]
    if not isinstance(one, numpy.ndarray | numpy.generic):
        return bool(one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.names:
        return all(_arrays_close(one[name], other[name], rtol=rtol, depth=depth) for name in one.dtype.names)
    if one.dtype.hasobject:
        return close(one.tolist(), other.tolist(), rtol=rtol, depth=depth + 1)
    if one.dtype.kind in "fc":
        return bool(numpy.allclose(one, other, rtol=rtol, atol=0.0, equal_nan=True))
    return bool(numpy.array_equal(one, other))


def _frames_close(one: Any, other: Any, *, rtol: float) -> bool:
    import pandas as pd

    compare: Any = {pd.DataFrame: pd.testing.assert_frame_equal, pd.Series: pd.testing.assert_series_equal}.get(type(one))
    try:
        if compare is not None:
            compare(one, other, rtol=rtol, atol=0.0)
        elif isinstance(one, pd.Index):
            pd.testing.assert_index_equal(one, other, rtol=rtol, atol=0.0)
        else:
            return bool(one is other or one == other)
    except AssertionError:
        return False
    return True


def files_close(one: Path, other: Path, *, rtol: float) -> bool:
    """Whether two files of the same kind (CSV, parquet, npy) hold the same data within a tolerance; False for other kinds."""
    import numpy as np
    import pandas as pd

    readers = {".csv": pd.read_csv, ".tsv": pd.read_table, ".parquet": pd.read_parquet, ".npy": lambda path: np.load(path, allow_pickle=False)}
    reader: Any = readers.get(one.suffix)
    if reader is None:
        return False
    try:
        return close(reader(one), reader(other), rtol=rtol)
    except (OSError, ValueError):  # what a reader raises for a file that is not what its name says
        return False


# --- pickles whose code is not here ---------------------------------------------------------------------------


def pickles_close(one: bytes, other: bytes, *, rtol: float) -> bool:
    """Whether two pickles build the same value, by the same calls with close arguments; no code of theirs is run or needed.

    Pickles of equal values may be other bytes: text that is one object in one of them may be two equal ones in the other.

    >>> a, b = "".join(["a", "b"]), "".join(["a", "b"])
    >>> one, other = pickle.dumps([a, a]), pickle.dumps([a, b])
    >>> one == other, pickles_close(one, other, rtol=0.0)
    (False, True)
    """
    kinds: dict[tuple[str, str], type] = {}
    try:
        values = [_InertUnpickler(io.BytesIO(data), kinds).load() for data in (one, other)]
    except (pickle.UnpicklingError, EOFError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return False
    return close(values[0], values[1], rtol=rtol)


class _Inert:
    """Stands for a class or function of a pickle, and for what comes of calling it: it only keeps what it is given."""

    parts: list[Any]

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """What a call with these arguments gives."""
        made = super().__new__(cls)
        made.parts = [list(given), named]
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes what `__new__` takes."""

    def __setstate__(self, state: Any) -> None:
        self.parts.append(state)

    def append(self, item: Any) -> None:
        """An item of a list's subclass."""
        self.parts.append(item)

    def extend(self, items: list[Any]) -> None:
        """Items of a list's subclass."""
        self.parts += items

    def __setitem__(self, key: Hashable, value: Any) -> None:
        self.parts.append((key, value))


class _InertUnpickler(pickle.Unpickler):
    """Reads a pickle without importing or calling anything that it names; two readers that share `kinds` build comparable values."""

    def __init__(self, file: io.BytesIO, kinds: dict[tuple[str, str], type]) -> None:
        super().__init__(file)
        self.kinds = kinds

    def find_class(self, module: str, name: str) -> type:
        """The stand-in for `module.name`."""
        return self.kinds.setdefault((module, name), type(name.rpartition(".")[2], (_Inert,), {"__module__": "inert"}))
