"""Facts as the spool holds them: columns and types checked, values encoded, secrets taken out."""

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.records import Fact, utc_text
from mlops_nb.store import codec
from mlops_nb.store.redaction import Redactor
from mlops_nb.store.schema import Column, columns

_line = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encoded(facts: Sequence[Fact], redactor: Redactor) -> bytes:
    """One line of JSON for the facts of one record. Raises BadInput or NotFound for a fact that its table cannot hold."""
    return _line([[fact.table, _row(fact, redactor)] for fact in facts]).encode()


def _row(fact: Fact, redactor: Redactor) -> dict[str, Any]:
    tables = columns()
    if fact.table not in tables:
        raise NotFound.named("table", fact.table, tables, where="registry")
    known = tables[fact.table]
    for name in fact.row:
        if name not in known:
            raise NotFound.named("column", name, known, where=fact.table)
    missing = [name for name, column in known.items() if column.required and fact.row.get(name) is None]
    if missing:
        raise BadInput(f"no value for {', '.join(missing)}", where=fact.table)
    return {name: _value(known[name], value, redactor) for name, value in fact.row.items()}


def _value(column: Column, value: Any, redactor: Redactor) -> Any:
    if type(value) is str and column.kind == "TEXT":  # as most are; a cell's facts are encoded while the user waits
        return codec.plain_text(value if column.key else redactor.text(value))
    value = codec.python_scalar(value)
    if value is None:
        return None
    if column.kind == "TEXT":
        return _text(column, value, redactor)
    return _integer(column.where, value) if column.kind == "INTEGER" else _real(column.where, value)


def _text(column: Column, value: Any, redactor: Redactor) -> str:
    """Text is redacted, but in keys: they are made by us, and a digest must stay what it is."""
    if isinstance(value, str):
        return codec.plain_text(value if column.key else redactor.text(value))
    if type(value) in (tuple, list, dict) and not value:  # most of a cell's columns
        return "{}" if type(value) is dict else "[]"
    if isinstance(value, Mapping | list | tuple | set | frozenset) or dataclasses.is_dataclass(value):
        return codec.row_json(value, redactor.value)
    if isinstance(value, PurePath):
        return codec.plain_text(redactor.text(str(value)))
    if isinstance(value, dt.datetime):
        return utc_text(value) if value.tzinfo else value.isoformat()
    raise BadInput(f"text is wanted, not {type(value).__name__} {value!r:.80}", where=column.where)


def _integer(where: str, value: Any) -> int:
    if not isinstance(value, int):
        raise BadInput(f"a whole number is wanted, not {type(value).__name__} {value!r:.80}", where=where)
    if not -codec.BIGGEST_INT - 1 <= value <= codec.BIGGEST_INT:
        raise BadInput("the number does not fit in 64 bits", where=where)
    return int(value)


def _real(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"a number is wanted, not {type(value).__name__} {value!r:.80}", where=where)
    if not math.isfinite(value):
        raise BadInput(f"{value} is refused: SQLite would store NaN as NULL and JSON has no infinity", where=where, hint="put it into a JSON column")
    return float(value)
