"""Which names share objects: an index from the objects that each name's value holds to the names, kept up as cells run."""

from collections.abc import Iterable, Mapping
from typing import Any

from mlops_nb.capture.fingerprint import reach
from mlops_nb.capture.kinds import is_plain


class Reach:
    """The index of one namespace. What it says is a hint where to look: an object's id may have been taken by another since."""

    def __init__(self) -> None:
        self._held: dict[str, frozenset[int]] = {}
        self._names: dict[int, set[str]] = {}
        self.pending: set[str] = set()  # names that nobody had time to look at

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def put(self, name: str, ids: frozenset[int]) -> None:
        """What `name` holds now."""
        old = self._held.get(name, frozenset())
        if ids == old:
            return
        self.pending.discard(name)
        self._held[name] = ids
        for number in old - ids:
            self._let_go(name, number)
        for number in ids - old:
            self._names.setdefault(number, set()).add(name)

    def look(self, name: str, value: Any) -> None:
        """Look at what `name` is bound to now."""
        if is_plain(value):
            self.drop(name)
        else:
            self.put(name, _reach(value))

    def drop(self, name: str) -> None:
        """Forget a name that is deleted, or holds nothing that can change."""
        self.pending.discard(name)
        for number in self._held.pop(name, ()):
            self._let_go(name, number)

    def sharing(self, ids: Iterable[int], namespace: Mapping[str, Any]) -> set[str]:
        """The names of `namespace` that hold one of these objects, and those that nobody looked at yet."""
        found = {name for number in ids for name in self._names.get(number, ())}
        return {name for name in found | self.pending if name in namespace}

    def held(self, name: str) -> frozenset[int]:
        """The objects that `name` held when it was looked at last."""
        return self._held.get(name, frozenset())

    def _let_go(self, name: str, number: int) -> None:
        names = self._names.get(number)
        if names is not None:
            names.discard(name)
            if not names:
                del self._names[number]


def _reach(value: Any) -> frozenset[int]:
    try:
        return reach(value)
    except Exception:  # noqa: BLE001 (a library's code, asked for a value that is broken)
        return frozenset((id(value),))
