"""Point-in-time joins: for each row of a spine, the newest feature row that was known by then. Pure: frames in, a frame out."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.features.define import from_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import pandas as pd

    from mlops_nb.records import FeatureView

ATTRIBUTE = "mlops_nb"  # the key of DataFrame.attrs under which a feature frame carries its view
CREATED = "created_ts"  # a feature frame's optional column: when the row was written, for later corrections
MISSING = -1


def training_set(spine: pd.DataFrame, views: Sequence[tuple[FeatureView, pd.DataFrame]], *, timestamp: str) -> pd.DataFrame:
    """`spine` with, for each of its rows, the newest feature row of each view known at `timestamp`.

    A feature row counts from its own timestamp on (an equal one counts) until its ttl is over (the last instant counts), for the same
    entity keys. Where the feature frame has a `created_ts` column, a row counts from that moment on, and of rows with one timestamp the
    one created last wins; rows equal in that too: the later one in the frame. A null key matches nothing.

    The spine's rows, order, index and columns stay as they are; a view adds its columns and `VIEW__TIMESTAMP`, the time of the row taken,
    null where there is none. Raises BadInput or NotFound for missing columns, keys or times of another type, null times, or columns of
    the same name.
    """
    import pandas as pd

    require_times(spine, timestamp, "the spine")
    parts = [_joined(spine, view, frame, timestamp) for view, frame in views]
    _refuse_collisions(spine, [(view.name, part) for (view, _), part in zip(views, parts, strict=True)])
    result = pd.concat([spine, *parts], axis=1)
    result.attrs = {key: value for key, value in spine.attrs.items() if key != ATTRIBUTE}
    return result


def view_of(frame: Any) -> FeatureView:
    """The view that a frame made by a %%feature cell carries; raises BadInput for any other value."""
    import pandas as pd

    hint = "give frames as %%feature cells made them: training_set(spine, airport_weather, timestamp=...)"
    if not isinstance(frame, pd.DataFrame):
        raise BadInput(f"a {type(frame).__name__} is no feature frame", hint=hint)
    fields = frame.attrs.get(ATTRIBUTE)
    if not isinstance(fields, dict) or "view" not in fields:
        shown = ", ".join(map(str, frame.columns[:6]))
        raise BadInput(f"the frame with the columns {shown} was not made by a %%feature cell", hint=hint)
    return from_attributes(fields["view"])


def check_frame(frame: Any, view: FeatureView, *, where: str) -> None:
    """`frame` can be the values of `view`: a DataFrame with its columns, its times, and one row for each key and time.

    Raises BadInput or NotFound, naming the place.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise BadInput(
            f"the feature {view.name} gives a {type(frame).__name__}, not a DataFrame", where=where, hint="end the cell with the DataFrame"
        )
    owner = f"{where}: the feature {view.name}"
    require_columns(frame, view.entity, owner)
    require_times(frame, view.timestamp, owner)
    unique = [*view.entity, view.timestamp]
    if CREATED in frame.columns:
        require_times(frame, CREATED, owner)
        unique.append(CREATED)
    twice = frame.duplicated(unique, keep="last")
    if count := int(twice.sum()):
        first = ", ".join(f"{name}={value}" for name, value in frame.loc[twice.to_numpy(), unique].iloc[0].items())
        raise BadInput(
            f"{count} of {len(frame)} rows have the same {', '.join(unique)} as a later row, the first with {first}",
            where=owner,
            hint=f"keep one of them: frame.drop_duplicates({unique}, keep='last')"
            + ("" if CREATED in unique else f"; for corrections add a column {CREATED} that says when a row was written"),
        )


def require_columns(frame: pd.DataFrame, names: Iterable[str], owner: str) -> None:
    """Each of `names` stands once in `frame`; raises NotFound with near names, or BadInput."""
    columns = list(frame.columns)
    for name in names:
        if name not in columns:
            raise NotFound.named("column", name, map(str, columns), where=owner)
        if columns.count(name) > 1:
            raise BadInput(f"the column {name!r} stands twice", where=owner, hint="rename or drop one of them")


def require_times(frame: pd.DataFrame, name: str, owner: str) -> None:
    """`name` is a column of datetimes without nulls; raises NotFound or BadInput."""
    import pandas as pd

    require_columns(frame, [name], owner)
    if not pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
        raise BadInput(
            f"the column {name!r} holds {frame[name].dtype}, not datetimes", where=owner, hint=f"convert it first: pd.to_datetime(frame[{name!r}])"
        )
    if nulls := int(frame[name].isna().sum()):
        raise BadInput(f"the column {name!r} has {nulls} null times of {len(frame)}", where=owner, hint="drop or fill those rows first")


def _joined(spine: pd.DataFrame, view: FeatureView, frame: pd.DataFrame, timestamp: str) -> pd.DataFrame:
    """The columns `view` adds, in the spine's order and with its index."""
    owner = f"the feature {view.name}"
    require_columns(spine, view.entity, f"the spine, for {owner}")
    require_columns(frame, view.entity, owner)
    times = [view.timestamp, *([CREATED] if CREATED in frame.columns else [])]
    for name in times:
        require_times(frame, name, owner)
    asked, event, *created = _instants([spine[timestamp], *(frame[name] for name in times)], owner)
    taken = _newest_known(_key_codes(spine, frame, view), [index.asi8 for index in (asked, event, *created)])
    if view.ttl_seconds is not None:
        taken = _within(taken, asked, event, view.ttl_seconds)
    return _rows(frame, view, taken).set_axis(spine.index, axis=0)


def _newest_known(keys: tuple[np.ndarray, np.ndarray], times: Sequence[np.ndarray]) -> np.ndarray:
    """For each asked (key, time) the position of the newest row known by then, MISSING where there is none.

    `keys` are those asked for and those of the rows; `times` are asked, event and, where rows may be corrected, created.
    """
    import numpy as np
    import pandas as pd

    (asked_keys, row_keys), (asked, event, *created) = keys, times
    known = np.maximum(event, created[0]) if created else event
    order = np.argsort(known, kind="stable")
    rows = pd.DataFrame({"time": known[order], "key": row_keys[order], "row": _best_so_far(row_keys, event, created[0], order) if created else order})
    places = np.argsort(asked, kind="stable")
    questions = pd.DataFrame({"time": asked[places], "key": asked_keys[places]})
    answers = pd.merge_asof(questions, rows[rows["key"] != MISSING], on="time", by="key")["row"]
    taken = np.empty(len(asked), dtype=np.int64)
    taken[places] = answers.fillna(MISSING)
    return taken


def _best_so_far(keys: np.ndarray, event: np.ndarray, created: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each row in `order` (by when it was known) the best of its key up to there: newest event, then created, then position.

    So a correction of an old row that comes in late never hides a newer one, and one pass answers for every moment.
    """
    import numpy as np
    import pandas as pd

    by_rank = np.lexsort((created, event))
    rank = np.empty(len(event), dtype=np.int64)
    rank[by_rank] = np.arange(len(event))
    best: np.ndarray = by_rank[pd.Series(rank[order]).groupby(keys[order]).cummax().to_numpy()]
    return best


def _within(taken: np.ndarray, asked: pd.DatetimeIndex, event: pd.DatetimeIndex, ttl_seconds: float) -> np.ndarray:
    """`taken` without the rows that are older than the ttl; one exactly as old still counts."""
    import numpy as np
    import pandas as pd

    ticks = int(Fraction(ttl_seconds) * int(pd.Timedelta(1, "s") / pd.Timedelta(1, asked.unit)))
    matched = np.flatnonzero(taken != MISSING)
    age = asked.asi8[matched] - event.asi8[taken[matched]]
    taken[matched[age.view(np.uint64) > np.uint64(min(ticks, 2**64 - 1))]] = MISSING  # unsigned: an age of more than 292 years in ns too
    return taken


def _rows(frame: pd.DataFrame, view: FeatureView, taken: np.ndarray) -> pd.DataFrame:
    """The value columns of the rows `taken`, nulls for MISSING, and the time of each row under VIEW__TIMESTAMP."""
    dropped = {*view.entity, view.timestamp, CREATED}
    values = frame[[*(name for name in frame.columns if name not in dropped), view.timestamp]]
    values = values.rename(columns={view.timestamp: f"{view.name}__{view.timestamp}"})
    return values.reset_index(drop=True).reindex(taken)


def _instants(columns: Sequence[pd.Series], owner: str) -> list[pd.DatetimeIndex]:
    """Datetime columns in one time zone and unit, the finest of theirs; raises BadInput where naive and aware ones meet."""
    import pandas as pd

    indexes = [pd.DatetimeIndex(column) for column in columns]
    if len({index.tz is None for index in indexes}) > 1:
        told = ", ".join(f"{column.name} is {'naive' if index.tz is None else index.tz}" for column, index in zip(columns, indexes, strict=True))
        raise BadInput(
            f"times with and without a time zone cannot be compared: {told}",
            where=owner,
            hint="make both UTC: .dt.tz_localize(ZONE).dt.tz_convert('UTC')",
        )
    unit = max((index.unit for index in indexes), key=("s", "ms", "us", "ns").index)
    try:
        return [index.as_unit(unit) for index in indexes]
    except pd.errors.OutOfBoundsDatetime as error:
        raise BadInput(f"the times do not fit one unit: {error}", where=owner, hint="store all of them in microseconds: .dt.as_unit('us')") from error


def _key_codes(spine: pd.DataFrame, frame: pd.DataFrame, view: FeatureView) -> tuple[np.ndarray, np.ndarray]:
    """One integer for each row of `spine` and of `frame`, equal where all entity keys are equal, MISSING where one is null."""
    import numpy as np
    import pandas as pd

    columns = [_one_key(spine[name], frame[name], f"the feature {view.name}") for name in view.entity]
    codes = columns[0]
    for column in columns[1:]:
        together = np.where((codes < 0) | (column < 0), MISSING, codes * (column.max(initial=0) + 1) + column)
        codes = pd.factorize(together)[0]
        codes[together == MISSING] = MISSING
    return codes[: len(spine)], codes[len(spine) :]


def _one_key(asked: pd.Series, held: pd.Series, owner: str) -> np.ndarray:
    """Codes of the values of two columns, one after the other; raises BadInput where their types cannot be equal."""
    import numpy as np
    import pandas as pd

    kinds = _kind(asked), _kind(held)
    if kinds[0] != kinds[1] and "empty" not in kinds:
        raise BadInput(
            f"the key {held.name!r} is {kinds[0]} ({asked.dtype}) in the spine and {kinds[1]} ({held.dtype}) in the feature",
            where=owner,
            hint="convert one of them, so that equal keys are equal values",
        )
    alike = asked.dtype == held.dtype
    both = pd.concat([asked, held], ignore_index=True) if alike else np.concatenate([_objects(asked), _objects(held)])
    return np.asarray(pd.factorize(both)[0], dtype=np.int64)


def _kind(column: pd.Series) -> str:
    """What a key column's values are: number (integers with nulls are floats in pandas), text, boolean, ..."""
    import pandas as pd

    if column.isna().all():
        return "empty"
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    kind = pd.api.types.infer_dtype(values, skipna=True)
    return {"string": "text", "floating": "number", "integer": "number", "mixed-integer-float": "number"}.get(kind, kind)


def _objects(column: pd.Series) -> np.ndarray:
    """A key column as Python objects: equal keys are equal objects, whatever the dtype, and 2**53 + 1 stays itself beside floats."""
    return column.astype(object).where(column.notna(), None).to_numpy(dtype=object)


def _refuse_collisions(spine: pd.DataFrame, parts: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """Raises BadInput where two of them hold a column of the same name, listing all such columns and their owners."""
    owners: dict[str, list[str]] = {}
    for owner, part in [("the spine", spine), *parts]:
        for name in part.columns:
            owners.setdefault(name, []).append(owner)
    twice = {name: held for name, held in owners.items() if len(held) > 1}
    if twice:
        told = "; ".join(f"{name!r} in {' and '.join(held)}" for name, held in twice.items())
        raise BadInput(f"columns of the same name: {told}", hint="rename them in the feature cell: frame.rename(columns={...})")
