"""What one run of a cell did to the namespace: a look before it, a look after it, and the code in between."""

import re
import types
import weakref
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

from mlops_nb.capture import parts, state
from mlops_nb.capture.fingerprint import Fingerprint, fingerprint
from mlops_nb.capture.kinds import SCALARS, is_own, is_plain, module_of
from mlops_nb.capture.names import moved as names_moved
from mlops_nb.capture.parts import Keys
from mlops_nb.capture.reach import Reach
from mlops_nb.capture.resolve import Asked, Resolved, resolve, resolve_codes
from mlops_nb.notebook.flow import Facts
from mlops_nb.records import Certainty

MAX_TOUCHED = 200
LOOK_SECONDS = 0.012  # for all fingerprints of one look (a big model takes 4 ms on a busy machine); what is left then rests on the code alone
MAX_KEPT = 256  # items of a small container that is kept while its name is bound anew
_SHELL_NAME = re.compile(r"_+|_i{1,3}|_i?\d+|_[iod]h|_exit_code|__(?!main__)\w+__")

_MISSING = object()
_WEAK = type.__dict__["__weakrefoffset__"].__get__
_SMALL = (list, tuple, dict, set)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """In place of a value that the cell is going to unbind: so that it is freed when the cell frees it."""

    identity: int
    kept: Any = None


@dataclass(frozen=True, slots=True)
class Look:
    """The namespace before a cell: its names and values, fingerprints of the touched ones and of those that share objects with them.

    Values stay referenced while the cell runs, but those that it binds anew or deletes, of which only a stamp is kept. `alike`: the
    names that share objects with touched ones. `binds`: those that the cell may bind or delete. `packages` and `handles`: whose code its
    values run, and the files that are open for writing among them.
    """

    names: Mapping[str, Any]
    prints: Mapping[str, Fingerprint | None] = field(default_factory=dict)
    alike: frozenset[str] = frozenset()
    states: state.States = field(default_factory=state.States)
    elements: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    parts: Mapping[str, Keys] = field(default_factory=dict)
    binds: Collection[str] = ()
    packages: frozenset[str] = frozenset()
    handles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """Names a run read and wrote, each with how sure that is.

    `unchanged` ones were bound to an equal value; `kept` ones hold an object that changed in place, though the run did not read them
    (`same`: it read another name of that very object).
    `absent`: names it asked for that were not there. `skipped`: name -> type of values that could not be looked at whole.
    """

    reads: Mapping[str, Certainty] = field(default_factory=dict)
    writes: Mapping[str, Certainty] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    parts: Mapping[str, Keys] = field(default_factory=dict)


def shadowed_builtins(namespace: Mapping[str, Any], hidden: Mapping[str, Any], builtins: frozenset[str]) -> frozenset[str]:
    """Builtin names that the user bound to something else."""
    return frozenset(name for name in builtins & namespace.keys() if not is_shells(name, hidden))


def look_before(namespace: dict[str, Any], hidden: Mapping[str, Any], facts: Facts, reach: Reach) -> tuple[Look, Resolved]:
    """The namespace before the cell runs, and what the functions it uses will reach."""
    uses = facts.analysis.uses | facts.analysis.looked_up
    out = frozenset(name for _, place, name in facts.analysis.passes if place != "self")
    resolved = resolve(Asked(uses, facts.calls, facts.effects.attributes, out), namespace)
    names = namespace.copy()  # threads of the user's may write to the namespace meanwhile
    touched = (uses | facts.analysis.mutates | resolved.reads) & names.keys()
    if facts.analysis.dynamic or facts.effects.whole or resolved.dynamic or resolved.whole:
        touched |= {name for name in names if not is_shells(name, hidden)}
    prints = _prints(names, sorted(touched)[:MAX_TOUCHED])
    wanted = resolved.wanted | resolved.attributes
    inside = {code for name, found in prints.items() if found for code, method in found.codes if not method or name in out or _may_run(code, wanted)}
    if inside and (new := resolve_codes(resolved, inside, namespace) - prints.keys()):
        prints |= _prints(names, sorted(new)[:MAX_TOUCHED])
    alike = _alike(names, prints, reach)
    prints |= _prints(names, alike)
    elements = parts.elements(names, prints)
    keys = parts.keys_read({name: given for name, given in facts.effects.parts.items() if name not in resolved.reads}, names)
    used = state.modules_in(uses | resolved.reads, names)
    binds = (facts.analysis.defs | facts.analysis.deletes | resolved.binds) & names.keys()
    values = [names[name] for name in (uses | resolved.reads) & names.keys()]
    packages, handles = frozenset(map(state.package_of, values)), tuple(state.handles(values))
    del values
    for name in binds | prints.keys():  # no more references to them than without us
        names[name] = _stamp(names[name], bound=name in binds)
    return Look(names, prints, frozenset(alike), state.look(used), elements, keys, binds, packages, handles), resolved


def _may_run(code: types.CodeType, wanted: set[str]) -> bool:
    """Whether a method can be called by code that looks up the names `wanted`."""
    return code.co_name[:2] == "__" or code.co_name in wanted or "*" in wanted


def _alike(names: Mapping[str, Any], prints: Mapping[str, Fingerprint | None], reach: Reach) -> list[str]:
    """The names that share objects with those of `prints`."""
    for name, found in prints.items():
        if found:
            reach.put(name, found.ids)
    for name in [*reach.pending][:MAX_TOUCHED]:
        if name in names:
            reach.look(name, names[name])
        else:
            reach.drop(name)
    reached = frozenset().union(*(found.ids for found in prints.values() if found))
    return sorted(reach.sharing(reached, names) - prints.keys())[:MAX_TOUCHED] if reached else []


def observe(before: Look, namespace: dict[str, Any], hidden: Mapping[str, Any], *, facts: Facts, resolved: Resolved, failed: bool) -> Observed:
    """Compare the namespace after a run with the look before it."""
    known = before.names
    now = namespace.copy()
    changed_names, gone = names_moved(known, now)
    moved = [name for name in changed_names if not is_shells(name, hidden)]
    bound = [name for name in moved if not _is_same(known.get(name, _MISSING), now[name])]
    doubtful = [name for name in moved if name in before.binds and name not in bound and not _is_proved(known[name], now[name])]
    again = [] if failed else [name for name in facts.always if name in now and name not in bound and not is_shells(name, hidden)]
    unchanged = {name for name in bound if _is_equal(known.get(name, _MISSING), now[name])}.union(again).difference(doubtful)
    writes: dict[str, Certainty] = dict.fromkeys([*bound, *again], "certain")
    reads = _reads(before, facts, resolved, failed=failed, hidden=hidden)
    changed, skipped = _changed(before, now, facts, resolved, skip=writes.keys())
    unlooked = [name for name in reads if name in now and name not in before.prints and not is_plain(now[name])] if resolved.changes else []
    changed |= {name: "possible" for name in (*doubtful, *unlooked) if name not in writes and name not in changed}
    in_parts = _parts_changed(before, now, changed)
    known_by = {id(now[name]) for name in changed if name in reads}  # what has two names has one history
    kept = tuple(sorted(name for name in changed if name not in reads or (name in in_parts and name in before.parts)))
    same = tuple(name for name in kept if name not in reads and id(now[name]) in known_by)
    return Observed(
        reads=reads,
        writes={**{name: sure for name, sure in changed.items() if not is_shells(name, hidden)}, **writes},
        unchanged=tuple(sorted(unchanged)),
        deleted=tuple(name for name in gone if not is_shells(name, hidden)),
        kept=kept,
        same=same,
        absent=tuple(sorted((facts.analysis.uses | facts.analysis.looked_up) - known.keys())),
        skipped=skipped,
        bound=tuple(bound),
        parts=in_parts,
    )


def _parts_changed(before: Look, now: Mapping[str, Any], changed: Mapping[str, Certainty]) -> dict[str, Keys]:
    """The elements that changed, of names whose other elements are as they were."""
    names = [name for name, sure in changed.items() if sure == "certain" and name in before.elements]
    after = parts.elements(now, names)
    found = {name: parts.changed_keys(before.elements[name], after[name]) for name in names if name in after}
    return {name: keys for name, keys in found.items() if keys is not None}


def _reads(before: Look, facts: Facts, resolved: Resolved, *, failed: bool, hidden: Mapping[str, Any]) -> dict[str, Certainty]:
    found: dict[str, Certainty] = {}
    uses = facts.analysis.uses
    for name in sorted((uses | facts.analysis.looked_up | resolved.reads) & before.names.keys()):
        if is_shells(name, hidden):
            continue
        # What only a function reads, or what is asked for as text, this cell may have bound before.
        certain = name in facts.certain or (name in resolved.certain and (name in uses or name not in facts.analysis.defs))
        found[name] = "certain" if certain and not failed else "possible"
    if facts.effects.whole or resolved.whole:
        return {**{name: "possible" for name in before.names if not is_shells(name, hidden)}, **found}
    return found


def _changed(
    before: Look, namespace: dict[str, Any], facts: Facts, resolved: Resolved, *, skip: Iterable[str]
) -> tuple[dict[str, Certainty], dict[str, str]]:
    """Names whose objects changed in place, and those that nobody could look at whole."""
    names = [name for name in before.prints if name not in skip and name in namespace]
    after = _prints(namespace, names)
    handed = _handed(facts, resolved, namespace)
    found: dict[str, Certainty] = {}
    skipped: dict[str, str] = {}
    for name in names:
        old, new = before.prints[name], after.get(name)
        whole = old is not None and new is not None and old.whole and new.whole
        if old and new and old.digest != new.digest:
            found[name] = "certain"
        elif (
            not whole and not is_plain(namespace[name]) and (old is None or new is None or name in handed or (old.moves and name not in before.alike))
        ):
            found[name] = "possible"
        if not whole and (old is None or new is None or name in handed):
            skipped[name] = type_name(namespace[name])
    return {**_unseen_with(found, before, after), **found}, skipped


def _handed(facts: Facts, resolved: Resolved, namespace: Mapping[str, Any]) -> frozenset[str]:
    """The names whose object the code may change where a look does not show it: by its text, or by handing it to code of the user's."""
    if not resolved.changes:
        return facts.analysis.mutates
    own = {callee for callee, _, _ in facts.analysis.passes if callee[:1] != "." and _is_users(namespace.get(callee))}
    own |= {callee for callee, _, given in facts.analysis.passes if callee[:1] == "." and _is_users(namespace.get(given))}
    return facts.analysis.mutates | {name for callee, _, name in facts.analysis.passes if callee in own} | resolved.changing


def _is_users(value: Any) -> bool:
    kind = type(value)
    return is_own(value) if kind is types.FunctionType else module_of(value if issubclass(kind, type) else kind) == "__main__"


def _unseen_with(found: Mapping[str, Certainty], before: Look, after: Mapping[str, Fingerprint | None]) -> dict[str, Certainty]:
    """Names that share objects with a changed one, but of which a part was out of sight."""
    if not found:
        return {}
    ids = frozenset().union(*(held.ids for name in found if (held := before.prints[name])))
    return {
        name: "possible"
        for name, old in before.prints.items()
        if name not in found and name in after and (old is None or (not old.whole and name in before.alike and not ids.isdisjoint(old.ids)))
    }


def _prints(namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, Fingerprint | None]:
    """Fingerprints of what can change in place; None where time ran out."""
    found: dict[str, Fingerprint | None] = {}
    deadline = 0.0
    for name in names:
        if is_plain(namespace[name]):
            continue
        deadline = deadline or thread_time() + LOOK_SECONDS  # a clock is a system call
        found[name] = _print(namespace[name]) if not found or thread_time() < deadline else None
    return found


def _print(value: Any) -> Fingerprint | None:
    try:
        return fingerprint(value)
    except Exception:  # noqa: BLE001 (a library's code, asked for a value that is broken: nobody looks at it)
        return None


def keep_reach(reach: Reach, namespace: Mapping[str, Any], seen: Observed) -> None:
    """Bring the index up to date with what a run bound, changed and deleted, as far as time allows."""
    for name in seen.deleted:
        reach.drop(name)
    deadline = 0.0
    for name in {*seen.bound, *(name for name in seen.writes if name not in seen.unchanged)}:
        if name not in namespace:
            continue
        deadline = deadline or thread_time() + LOOK_SECONDS
        if is_plain(namespace[name]) or thread_time() < deadline:
            reach.look(name, namespace[name])
        else:
            reach.drop(name)
            reach.pending.add(name)


def type_name(value: Any) -> str:
    """The qualified name of a value's type, asked without the user's code."""
    kind = type(value)
    return f"{module_of(kind)}.{type.__dict__['__qualname__'].__get__(kind)}".removeprefix("builtins.")


def is_shells(name: str, hidden: Mapping[str, Any]) -> bool:
    """Whether a name is IPython's own."""
    return type(name) is not str or name in hidden or (name[:1] == "_" and _SHELL_NAME.fullmatch(name) is not None)


def _stamp(value: Any, *, bound: bool) -> _Stamp:
    kind = type(value)
    if not bound and kind not in SCALARS:
        return _Stamp(id(value))
    if kind is types.FunctionType:
        return _Stamp(id(value), _code(value))
    if kind in SCALARS:
        return _Stamp(id(value), value)
    if kind in _SMALL and len(value) <= MAX_KEPT and SCALARS.issuperset(map(type, value)):
        return _Stamp(id(value), value)
    return _Stamp(id(value), weakref.ref(value) if _WEAK(kind) and module_of(kind) != "numpy" else None)


def _code(function: types.FunctionType) -> tuple[Any, ...]:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return (function.__code__, *((type(d), d) if type(d) in SCALARS else id(d) for d in defaults))


def names_before(before: Look, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The names before the cell, bound to what they were bound to where they still are."""
    now = dict(namespace)
    return {name: now[name] if name in now and _is_same(old, now[name]) else old for name, old in before.names.items()}


def _is_same(old: Any, new: Any) -> bool:
    """Whether a name is bound to an object at the same place as before."""
    return old.identity == id(new) if type(old) is _Stamp else old is new


def _is_proved(old: Any, new: Any) -> bool:
    """Whether it is the very object: its place may have been given to another meanwhile."""
    if type(old) is not _Stamp:
        return old is new
    kept = old.kept() if type(old.kept) is weakref.ref else old.kept
    return kept is new or (type(new) in SCALARS and _is_equal(old, new)) or (type(new) is types.FunctionType and _is_equal(old, new))


def _is_equal(old: Any, new: Any) -> bool:
    """Whether a name bound anew is bound to an equal scalar, or to a function of the same code and defaults."""
    before = old.kept if type(old) is _Stamp else _code(old) if type(old) is types.FunctionType else old
    kind = type(new)
    if kind is types.FunctionType:
        return type(before) is tuple and before == _code(new)
    return kind in SCALARS and type(before) is kind and (old is not _MISSING) and (type(old) is not _Stamp or new is not None) and bool(before == new)
