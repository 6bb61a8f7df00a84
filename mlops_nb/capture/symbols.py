"""Staleness per symbol, in any order: a variable, attribute or element is stale when what it was computed from was rewritten since.

Where the cells stand does not matter here, and neither does what a run from top to bottom would give (`capture.lineage` asks that).
What a cell computes from what is told by its code (`notebook.derivations`), what it did by its run:

* What the run did not bind or change, the code did not either: a branch was not taken, or the value stayed the same.
* What it changed though its code does not show it, was changed in parts that are not known, out of all that the run used.
* What it read though its code does not show it, went into all that came out of code that is not the notebook's.
* A rewrite counts if it is certain and not to an equal value; of states (generators, settings) one that sets them, not one that uses them.
* An object that a cell made itself is not rewritten by what happens to it later, only its name is: to run the cell again makes another.
* What a cell shows of a name that it binds itself does not hang on others' use of the name.
* A rewrite that was itself computed from the symbol does not make that stale: to run both again would never end. Of two cells that change
  the same part in place, each from what it was, the first is stale all the same: what it had read is there no more.
* A cell is stale when something that its latest run made, changed or showed is.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from mlops_nb.capture.lineage import names_read, names_written
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.derivations import Follower
from mlops_nb.notebook.objects import ANYTHING, Dep, Deps, Journal, Scope, Slot, Thing, Value, Version, reached
from mlops_nb.notebook.structures import change_any
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import CellRun, Edge

_PREFIXED = re.compile(r"[a-z]+:")
_OUTPUT = re.compile(r"Out|_+|_i?\d+")


def stale_symbols(runs: Iterable[CellRun], edges: Iterable[Edge]) -> dict[str, str]:
    """Cell id -> why it is stale, of the cells that are; failed cells are judged by what they did until then."""
    into: dict[str, list[Edge]] = {}
    for edge in edges:
        into.setdefault(edge.to_run, []).append(edge)
    symbols = Symbols()
    for run in sorted(runs, key=lambda run: (run.started, run.seq)):
        symbols.add(run, into.get(run.id, ()))
    return symbols.stale()


@dataclass(frozen=True, slots=True)
class _Made:
    """What a run left: the slots that it gave a value, and what it showed."""

    run: CellRun
    given: tuple[tuple[Slot, Version], ...]
    shown: tuple[Slot, Version]
    last: Value


@dataclass(slots=True)
class Symbols:
    """The symbols of one session, kept up run by run."""

    journal: Journal = field(default_factory=Journal)
    scope: Scope = field(default_factory=Scope)
    runs: list[CellRun] = field(default_factory=list)
    by_id: dict[str, _Made] = field(default_factory=dict)
    latest: dict[str, _Made] = field(default_factory=dict)

    def add(self, run: CellRun, edges: Iterable[Edge]) -> None:
        """Take in the next run, with the edges into it."""
        self.journal.begin(len(self.runs))
        self.runs.append(run)
        self._bring_outputs(edges)
        follower = Follower(self.journal, self.scope)
        tree = parse(plain_python(run.source))
        if not isinstance(tree, str):
            with suppress(RecursionError):  # nested too deeply: the rest rests on what the run shows
                follower.follow(tree)
        made = _settle(run, follower)
        self.by_id[run.id] = self.latest[run.cell_id] = made

    def _bring_outputs(self, edges: Iterable[Edge]) -> None:
        """`_`, `_5`, `Out`: what those cells had shown."""
        for name, behind in _by_output(edges).items():
            sources = [self.by_id[run_id] for run_id in behind if run_id in self.by_id]
            deps = frozenset(Dep(made.shown[0], made.shown[1].time) for made in sources)
            self.journal.give(self.scope.own(name), Value(deps, sources[0].last.thing if len(sources) == 1 else Thing(self.journal.run)))
        self.journal.changes = []

    def stale(self) -> dict[str, str]:
        """Cell id -> why it is stale, of the cells that are."""
        judge = _Judge(self.runs)
        found = {cell_id: judge.why(made) for cell_id, made in self.latest.items()}
        return {cell_id: reason for cell_id, reason in found.items() if reason}


def _by_output(edges: Iterable[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for edge in edges:
        if _is_output(edge.name):
            found.setdefault(edge.name, []).append(edge.from_run)
    return found


# --- what the run says of what the code says ---


def _settle(run: CellRun, follower: Follower) -> _Made:
    """Take back what the run did not do, add what its code does not show."""
    journal, scope = follower.journal, follower.scope
    follower.hidden.value = Value(_reads(scope, set(names_read(run)) - follower.seen, follower.hidden.time))
    written = set(names_written(run))
    differing = written - set(run.unchanged)
    _keep_names(run, written, scope, journal)
    touched = reached(thing for name in differing if (thing := _held(scope, name)) is not None)
    _keep_parts(touched, journal)
    for name in sorted(differing - set(run.possible)):
        _explain(name, run, follower)
    own = reached(version.value.thing for slot, version in journal.changes if slot.owner is None and version.value.thing is not None)
    given = tuple((slot, version) for slot, version in journal.changes if _remains(slot, scope, own, journal.run))
    shown = Slot("")
    version = journal.give(shown, Value(follower.shown))
    return _Made(run, given, (shown, version), follower.last)


def _reads(scope: Scope, names: Iterable[str], time: int) -> Deps:
    found: set[Dep] = set()
    for name in names:
        if not _is_output(name):
            found.add(Dep(scope.own(name), time))
            found |= {Dep(thing, time)} if (thing := _held(scope, name)) else set()
    return frozenset(found)


def _held(scope: Scope, name: str) -> Thing | None:
    slot = scope.slots.get(name)
    if slot is None:
        return None
    return slot.versions[-1].value.thing if slot.versions else slot.unknown


def _keep_names(run: CellRun, written: set[str], scope: Scope, journal: Journal) -> None:
    """Names are bound that the run bound; to equal values where it says so."""
    for slot, version in list(journal.changes):
        if slot.owner is not None or scope.slots.get(slot.label) is not slot:
            continue
        if slot.label not in written:
            _take_back(slot, version, journal)
        version.equal |= slot.label in run.unchanged
        if run.status == "error":
            version.value = Value(version.value.deps, version.value.thing)


def _keep_parts(touched: set[Thing], journal: Journal) -> None:
    """Things of before are changed that a changed name leads to."""
    for slot, version in list(journal.changes):
        if slot.owner is not None and slot.owner.made < journal.run and slot.owner not in touched:
            _take_back(slot, version, journal)


def _take_back(slot: Slot, version: Version, journal: Journal) -> None:
    slot.versions.remove(version)
    journal.changes.remove((slot, version))


def _explain(name: str, run: CellRun, follower: Follower) -> None:
    """A name that was bound or changed in a way that the code does not show."""
    journal, scope = follower.journal, follower.scope
    slot = scope.own(name)
    if slot.versions and slot.versions[-1].run == journal.run:
        return
    in_place = name in run.kept or name in names_read(run)
    thing = _held(scope, name)
    if _PREFIXED.match(name):
        if not in_place or name.startswith("file:"):  # a draw that moves a generator on rewrites nothing
            journal.give(slot, Value(_everything(run, follower)))
    elif not in_place or thing is None:
        journal.give(slot, Value(_everything(run, follower), Thing(journal.run)))
    elif reached(iter([thing])).isdisjoint(s.owner for s, _ in journal.changes):
        change_any(journal, thing, _everything(run, follower))


def _everything(run: CellRun, follower: Follower) -> Deps:
    """All that the run read."""
    names = [name for name in names_read(run) if not _is_output(name)]
    return _reads(follower.scope, names, follower.hidden.time)


def _remains(slot: Slot, scope: Scope, own: set[Thing], run: int) -> bool:
    """Whether a slot is a variable, or a part of something that is still there after the run."""
    if slot.owner is None:
        return scope.slots.get(slot.label) is slot
    return slot.owner.made < run or slot.owner in own


# --- what is stale ---


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who depends on something: its name, its version, the cell that computed it."""

    slot: Slot
    version: Version
    cell: str
    itself: bool = False  # asked for the cell that computed it, not for others that took it from there


class _Judge:
    """Answers for one moment; what is known of a version is kept."""

    def __init__(self, runs: list[CellRun]) -> None:
        self.runs = runs
        self.known: dict[Version, str] = {}

    def why(self, made: _Made) -> str:
        """Why a cell is stale, '' if it is not."""
        for slot, version in (*made.given, made.shown):
            reader = _Reader(slot, version, made.run.cell_id, itself=True)
            if reason := self.version(slot, version) or self._deps(reader):
                return reason
        return ""

    def version(self, slot: Slot, version: Version) -> str:
        """Why the value of a slot is stale."""
        if version not in self.known:
            self.known[version] = ""  # what leads back here is no reason
            reader = _Reader(slot, version, self.runs[version.run].cell_id)
            self.known[version] = self._deps(reader)
        return self.known[version]

    def _deps(self, reader: _Reader) -> str:
        deps = sorted(reader.version.value.deps, key=lambda dep: (dep.time, isinstance(dep.source, Thing)))
        return next(filter(None, (self.dep(dep, reader, set()) for dep in deps)), "")

    def dep(self, dep: Dep, reader: _Reader, seen: set[Thing]) -> str:
        """Why something that was read then is another by now."""
        if isinstance(dep.source, Slot):
            return self.slot(dep.source, dep.time, reader)
        return self.thing(dep.source, dep.time, reader, seen)

    def thing(self, thing: Thing, time: int, reader: _Reader, seen: set[Thing]) -> str:
        """A thing with all its parts."""
        if thing in seen:
            return ""
        seen.add(thing)
        for slot in list(thing.slots.values()):
            if reason := self.slot(slot, time, reader):
                return reason
            version = slot.at(time)
            inner = version.value.thing if version else slot.unknown
            if inner is not None and (reason := self.thing(inner, time, reader, seen)):
                return reason
        return ""

    def slot(self, slot: Slot, time: int, reader: _Reader) -> str:
        """A variable or part as it was bound then."""
        at, later = _split(slot, time)
        own = (slot.owner is not None and slot.owner.made == reader.version.run) or any(_its_own(version, reader) for version in at)
        others = [version for version in later if self.runs[version.run].cell_id != reader.cell]
        for version in [] if own else others:
            if not version.equal and not self._took(slot, version, reader):
                return self._rewritten(slot, version, reader)
        if others and others == later and all(version.equal for version in others):
            at = others[-1:]  # made again, to an equal value: who read it before would read the same now
        return next(filter(None, (self.version(slot, version) for version in at)), "")

    def _rewritten(self, slot: Slot, version: Version, reader: _Reader) -> str:
        name = (slot.label if version in slot.versions else "") or (slot.owner.label if slot.owner else "") or "what it read"
        by, run = _label(self.runs[version.run]), self.runs[reader.version.run]
        return f"`{name}` rewritten by {by} after " + (
            f"`{reader.slot.label}` was computed from it" if reader.slot.label else f"{_label(run)} read it"
        )

    def _took(self, slot: Slot, version: Version, reader: _Reader) -> bool:
        """Whether the rewrite was computed from what the reader computed; who changed a part before another changed the same is to run again."""
        return not (reader.itself and slot.owner is not None and slot is reader.slot) and self.comes_from(version, reader.version)

    def comes_from(self, version: Version, earlier: Version) -> bool:
        """Whether a value was computed from an earlier one."""
        todo, seen = [version], {version}
        while todo:
            for inner in _behind(todo.pop(), earlier.time):
                if inner is earlier:
                    return True
                if inner not in seen:
                    seen.add(inner)
                    todo.append(inner)
        return False


def _its_own(version: Version, reader: _Reader) -> bool:
    """Whether a cell that bound a name only shows what it holds, or changes it: run again, the cell binds it again."""
    holder = reader.slot.owner
    return version.run == reader.version.run and (not reader.slot.label or (holder is not None and version.value.thing is holder))


def _split(slot: Slot, time: int) -> tuple[list[Version], list[Version]]:
    """What made a slot's value as it was then, and what was bound later; changes of parts that are not known may be of this one."""
    versions = slot.versions
    others = slot.owner.slots[ANYTHING].versions if slot.owner and ANYTHING in slot.owner.slots else []
    at = [version for version in versions if version.time <= time][-1:]
    since = at[0].time if at else -1
    if slot.owner and slot is slot.owner.slots.get(ANYTHING):
        return [v for v in versions if v.time <= time], [v for v in versions if v.time > time]
    at += [version for version in others if since < version.time <= time]
    return at, sorted((v for v in (*versions, *others) if v.time > time), key=lambda v: v.time)


def _behind(version: Version, since: int) -> Iterator[Version]:
    """The values that a value was computed from, none older than `since`."""
    own = {Dep(thing, version.time)} if (thing := version.value.thing) is not None and thing.made == version.run else set()
    for dep in version.value.deps | own:
        slots = [dep.source] if isinstance(dep.source, Slot) else [s for thing in reached(iter([dep.source])) for s in thing.slots.values()]
        for slot in slots:
            yield from (inner for inner in _split(slot, dep.time)[0] if inner.time >= since)


def _is_output(name: str) -> bool:
    return _OUTPUT.fullmatch(name) is not None


def _label(run: CellRun) -> str:
    return f"[{run.execution_count}]"
