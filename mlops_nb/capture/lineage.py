"""Cell runs -> edges, cell states with their reasons, slices. Pure: records in, records out."""

import bisect
import itertools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.capture.parts import settled
from mlops_nb.notebook.graph import ancestors
from mlops_nb.records import CellRun, CellState, CellView, Certainty, Edge

MAX_CHAIN = 50  # writers of parts of one object

Writers = Mapping[str, tuple[tuple[str, Certainty], ...]]


def edges_of(run_id: str, reads: Mapping[str, Certainty], writers: Writers) -> tuple[Edge, ...]:
    """The edges into a run: each name it read, from the runs that made or changed its value.

    `writers`: name -> (run id, certainty): the last run that made the name, then those that changed its object since.
    """
    return tuple(
        Edge(writer, run_id, name, "certain" if sure == certainty == "certain" else "possible")
        for name, sure in reads.items()
        for writer, certainty in writers.get(name, ())
    )


def written(writers: Writers, run_id: str, seen: "Effect") -> dict[str, tuple[tuple[str, Certainty], ...]]:
    """The writers after a run. A certain write takes the place of those before: it made the name, or read what they had left.

    A possible write joins them, and so does a change of an object that the run reached by another name (`kept`): one of the very same object
    (`same`) brings with it all that befell the object before, so that of the others only the run that bound the name is still needed.
    """
    after = dict(writers)
    for name in seen.deleted:
        after.pop(name, None)
    for name, certainty in seen.writes.items():
        before = after.get(name, ()) if certainty == "possible" or name in seen.kept else ()
        before = before[:1] if name in seen.same else before
        after[name] = (*(entry for entry in before if entry[0] != run_id), (run_id, certainty))
    return after


@dataclass(frozen=True, slots=True)
class Effect:
    """What a run did, with how sure each name is; `absent` are the names it asked for that were not there.

    `parts_read`, `parts_written`: name -> the elements, where it read or changed no others (see `capture.parts`).
    """

    reads: Mapping[str, Certainty] = field(default_factory=dict)
    writes: Mapping[str, Certainty] = field(default_factory=dict)
    deleted: Collection[str] = ()
    kept: Collection[str] = ()
    same: Collection[str] = ()
    absent: Collection[str] = ()
    outputs: Collection[str] = ()
    shows: bool = False
    parts_read: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    parts_written: Mapping[str, frozenset[Any]] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """The runs of one session, their edges, and who wrote each name last. `positions`: cell id -> place in the notebook, as far as known."""

    runs: list[CellRun] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    writers: Writers = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)
    shown: list[tuple[int, str]] = field(default_factory=list)  # (execution count, run) of those that showed a result
    gone: dict[str, str] = field(default_factory=dict)  # name -> the run that deleted it
    _chains: dict[str, list[tuple[str, frozenset[Any] | None]]] = field(default_factory=dict)  # name -> (run, the elements it wrote: None for all)
    _judge: "_Judge" = field(default_factory=lambda: _Judge())  # noqa: PLW0108 (defined below)

    def add(self, run: CellRun, seen: Effect) -> tuple[Edge, ...]:
        """Take in a run and return the edges into it."""
        edges = (*self._of_names(run, seen), *self._of_outputs(run, seen.outputs), *self._of_deletions(run, seen.absent))
        before = self.writers
        self.writers = written(before, run.id, seen)
        self._follow_parts(run, seen, before)
        for name in seen.writes:
            self.gone.pop(name, None)
        self.gone |= dict.fromkeys(seen.deleted, run.id)
        if seen.shows:
            self.shown.append((run.execution_count, run.id))
        self.runs.append(run)
        self.edges.extend(edges)
        self._judge.add(run, edges)
        return edges

    @classmethod
    def rebuilt(cls, runs: Iterable[CellRun], edges: Iterable[Edge], positions: Mapping[str, int]) -> "History":
        """A session's history out of its records, oldest run first."""
        history = cls(positions=positions)
        into: dict[str, list[Edge]] = {}
        for edge in edges:
            into.setdefault(edge.to_run, []).append(edge)
        for run in runs:
            history.gone |= dict.fromkeys(run.deletes, run.id)
            history.runs.append(run)
            history.edges.extend(into.get(run.id, ()))
            history._judge.add(run, into.get(run.id, ()))
        history.writers = writers_of(history.runs)
        return history

    def changed_since(self, names: Iterable[str]) -> None:
        """Names that a thread, a task or a widget changed after the latest run had ended: it, or one before, may have started that."""
        if self.runs:
            self.writers = written(self.writers, self.runs[-1].id, Effect(writes=dict.fromkeys(names, "possible")))

    def _of_names(self, run: CellRun, seen: Effect) -> Iterator[Edge]:
        """Edges by names; of a name read in parts, from those who wrote these parts or all of it."""
        whole = {name: sure for name, sure in seen.reads.items() if name not in seen.parts_read or name not in self._chains}
        yield from edges_of(run.id, whole, self.writers)
        for name, sure in seen.reads.items():
            if name not in whole:
                keys = seen.parts_read[name]
                yield from (Edge(writer, run.id, name, sure) for writer, wrote in self._chains[name] if wrote is None or not keys.isdisjoint(wrote))

    def _follow_parts(self, run: CellRun, seen: Effect, before: Writers) -> None:
        """Keep, of each name that is changed in parts, who wrote which part since it was made."""
        for name in seen.writes:
            keys, behind = seen.parts_written.get(name), before.get(name, ())
            chain = self._chains.pop(name, None) or [(writer, None) for writer, _ in behind]
            if keys is None or len(chain) >= MAX_CHAIN or any(sure == "possible" for _, sure in behind):
                continue
            over = settled(keys, seen.parts_read.get(name, frozenset()))
            covered = {writer for writer, wrote in chain if wrote is not None and wrote <= over}
            self._chains[name] = [*(entry for entry in chain if entry[0] not in covered), (run.id, keys)]
            self.writers = {**self.writers, name: tuple(entry for entry in self.writers[name] if entry[0] not in covered)}

    def _of_outputs(self, run: CellRun, names: Iterable[str]) -> list[Edge]:
        """Edges from the cells whose results a run names: `_`, `_5`, `Out` (any of them), and `_i5` whose source it names."""
        found = []
        for name in names:
            if name.startswith("_i"):
                behind = [(earlier.execution_count, earlier.id) for earlier in self.runs if f"_i{earlier.execution_count}" == name][-1:]
            elif name == "Out":
                behind = self.shown
            elif name[1:].isdigit():
                behind = [(count, shown) for count, shown in self.shown if count == int(name[1:])][-1:]
            else:
                behind = self.shown[-len(name) :] if len(self.shown) >= len(name) else []  # later results push earlier ones on
            found += [Edge(shown, run.id, name, "certain" if name != "Out" else "possible") for _, shown in behind]
        return found

    def _of_deletions(self, run: CellRun, absent: Iterable[str]) -> list[Edge]:
        """Edges from the cells that deleted what a run asked for in vain: without them it would have been there."""
        return [Edge(self.gone[name], run.id, name, "possible") for name in absent if name in self.gone]

    def replace(self, run: CellRun) -> None:
        """Put a completed run (its files hashed) in the place of the one with its id."""
        place = next(i for i in range(len(self.runs) - 1, -1, -1) if self.runs[i].id == run.id)
        self.runs[place] = run
        self._judge.replace(run)

    def views(self) -> dict[str, CellView]:
        """The state of each cell that ran in this session."""
        return self._judge.views(self.positions)

    def slice(self, names: Iterable[str]) -> tuple[CellRun, ...]:
        """The runs behind the present values of `names`."""
        heads = {writer for name in names for writer, _ in self.writers.get(name, ())}
        return slice_runs(self.runs, self.edges, heads)


def slice_runs(runs: Iterable[CellRun], edges: Iterable[Edge], run_ids: Iterable[str]) -> tuple[CellRun, ...]:
    """The runs behind `run_ids`, themselves included, in the order they ran."""
    requires: dict[str, list[str]] = {}
    for edge in edges:
        requires.setdefault(edge.to_run, []).append(edge.from_run)
    wanted = set(run_ids)
    for run_id in tuple(wanted):
        wanted |= ancestors(requires, run_id)
    return tuple(run for run in _ordered(runs) if run.id in wanted)


def cell_views(runs: Iterable[CellRun], edges: Iterable[Edge], *, positions: Mapping[str, int] | None = None) -> dict[str, CellView]:
    """The state of each cell that ran, over one or several sessions, from its latest run.

    A cell is stale when a name it read was written later by a cell that stands above it, or bound anew by the cell it had read it from;
    when that cell no longer makes the name; when it read what a cell below, or an earlier run of its own, had left; or when what it read
    comes from a stale cell. What cells below change in place later does not count: a run from top to bottom would not see it.
    `positions` says what stands above what; of cells not in it, the one that ran well first does.
    """
    into: dict[str, list[Edge]] = {}
    for edge in edges:
        into.setdefault(edge.to_run, []).append(edge)
    judge = _Judge()
    for run in _ordered(runs):
        judge.add(run, into.get(run.id, ()))
    return judge.views(positions or {})


def _ordered(runs: Iterable[CellRun]) -> list[CellRun]:
    return sorted(runs, key=lambda run: (run.started, run.seq))


@dataclass(slots=True)
class _Rewrites:
    """Who wrote a name another value, in time order: the runs, when each ran, and when each cell did last.

    `highest`: from each run on, the place of the one that stands highest; most cells run in order, and need no closer look.
    """

    runs: list[CellRun] = field(default_factory=list)
    whens: list[int] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    highest: list[int] = field(default_factory=list)

    def add(self, run: CellRun, when: int) -> None:
        """Take in the next one."""
        self.highest.clear()
        self.runs.append(run)
        self.whens.append(when)
        self.last[run.cell_id] = when

    def after(self, when: int) -> int:
        """The index of the first run later than `when`."""
        return bisect.bisect_right(self.whens, when)

    def place(self, places: Mapping[str, int], unknown: int) -> None:
        """Work out `highest`, where it is not known."""
        if self.highest:
            return
        found = (places.get(run.cell_id, unknown) for run in reversed(self.runs))
        self.highest = list(itertools.accumulate(found, min))[::-1]


@dataclass(frozen=True, slots=True)
class _Behind:
    """What a run read: the edges into it, the cells they come from, and those by name."""

    edges: tuple[Edge, ...] = ()
    cells: tuple[str, ...] = ()
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)


class _Judge:
    """The runs, indexed as they come for the questions that staleness asks."""

    def __init__(self) -> None:
        self.positions: Mapping[str, int] = {}
        self.by_id: dict[str, CellRun] = {}
        self.when: dict[str, int] = {}
        self.latest: dict[str, CellRun] = {}
        self.first: dict[str, int] = {}
        self.rewrites: dict[str, _Rewrites] = {}
        self.behind: dict[str, _Behind] = {}
        self.readers: dict[str, set[str]] = {}  # name -> the cells whose latest run read it
        self.dependents: dict[str, set[str]] = {}  # cell -> the cells whose latest run stands on it
        self.direct: dict[str, str] = {}  # cell -> why it is stale by what it read itself; one to be judged again is not in it
        self.shown: dict[str, tuple[CellRun, str, CellView]] = {}

    def add(self, run: CellRun, edges: Iterable[Edge]) -> None:
        """Take in the next run, with the edges into it."""
        number = len(self.when)
        self.by_id[run.id] = run
        self.when[run.id] = number
        if run.status == "ok":
            self.first.setdefault(run.cell_id, number)
        self.behind[run.id] = self._behind([edge for edge in edges if edge.from_run in self.by_id])
        before = self.latest.get(run.cell_id)
        self._index(run)
        rewritten = set(names_written(run)) - set(run.unchanged)
        for name in rewritten:
            self.rewrites.setdefault(name, _Rewrites()).add(run, number)
        for cell in {run.cell_id} | self.dependents.get(run.cell_id, set()) | self._reached(run, rewritten) | self._let_down(before):
            self.direct.pop(cell, None)  # to be judged again

    def _index(self, run: CellRun) -> None:
        """Make `run` its cell's latest."""
        old = self.latest.get(run.cell_id)
        if old is not None:
            for name in names_read(old):
                self.readers[name].discard(run.cell_id)
            for cell in self.behind[old.id].cells:
                self.dependents[cell].discard(run.cell_id)
        self.latest[run.cell_id] = run
        for name in names_read(run):
            self.readers.setdefault(name, set()).add(run.cell_id)
        for cell in self.behind[run.id].cells:
            self.dependents.setdefault(cell, set()).add(run.cell_id)

    def _reached(self, run: CellRun, names: Iterable[str]) -> set[str]:
        """The cells that read one of `names`, which `run` wrote, from where that counts."""
        readers = {(name, cell) for name in names for cell in self.readers.get(name, ()) if cell in self.direct}
        return {cell for name, cell in readers if self._counts(run, name, self.latest[cell])}

    def _let_down(self, before: CellRun | None) -> set[str]:
        """The cells that read what the cell's run before wrote: that run no longer stands between any two."""
        return {cell for name in names_written(before) for cell in self.readers.get(name, ())} if before else set()

    def _behind(self, edges: Sequence[Edge]) -> _Behind:
        if not edges:
            return _Behind()
        sources: dict[str, set[str]] = {}
        for edge in edges:
            sources.setdefault(edge.name, set()).add(self.by_id[edge.from_run].cell_id)
        cells = dict.fromkeys(self.by_id[edge.from_run].cell_id for edge in edges)
        return _Behind(tuple(edges), tuple(cells), {name: frozenset(found) for name, found in sources.items()})

    def replace(self, run: CellRun) -> None:
        """Put a completed run (its files are known now) in the place of the one with its id."""
        self.by_id[run.id] = run
        if self.latest[run.cell_id].id == run.id:
            self.latest[run.cell_id] = run

    def views(self, positions: Mapping[str, int]) -> dict[str, CellView]:
        """The state of every cell, with the notebook's order as it is known now; the same object as long as it is the same state."""
        if positions is not self.positions:
            self.positions = positions
            self.direct.clear()
            for rewrites in self.rewrites.values():
                rewrites.highest.clear()
        if len(self.direct) < len(self.latest):
            self.direct.update({cell_id: self._direct(cell_id) for cell_id in self.latest if cell_id not in self.direct})
        stale = self._stale()
        for cell_id, run in self.latest.items():
            self._show(run, (self.direct[cell_id] or self._through(cell_id, stale)) if cell_id in stale else "")
        return {cell_id: view for cell_id, (_, _, view) in self.shown.items()}

    def _stale(self) -> set[str]:
        """The cells that are stale by themselves, and all that stand on them."""
        todo = [cell_id for cell_id, reason in self.direct.items() if reason]
        found = set(todo)
        while todo:
            source = todo.pop()
            for cell_id in self.dependents.get(source, ()):
                if cell_id not in found and self._through(cell_id, (source,)):
                    found.add(cell_id)
                    todo.append(cell_id)
        return found

    def _show(self, run: CellRun, stale: str) -> None:
        failed = run.status == "error"
        reason = run.error if failed else stale
        shown = self.shown.get(run.cell_id)
        if shown is None or shown[0] is not run or shown[1] != reason:
            view = self._view(run, "failed" if failed else "stale" if stale else "fresh", reason)
            self.shown[run.cell_id] = (run, reason, view)

    def _view(self, run: CellRun, state: CellState, reason: str) -> CellView:
        return CellView(
            cell_id=run.cell_id,
            state=state,
            reason=reason,
            execution_count=run.execution_count,
            crc=run.crc,
            seconds=run.seconds,
            step=run.step,
            tags=run.tags,
            reads=run.reads,
            writes=run.writes,
            upstream=tuple(cell for cell in self.behind[run.id].cells if cell != run.cell_id),
        )

    def _direct(self, cell_id: str) -> str:
        run = self.latest[cell_id]
        sources = self.behind[run.id].sources
        for name in names_read(run):
            if later := self._rewriter(name, run, sources.get(name, frozenset())):
                return f"`{name}` rewritten by {_label(later)} after this ran"
        return self._out_of_order(run) or self._no_longer_made(run)

    def _out_of_order(self, run: CellRun) -> str:
        """Read from a cell below, or from an earlier run of the cell itself: in order it would have read another value."""
        for edge in self.behind[run.id].edges:
            source = self.by_id[edge.from_run]
            if edge.certainty != "certain" or edge.name in source.unchanged or _is_output(edge.name):
                continue
            if source.cell_id != run.cell_id and self._above(run.cell_id, source.cell_id):
                return f"read `{edge.name}` as {_label(source)} further down had left it"
            if source.cell_id == run.cell_id and (edge.name in names_written(run) or source.crc != run.crc):
                return f"read `{edge.name}` as an earlier run of this cell had left it"
            if between := self._between(edge.name, source.cell_id, run):
                return f"read `{edge.name}` as {_label(source)} had left it, which {_label(between)} in between makes too"
        return ""

    def _between(self, name: str, source: str, run: CellRun) -> CellRun | None:
        """The latest run of a cell between the one that `name` was read from and the reader, if it makes the name and ran before."""
        sources = self.behind[run.id].sources[name]
        cells = self.rewrites[name].last if name in self.rewrites else {}
        for cell_id in cells:
            if cell_id in sources or cell_id == run.cell_id:
                continue
            found = self.latest[cell_id]
            ran_before = found.status == "ok" and self.when[found.id] < self.when[run.id]
            if ran_before and name in names_written(found) and self._above(source, cell_id) and self._above(cell_id, run.cell_id):
                return found
        return None

    def _rewriter(self, name: str, run: CellRun, sources: frozenset[str]) -> CellRun | None:
        """The last run that wrote `name` another value after `run` read it, if it is one that counts."""
        rewrites, when = self.rewrites.get(name), self.when[run.id]
        if rewrites is None or (start := rewrites.after(when)) == len(rewrites.runs):
            return None
        places = self.positions or self.first
        rewrites.place(places, unknown=-1)
        own = places.get(run.cell_id)
        if own is not None and rewrites.highest[start] >= own and all(rewrites.last.get(source, -1) <= when for source in sources):
            return None
        return next((later for later in reversed(rewrites.runs[start:]) if self._counts(later, name, run)), None)

    def _counts(self, later: CellRun, name: str, run: CellRun) -> bool:
        """Whether a later write of `name` makes `run` stale: from the cell it was read from, bound anew there, or from one above."""
        if later.cell_id == run.cell_id:
            return False
        sources = self.behind[run.id].sources.get(name, frozenset())
        if later.cell_id in sources and not _in_place(later, name):
            return True
        return self._above(later.cell_id, run.cell_id) and not self._cut_off(later, name, run, sources)

    def _cut_off(self, later: CellRun, name: str, run: CellRun, sources: frozenset[str]) -> bool:
        """Whether a cell that `name` was read from makes it anew between `later` and `run`: in order, the write does not reach `run`."""
        for cell_id in sources:
            maker = self.latest[cell_id]
            makes = name in names_written(maker) and not _in_place(maker, name) and name not in maker.possible and maker.status == "ok"
            if makes and cell_id != later.cell_id and self._above(later.cell_id, cell_id) and self._above(cell_id, run.cell_id):
                return True
        return False

    def _no_longer_made(self, run: CellRun) -> str:
        for edge in self.behind[run.id].edges:
            maker = self.latest[self.by_id[edge.from_run].cell_id]
            newer = self.when[maker.id] > self.when[run.id]
            lost = edge.name not in names_written(maker) and not _is_output(edge.name)
            if edge.certainty == "certain" and newer and maker.status == "ok" and maker.cell_id != run.cell_id and lost:
                return f"`{edge.name}` is no longer made by {_label(maker)}"
        return ""

    def _through(self, cell_id: str, stale: Container[str]) -> str:
        """Why a cell is stale by what it read of the cells `stale`; '' where that is no reason."""
        for edge in self.behind[self.latest[cell_id].id].edges:
            source = self.by_id[edge.from_run]
            if source.cell_id == cell_id or source.cell_id not in stale:
                continue
            if _in_place(source, edge.name) and not self._above(source.cell_id, cell_id):
                continue  # what a cell below changed in place is no reason to run this one again
            if self.latest[source.cell_id].status == "ok":
                verb = "reads" if edge.certainty == "certain" else "may read"
                return f"{verb} `{edge.name}` of a stale cell {_label(self.latest[source.cell_id])}"
        return ""

    def _above(self, other: str, cell_id: str) -> bool:
        if other in self.positions and cell_id in self.positions:
            return self.positions[other] < self.positions[cell_id]
        last = len(self.when)
        return self.first.get(other, last) < self.first.get(cell_id, last)


def writers_of(runs: Iterable[CellRun]) -> Writers:
    """Who wrote each name last, after the recorded runs of one session in the order they ran."""
    writers: Writers = {}
    for run in runs:
        wrote: dict[str, Certainty] = {name: "possible" if name in run.possible else "certain" for name in names_written(run)}
        writers = written(writers, run.id, Effect(writes=wrote, deleted=run.deletes, kept=run.kept))
    return writers


def names_read(run: CellRun) -> tuple[str, ...]:
    """What a run read: variables, states and files."""
    return (*run.reads, *(f"file:{use.path}" for use in run.files if use.mode == "read")) if run.files else run.reads


def names_written(run: CellRun) -> tuple[str, ...]:
    """What a run wrote: variables, states and files."""
    return (*run.writes, *(f"file:{use.path}" for use in run.files if use.mode == "write")) if run.files else run.writes


def _in_place(run: CellRun, name: str) -> bool:
    """Whether a run changed what was there, where it wrote `name`: it read it, or reached its object by another name."""
    return name in run.kept or name in names_read(run)


def _is_output(name: str) -> bool:
    return name == "Out" or (name[:1] == "_" and (name.strip("_") == "" or name.lstrip("_i").isdigit()))


def _label(run: CellRun) -> str:
    return f"[{run.execution_count}]"
