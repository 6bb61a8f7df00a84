"""Values as JSON that says what they were: what JSON and SQLite would change silently is tagged, and nothing fails.

A tagged value is an object with the key `$`: `{"$": "float", "v": "nan"}`. `from_json(to_json(value))` gives the value back,
but for objects of unknown types, which come back as `Opaque`.

>>> from_json(to_json({"a": (1, 2.5), "b": float("inf")}))
{'a': (1, 2.5), 'b': inf}
"""

import base64
import dataclasses
import datetime as dt
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mlops_nb import records
from mlops_nb.errors import BadInput

TAG = "$"
BIGGEST_INT = 2**63 - 1  # what SQLite and most readers of JSON hold
DEEPEST = 200  # nested containers; far below Python's recursion limit
OPAQUE_TEXT = 2_000  # characters

Down = Callable[[Any], Any]  # encodes a container's item


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of a type the codec does not know: its type's name and the start of its text."""

    type_name: str
    text: str


class NotExact(BadInput):
    """The value holds something that JSON can only describe, not give back."""


def to_json(value: Any, *, exact: bool = False) -> str:
    """`value` as JSON text. Raises NotExact, with `exact`, where the value would not come back equal."""
    return _dump(_encode(value, exact=exact, depth=0))


def from_json(text: str) -> Any:
    """The value whose `to_json` is `text`."""
    return _decode(json.loads(text))


def row_json(value: Any, redact: Callable[[Any], Any] = lambda tree: tree) -> str:
    """A value as a registry column holds it: tuples and sets are lists, records objects, times text, so that SQL and JavaScript read it.

    >>> row_json(("a", {"b": 1}))
    '["a",{"b":1}]'
    """
    return _dump(redact(_plain(value, 0)))


def plain_text(text: str) -> str:
    r"""`text` as SQLite can hold it: a lone surrogate becomes its escape, `\ud800`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def python_scalar(value: Any) -> Any:
    """A numpy scalar as the Python value it equals; anything else as it is. numpy is never imported for it."""
    generic = _numpy_generic()
    if generic is None or not isinstance(value, generic):
        return value
    item = value.item()
    return str(value) if value.dtype.kind in "mMV" or isinstance(item, generic) else item


def _numpy_generic() -> type[Any] | None:
    """numpy.generic where numpy is loaded; another thread may be importing it just now."""
    found: type[Any] | None = getattr(sys.modules.get("numpy"), "generic", None)
    return found


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode  # made once: half the time of a small value


def _tagged(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {TAG: kind, "v": value, **more}


def _number(value: float) -> Any:
    """A Python int or float, tagged where JSON has no such number."""
    if type(value) is int:
        return value if -BIGGEST_INT - 1 <= value <= BIGGEST_INT else _tagged("int", _int_text(value))
    return value if math.isfinite(value) else _tagged("float", repr(value))


def _text(value: str) -> Any:
    """Text, tagged where it holds surrogates: UTF-8 has none, and two of them would come back as one character."""
    return value if _is_unicode(value) else _tagged("text", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode())


def _is_unicode(text: str) -> bool:
    return text.isascii() or plain_text(text) == text


def _int_text(value: int) -> str:
    """Hexadecimal beyond Python's limit on decimal digits."""
    return str(value) if value.bit_length() < 4_000 else hex(value)  # noqa: PLR2004 (1,204 digits; Python's limit may be set to 640 at least)


def _encode(value: Any, *, exact: bool, depth: int) -> Any:
    kind = type(value)
    if kind in _JSON:
        return _JSON[kind](value)
    if depth > DEEPEST:
        return _opaque(value, exact=exact, why="is nested too deeply, or holds itself")
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](value, lambda item: _encode(item, exact=exact, depth=depth + 1))
    if _is_record(value):
        fields = {f.name: _encode(getattr(value, f.name), exact=exact, depth=depth + 1) for f in dataclasses.fields(value)}
        return _tagged("record", fields, type=kind.__name__)
    found = _scalar(value)
    return _opaque(value, exact=exact, why="is no JSON value") if found is None else found


def _dict(value: dict[Any, Any], down: Down) -> Any:
    if all(type(key) is str and _is_unicode(key) for key in value) and TAG not in value:
        return {key: down(item) for key, item in value.items()}
    return _tagged("dict", [[down(key), down(item)] for key, item in value.items()])


_JSON: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: _text,
    int: _number,
    float: _number,
}
_CONTAINERS: dict[type, Callable[[Any, Down], Any]] = {
    list: lambda value, down: [down(item) for item in value],
    dict: _dict,
    tuple: lambda value, down: _tagged("tuple", [down(item) for item in value]),
    set: lambda value, down: _tagged("set", sorted((down(item) for item in value), key=_dump)),
    frozenset: lambda value, down: _tagged("frozenset", sorted((down(item) for item in value), key=_dump)),
}


def _scalar(value: Any) -> Any:
    """A tagged scalar; None for a type that is not known."""
    kind = type(value)
    if kind in _TO_TEXT:
        return _tagged(kind.__name__, _TO_TEXT[kind](value))
    if kind in _TIMES and _offset_known(value):
        return _tagged(kind.__name__, value.isoformat(), **({"fold": 1} if value.fold else {}))
    if kind is type(Path()):
        return _tagged("path", _text(str(value)))
    if kind is Opaque:
        return _tagged("object", value.text, type=value.type_name)
    return _numpy_scalar(value)


def _offset_known(value: Any) -> bool:
    """Whether the time is naive or its zone a fixed offset: a zone's name does not survive ISO text."""
    return value.tzinfo is None or type(value.tzinfo) is dt.timezone


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and type(value) is getattr(records, type(value).__name__, None)


def _numpy_scalar(value: Any) -> Any:
    generic = _numpy_generic()
    if generic is None or not isinstance(value, generic) or type(value).__module__ != "numpy" or value.dtype.kind not in "biufcSUmM":
        return None
    return _tagged("numpy", [value.dtype.str, base64.b64encode(value.tobytes()).decode()], text=plain_text(str(value)))


def _opaque(value: Any, *, exact: bool, why: str) -> Any:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if exact:
        raise NotExact(f"a {name} {why}")
    return _tagged("object", _text_of(value), type=name)


def _text_of(value: Any) -> str:
    """The start of `repr(value)`, or what it raised: any type may come here, and its code is not ours."""
    try:
        return plain_text(repr(value)[:OPAQUE_TEXT])
    except Exception as error:  # noqa: BLE001 (a value's own __repr__ may raise anything)
        return f"<repr raised {type(error).__name__}>"


def _decode(tree: Any) -> Any:
    if type(tree) is list:
        return [_decode(item) for item in tree]
    if type(tree) is not dict:
        return tree
    return _decode_tagged(tree) if TAG in tree else {key: _decode(item) for key, item in tree.items()}


def _decode_tagged(tree: dict[str, Any]) -> Any:
    kind, value = tree[TAG], tree["v"]
    if kind == "record":
        return getattr(records, tree["type"])(**{name: _decode(item) for name, item in value.items()})
    if kind == "object":
        return Opaque(tree["type"], value)
    if kind in _FROM_ITEMS:
        return _FROM_ITEMS[kind](map(_decode, value))
    if kind not in _FROM_SCALAR:
        raise BadInput(f"unknown tag {kind!r} in a stored JSON value", hint="it was written by a newer mlops_nb: upgrade this one")
    decoded = _FROM_SCALAR[kind](value)
    return decoded.replace(fold=1) if tree.get("fold") else decoded


def _from_numpy(parts: list[str]) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(parts[1]), dtype=np.dtype(parts[0]))[0]


_TIMES = frozenset({dt.datetime, dt.time})
_TO_TEXT: dict[type, Callable[[Any], Any]] = {
    bytes: lambda value: base64.b64encode(value).decode(),
    bytearray: lambda value: base64.b64encode(value).decode(),
    complex: repr,
    dt.date: dt.date.isoformat,
    dt.timedelta: lambda value: [value.days, value.seconds, value.microseconds],
}
_FROM_SCALAR: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "int": lambda text: int(text, 0),
    "complex": complex,
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timedelta": lambda parts: dt.timedelta(*parts),
    "bytes": base64.b64decode,
    "bytearray": lambda text: bytearray(base64.b64decode(text)),
    "text": lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass"),
    "path": lambda tree: Path(_decode(tree)),
    "numpy": _from_numpy,
}
_FROM_ITEMS: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}


def _plain(value: Any, depth: int) -> Any:
    if type(value) is str:
        return plain_text(value)
    value = python_scalar(value)
    if value is None or type(value) is bool:
        return value
    if depth > DEEPEST:
        return _opaque(value, exact=False, why="")
    items = _plain_items(value, lambda item: _plain(item, depth + 1))
    return _plain_scalar(value) if items is None else items


def _plain_items(value: Any, down: Down) -> Any:
    """A container's items; None where it is none."""
    if isinstance(value, Mapping):
        items = {_key(key): down(item) for key, item in value.items()}
        return _tagged("dict", [list(pair) for pair in items.items()]) if TAG in items else items
    if isinstance(value, list | tuple):
        return [down(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((down(item) for item in value), key=_dump)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: down(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return None


def _plain_scalar(value: Any) -> Any:
    """Numbers and text of any subclass (enumerations, ...) as the built-in ones."""
    if isinstance(value, int | float):
        return _number(int(value) if isinstance(value, int) else float(value))
    if isinstance(value, str):
        return plain_text(str.__str__(value))
    if isinstance(value, PurePath):
        return plain_text(str(value))
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return records.utc_text(value) if isinstance(value, dt.datetime) and value.tzinfo else value.isoformat()
    found = _scalar(value)
    return _opaque(value, exact=False, why="") if found is None else found


def _key(key: Any) -> str:
    """A dictionary key as JSON has it."""
    plain = _plain(key, 0)
    return plain if isinstance(plain, str) else _dump(plain)
