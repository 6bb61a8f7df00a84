"""Elements of lists and dicts: what reads `xs[0]` does not stand on the cell that set `xs[1]`.

A name is read in parts where every mention of it in a cell is `name[key]`, with a constant or a variable's int or text as the key. What a
cell changed is told by a comparison of the elements before and after it; where elements are no scalars, they count as one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_nb.capture.kinds import SCALARS

MAX_ELEMENTS = 64
Keys = frozenset[Any]
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Other:
    """In place of an element that is no scalar: nobody shall hold it because it is looked at."""

    identity: int


def elements(namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict[Any, Any]]:
    """The elements of small lists and dicts, by index or key, as they are now."""
    found: dict[str, dict[Any, Any]] = {}
    for name in names:
        value = namespace[name]
        if type(value) not in (list, dict) or len(value) > MAX_ELEMENTS:
            continue
        pairs = enumerate(value[:]) if type(value) is list else value.copy().items()
        kept = {key: item if type(item) in SCALARS else Other(id(item)) for key, item in pairs if type(key) in SCALARS}
        found |= {name: kept} if len(kept) == len(value) else {}
    return found


def changed_keys(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Keys | None:
    """The keys that hold something else now, with `new(key)` for those that came or went; None where elements may have changed inside.

    >>> changed_keys({0: 1, 1: 2}, {0: 1, 1: 3, 2: 4}) == {1, 2, new(2)}
    True
    """
    changed = {key for key in (*before, *after) if not _is_same(before.get(key, _NOTHING), after.get(key, _NOTHING))}
    stayed = [value for key, value in after.items() if key not in changed]
    if not changed or not all(type(value) in SCALARS for value in stayed):
        return None
    return frozenset(changed) | {new(key) for key in changed if key not in before or key not in after}


def new(key: Any) -> tuple[str, Any]:
    """Stands for there being an element `key` at all."""
    return ("new", key)


def keys_read(static: Mapping[str, frozenset[tuple[str, str, Any]]], namespace: Mapping[str, Any]) -> dict[str, Keys]:
    """The keys by which names are read in parts; to set an element, only whether it is there counts. `static`: see `notebook.effects`."""
    found: dict[str, Keys] = {}
    for name, given in static.items():
        keys = [(how, key if kind == "constant" else namespace.get(key)) for how, kind, key in given]
        if type(namespace.get(name)) in (list, dict) and all(type(key) is str or (type(key) is int and key >= 0) for _, key in keys):
            found[name] = frozenset(key for how, key in keys if how == "load") | {new(key) for _, key in keys}
    return found


def settled(wrote: Keys, read: Keys) -> Keys:
    """Of what a run wrote, the keys whose earlier writers are of no more interest: it read them, or set them anew.

    >>> settled(frozenset({0, 1}), frozenset({0, new(0)})) == {0, new(0)}
    True
    """
    keys = {key for key in wrote if new(key) in read}
    return frozenset(keys) | {new(key) for key in keys}


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))  # scalars and `Other`s
