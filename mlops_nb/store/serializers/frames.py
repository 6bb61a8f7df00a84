"""pandas DataFrames and Series as parquet: index, dtypes, categories, time zones, column order, names and `attrs` come back.

What parquet would change (objects of several kinds, column names of several types) is declined: a stored frame is read
back and compared before it counts.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_nb.store import codec
from mlops_nb.store.serializers import Declined

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

OURS = b"mlops_nb"  # the key of our own entry in the schema's metadata
ROW_GROUP = 1 << 20
VALUES = "values"  # a Series' column


def accepts(value: Any) -> bool:
    """Frames and series proper: a subclass (geopandas, ...) has more to it than parquet holds."""
    return type(value).__name__ in {"DataFrame", "Series"} and type(value).__module__.partition(".")[0] == "pandas"


def dump(value: "pd.DataFrame | pd.Series[Any]") -> bytes:
    """The parquet file. Raises Declined where the frame would come back different."""
    import pyarrow as pa

    frame, about = _described(value)
    try:
        table = pa.Table.from_pandas(frame).combine_chunks()
        data = _written(table, about)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise Declined(f"parquet cannot hold it: {_first_line(error)}") from error
    _check_same(value, load(data))
    return data


def load(data: bytes) -> Any:
    """The frame or series of those bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(data))
    about = codec.from_json((table.schema.metadata or {})[OURS].decode())
    return _restored(table.to_pandas(), table, about)


def _restored(frame: Any, table: "pa.Table", about: Mapping[str, Any]) -> Any:
    """What parquet lost, out of our own description."""
    import pandas as pd

    for place, missing in about["objects"]:
        frame.isetitem(place, pd.Series(_objects(table.column(place), missing), index=frame.index, dtype=object))
    for place, categories, dtype, ordered in about["categories"]:
        kind = pd.CategoricalDtype(pd.Index(categories, dtype=dtype), ordered=ordered)
        frame.isetitem(place, frame.iloc[:, place].astype(kind))
    for place, dtype in about["times"]:
        frame.isetitem(place, frame.iloc[:, place].astype(dtype))
    if about["columns"]:
        start, stop, step = about["columns"]
        frame.columns = pd.RangeIndex(start, stop, step, name=frame.columns.name)
    for start, stop in about["rowwise"]:
        frame = _laid_rowwise(frame, start, stop)
    if about["freq"]:
        frame.index.freq = about["freq"]
    if about["series"]:
        frame = frame[VALUES]
        frame.name = about["name"]
    frame.attrs = about["attrs"]
    return frame


def _described(value: Any) -> tuple["pd.DataFrame", dict[str, Any]]:
    """A frame that parquet takes, and a description of what it loses."""
    series = value.ndim == 1
    frame = value.to_frame(VALUES) if series else value.copy(deep=False)
    frame.attrs = {}  # pyarrow would warn of attrs that are not JSON
    columns = list(enumerate(frame.dtypes))
    return frame, {
        "series": series,
        "name": value.name if series else None,
        "freq": value.index.freqstr if type(value.index).__name__ in {"DatetimeIndex", "TimedeltaIndex"} else None,
        "columns": _range(frame.columns),
        "objects": [(place, _missing(frame.iloc[:, place])) for place, dtype in columns if dtype.name == "object"],
        "categories": [
            (place, *_categories(dtype)) for place, dtype in columns if dtype.name == "category" and dtype.categories.dtype.kind in "iufb"
        ],
        "times": [(place, dtype.str) for place, dtype in columns if dtype.kind in "mM" and dtype.name.endswith("[s]")],  # parquet has none
        "rowwise": _rowwise(frame),
        "attrs": value.attrs,
    }


def _rowwise(frame: "pd.DataFrame") -> list[tuple[int, int]]:
    """Runs of columns that lie in memory row by row, as those of a frame made of a matrix do.

    numpy and scikit-learn add up in the order of memory, so that a sum's last digit, and a fitted model's bytes, depend on it.
    Columns of such a block with others between them are not told apart from the usual layout, column by column.
    """
    found = []
    for block in frame._mgr.blocks:  # noqa: SLF001 (no public name for a frame's blocks)
        places = block.mgr_locs.as_array
        strides: tuple[int, ...] = getattr(block.values, "strides", ())
        together = len(places) > 1 and places[-1] - places[0] == len(places) - 1
        if together and len(strides) > 1 and len(frame) > 1 and strides[0] < strides[1]:
            found.append((int(places[0]), int(places[-1]) + 1))
    return sorted(found)


def _laid_rowwise(frame: Any, start: int, stop: int) -> Any:
    """The frame with these columns, of one type, as one matrix that lies row by row."""
    import numpy as np
    import pandas as pd

    middle = frame.iloc[:, start:stop]
    laid = pd.DataFrame(np.ascontiguousarray(middle.to_numpy()), index=frame.index, columns=middle.columns, copy=False)
    whole = pd.concat([frame.iloc[:, :start], laid, frame.iloc[:, stop:]], axis=1)
    whole.columns = frame.columns
    return whole


def _range(labels: Any) -> tuple[int, int, int] | None:
    return (labels.start, labels.stop, labels.step) if type(labels).__name__ == "RangeIndex" else None


def _categories(dtype: Any) -> tuple[list[Any], str, bool]:
    """The categories of a categorical column, where they are numbers: parquet keeps only those of text."""
    return dtype.categories.tolist(), dtype.categories.dtype.name, bool(dtype.ordered)


def _missing(column: Any) -> Any:
    """What a column of Python objects holds where it holds nothing: None, or NaN."""
    absent = column[column.isna()]
    return float("nan") if len(absent) and isinstance(absent.iloc[0], float) else None


def _objects(column: "pa.ChunkedArray", missing: Any) -> Any:
    """A column of Python objects: to_pandas would make strings of its own dtype of them, or numbers."""
    import numpy as np

    values = np.empty(len(column), dtype=object)
    values[:] = [missing if value is None else value for value in column.to_pylist()]
    return values


def _written(table: "pa.Table", about: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        described = codec.to_json(about, exact=True)
    except codec.NotExact as error:
        raise Declined(f"its name or attrs: {error.message}") from error
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), OURS: described.encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6", row_group_size=ROW_GROUP)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _check_same(before: Any, after: Any) -> None:
    """Raises Declined where dtypes, labels or the kinds of objects differ; the values of typed columns are parquet's own business."""
    left, right = (value.to_frame(VALUES) if value.ndim == 1 else value for value in (before, after))
    if not _same_labels(left.columns, right.columns):
        raise Declined(f"parquet would change its column names ({type(left.columns).__name__} of {left.columns.dtype})")
    if not _same_labels(left.index, right.index):
        raise Declined(f"parquet would change its index ({type(left.index).__name__})")
    for place, name in enumerate(left.columns):
        old, new = left.iloc[:, place], right.iloc[:, place]
        if old.dtype != new.dtype:
            raise Declined(f"parquet would make column {name!r} {new.dtype} instead of {old.dtype}")
        if old.dtype.name == "object" and not _same_objects(old, new):
            raise Declined(f"column {name!r} holds objects that parquet would change")


def _same_labels(left: Any, right: Any) -> bool:
    same = type(left) is type(right) and left.names == right.names and left.equals(right)
    if left.nlevels > 1:
        return bool(same) and all(_same_labels(left.get_level_values(n), right.get_level_values(n)) for n in range(left.nlevels))
    return bool(same and left.dtype == right.dtype and (left.dtype.name != "object" or _same_objects(left, right)))


def _same_objects(left: Any, right: Any) -> bool:
    """Equal, item by item, down to their types."""
    return all(type(a) is type(b) for a, b in zip(left, right, strict=True)) and bool(left.equals(right))


def _first_line(error: Exception) -> str:
    return json.dumps(str(error.args[0] if error.args else error))[1:-1].split("\\n")[0]
