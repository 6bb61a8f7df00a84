"""Two looks at a namespace, compared by identity."""

from collections.abc import Mapping
from itertools import compress, islice
from operator import is_, is_not
from typing import Any

_MISSING = object()


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names bound to another object than before, in order, and the names that are gone.

    Neither mapping may change meanwhile: give copies.

    >>> x = [1]
    >>> moved({"x": x, "y": 1}, {"x": x, "y": 2, "z": 3}), moved({"x": x}, {})
    ((['y', 'z'], []), ([], ['x']))
    """
    if len(before) <= len(now) and all(map(is_, before, now)):  # in the order of before no name has to be looked up
        rebound = compress(now, map(is_not, before.values(), now.values()))
        return [*rebound, *islice(now, len(before), None)], []
    changed = [name for name, value in now.items() if before.get(name, _MISSING) is not value]
    return changed, [name for name in before if name not in now]
