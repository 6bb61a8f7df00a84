"""What one run of a cell did to the namespace: a look before it, a look after it, and the code in between."""

import re
import time
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.capture.fingerprint import SCALARS, Fingerprint, fingerprint, holds, is_plain
from mlops_nb.capture.resolve import Resolved, resolve
from mlops_nb.notebook.flow import Facts
from mlops_nb.records import Certainty

MAX_TOUCHED = 200
LOOK_SECONDS = 0.004  # for all fingerprints of one look; what is left then rests on the code's own evidence
MAX_KEPT_TEXT = 4096
_SHELL_NAME = re.compile(r"_+|_i{1,3}|_i?\d+|_[iod]h|_exit_code|__\w+__")

_MISSING = object()


@dataclass(frozen=True, slots=True)
class _Stamp:
    """In place of a value that the cell is going to unbind: so that it is freed when the cell frees it."""

    identity: int
    kept: Any = None


@dataclass(frozen=True, slots=True)
class Look:
    """The namespace before a cell: its names and values, fingerprints of the touched ones.

    Values stay referenced while the cell runs, but those that it binds anew or deletes, of which only a stamp is kept.
    """

    names: Mapping[str, Any]
    prints: Mapping[str, Fingerprint | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """Names a run read and wrote, each with how sure that is; `unchanged` ones were bound to an equal value."""

    reads: Mapping[str, Certainty] = field(default_factory=dict)
    writes: Mapping[str, Certainty] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def shadowed_builtins(namespace: Mapping[str, Any], hidden: Mapping[str, Any], builtins: frozenset[str]) -> frozenset[str]:
    """Builtin names that the user bound to something else."""
    return frozenset(name for name in builtins & namespace.keys() if not _is_shells(name, hidden))


def look_before(namespace: dict[str, Any], hidden: Mapping[str, Any], facts: Facts) -> tuple[Look, Resolved]:
    """The namespace before the cell runs, and what the functions it uses will reach."""
    resolved = resolve(facts.analysis.uses, facts.calls, namespace)
    names = namespace.copy()  # threads of the user's may write to the namespace meanwhile
    touched = (facts.analysis.uses | facts.analysis.mutates | resolved.reads) & names.keys()
    if facts.analysis.dynamic:
        touched |= {name for name in names if not _is_shells(name, hidden)}
    prints = _prints(names, sorted(touched)[:MAX_TOUCHED])
    reached = frozenset().union(*(found.ids for found in prints.values() if found))
    aliases = (
        [name for name, value in names.items() if id(value) in reached and name not in prints and not _is_shells(name, hidden)] if reached else []
    )
    prints |= _prints(names, aliases[:MAX_TOUCHED])
    for name in (facts.analysis.defs | facts.analysis.deletes | resolved.binds) & names.keys():
        names[name] = _stamp(names[name])
    return Look(names, prints), resolved


def observe(before: Look, namespace: dict[str, Any], hidden: Mapping[str, Any], *, facts: Facts, resolved: Resolved, failed: bool) -> Observed:
    """Compare the namespace after a run with the look before it."""
    known = before.names
    now = namespace.copy()
    moved = [name for name, value in now.items() if known.get(name, _MISSING) is not value]
    bound = [name for name in moved if not _is_shells(name, hidden) and not _is_same(known.get(name, _MISSING), now[name])]
    again = [] if failed else [name for name in facts.always if name in now and name not in bound and not _is_shells(name, hidden)]
    unchanged = {name for name in bound if _is_equal(known.get(name, _MISSING), now[name])}.union(again)
    writes: dict[str, Certainty] = dict.fromkeys([*bound, *again], "certain")
    changed = _changed(before, now, facts, skip=writes.keys(), hidden=hidden)
    deleted = tuple(name for name in known.keys() - now.keys() if not _is_shells(name, hidden))
    reads = _reads(before, facts, resolved, failed=failed)
    return Observed({n: s for n, s in reads.items() if not _is_shells(n, hidden)}, {**changed, **writes}, tuple(sorted(unchanged)), deleted)


def _reads(before: Look, facts: Facts, resolved: Resolved, *, failed: bool) -> dict[str, Certainty]:
    found: dict[str, Certainty] = {}
    for name in sorted((facts.analysis.uses | resolved.reads) & before.names.keys()):
        if name in facts.analysis.uses:
            certain = name in facts.certain or name in resolved.certain
        else:  # read by a function only: after this cell bound it, perhaps
            certain = name in resolved.certain and name not in facts.analysis.defs
        found[name] = "certain" if certain and not failed else "possible"
    return found


def _changed(before: Look, namespace: dict[str, Any], facts: Facts, *, skip: Iterable[str], hidden: Mapping[str, Any]) -> dict[str, Certainty]:
    """Names whose objects changed in place, with the names that share these objects."""
    names = [name for name in before.prints if name not in skip and name in namespace]
    after = _prints(namespace, names)
    found: dict[str, Certainty] = {}
    for name in names:
        old, new = before.prints[name], after.get(name)
        if old and new and old.digest != new.digest:
            found[name] = "certain"
        elif name in facts.analysis.mutates and not is_plain(namespace[name]) and not (old and new and old.whole and new.whole):
            found[name] = "possible"
    shared = _sharing(found, namespace, before, skip=skip)
    return {**{name: sure for name, sure in shared.items() if not _is_shells(name, hidden)}, **found}


def _sharing(found: Mapping[str, Certainty], namespace: dict[str, Any], before: Look, *, skip: Iterable[str]) -> dict[str, Certainty]:
    """Other names for a changed object, and containers, instances and views that hold it."""
    if not found:
        return {}
    certain = {id(namespace[name]) for name, sure in found.items() if sure == "certain"}
    possible = {id(namespace[name]) for name, sure in found.items() if sure == "possible"}
    passed = set(skip) | set(found)
    shared: dict[str, Certainty] = {}
    deadline = time.perf_counter() + LOOK_SECONDS / 2
    for name in before.names:
        if name in passed or name not in namespace or time.perf_counter() > deadline:
            continue
        value = namespace[name]
        if id(value) in certain or holds(value, certain):
            shared[name] = "certain" if before.prints.get(name) is None else "possible"
        elif id(value) in possible or holds(value, possible):
            shared[name] = "possible"
    return shared


def _prints(namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, Fingerprint | None]:
    """Fingerprints of what can change in place; None where time ran out."""
    found: dict[str, Fingerprint | None] = {}
    deadline = time.perf_counter() + LOOK_SECONDS
    for name in names:
        if not is_plain(namespace[name]):
            found[name] = fingerprint(namespace[name]) if time.perf_counter() < deadline else None
    return found


def _is_shells(name: str, hidden: Mapping[str, Any]) -> bool:
    return name in hidden or type(name) is not str or (name[:1] == "_" and _SHELL_NAME.fullmatch(name) is not None)


def _stamp(value: Any) -> _Stamp:
    kind = type(value)
    if kind is types.FunctionType:
        return _Stamp(id(value), _code(value))
    return _Stamp(id(value), value if kind in SCALARS else None)


def _code(function: types.FunctionType) -> tuple[Any, ...]:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return (function.__code__, *((type(d), d) if type(d) in SCALARS else id(d) for d in defaults))


def _is_same(old: Any, new: Any) -> bool:
    """Whether a name is bound to the same object as before."""
    return old.identity == id(new) if type(old) is _Stamp else old is new


def _is_equal(old: Any, new: Any) -> bool:
    """Whether a name bound anew is bound to an equal scalar, or to a function of the same code and defaults."""
    before = old.kept if type(old) is _Stamp else _code(old) if type(old) is types.FunctionType else old
    kind = type(new)
    if kind is types.FunctionType:
        return type(before) is tuple and before == _code(new)
    return kind in SCALARS and type(before) is kind and (old is not _MISSING) and (type(old) is not _Stamp or new is not None) and bool(before == new)
