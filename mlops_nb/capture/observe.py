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

Stamp = int | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """The namespace at one moment: a stamp for each name, fingerprints of the touched ones. No object is kept alive by it."""

    stamps: Mapping[str, Stamp]
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
    stamps = _stamps(namespace, hidden)
    touched = stamps.keys() if facts.analysis.dynamic else (facts.analysis.uses | facts.analysis.mutates | resolved.reads) & stamps.keys()
    prints = _prints(namespace, sorted(touched)[:MAX_TOUCHED])
    reached = frozenset().union(*(p.ids for p in prints.values() if p))
    aliases = [name for name, stamp in stamps.items() if name not in prints and stamp in reached]
    return Look(stamps, {**prints, **_prints(namespace, aliases[:MAX_TOUCHED])}), resolved


def observe(before: Look, namespace: dict[str, Any], hidden: Mapping[str, Any], *, facts: Facts, resolved: Resolved, failed: bool) -> Observed:
    """Compare the namespace after a run with the look before it."""
    stamps = _stamps(namespace, hidden)
    writes: dict[str, Certainty] = {n: "certain" for n, s in stamps.items() if not _same(before.stamps.get(n), s, identity=True)}
    rebound = set() if failed else {n for n in facts.always if n in stamps and n not in writes}
    unchanged = {n for n in writes if _same(before.stamps.get(n), stamps[n], identity=False)} | rebound
    writes |= dict.fromkeys(sorted(rebound), "certain")
    changed = _changed(before, namespace, facts, skip=writes.keys())
    reads = _reads(before, facts, resolved, failed=failed)
    deleted = tuple(n for n in before.stamps if n not in stamps)
    return Observed(reads, {**changed, **writes}, tuple(sorted(unchanged)), deleted)


def _reads(before: Look, facts: Facts, resolved: Resolved, *, failed: bool) -> dict[str, Certainty]:
    found: dict[str, Certainty] = {}
    for name in sorted((facts.analysis.uses | resolved.reads) & before.stamps.keys()):
        if name in facts.analysis.uses:
            certain = name in facts.certain or name in resolved.certain
        else:  # read by a function only: after this cell bound it, perhaps
            certain = name in resolved.certain and name not in facts.analysis.defs
        found[name] = "certain" if certain and not failed else "possible"
    return found


def _changed(before: Look, namespace: dict[str, Any], facts: Facts, *, skip: Iterable[str]) -> dict[str, Certainty]:
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
    return {**_sharing(found, namespace, before, skip=skip), **found}


def _sharing(found: Mapping[str, Certainty], namespace: dict[str, Any], before: Look, *, skip: Iterable[str]) -> dict[str, Certainty]:
    """Other names for a changed object, and containers, instances and views that hold it."""
    if not found:
        return {}
    certain = {id(namespace[name]) for name, sure in found.items() if sure == "certain"}
    possible = {id(namespace[name]) for name, sure in found.items() if sure == "possible"}
    passed = set(skip) | set(found)
    shared: dict[str, Certainty] = {}
    deadline = time.perf_counter() + LOOK_SECONDS / 2
    for name in before.stamps:
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
    return name in hidden or (name[0] == "_" and _SHELL_NAME.fullmatch(name) is not None)


def _stamps(namespace: dict[str, Any], hidden: Mapping[str, Any]) -> dict[str, Stamp]:
    return {name: _stamp(value) for name, value in namespace.copy().items() if type(name) is str and name and not _is_shells(name, hidden)}


def _stamp(value: Any) -> Stamp:
    """A scalar itself, a function's identity and code, any other object's identity."""
    kind = type(value)
    if kind in SCALARS and not (kind in (str, bytes) and len(value) > MAX_KEPT_TEXT):
        return (kind, value)
    if kind is types.FunctionType:
        return (kind, id(value), value.__code__, tuple(_stamp(d) for d in value.__defaults__ or ()))
    return id(value)


def _same(old: Stamp | None, new: Stamp, *, identity: bool) -> bool:
    """Whether a name is bound to the same object, or (not `identity`) to an equal scalar or function."""
    if type(old) is not type(new):
        return False
    if isinstance(old, tuple) and isinstance(new, tuple) and old[0] is new[0] is types.FunctionType:
        return old[1] == new[1] if identity else old[2:] == new[2:]
    return old == new
