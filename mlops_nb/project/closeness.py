"""Whether two values, or two data files, are equal within a tolerance."""

import math
import sys
from pathlib import Path
from typing import Any

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
