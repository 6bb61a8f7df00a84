"""Edits of component notebooks brought back to the notebook they were promoted from: a three-way comparison, cell by cell. Pure.

The three are what was promoted last (`Known`), the component as it stands ("theirs") and the source notebook as it stands ("ours"). What
only theirs has changed is taken; what both have changed, differently, is a conflict, and so is a difference where nobody knows which changed.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_nb.notebook.cells import first_line_magic
from mlops_nb.notebook.editing import Change, Edits, NewCell
from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.files import BEGIN_SOURCE, LOAD_SOURCE, SAVE_SOURCE
from mlops_nb.pipeline.portable import literals
from mlops_nb.records import Cell

Side = Literal["", "ours", "theirs"]
What = Literal["changed", "added", "deleted", "parameter"]
Normal = Callable[[Any], Any]  # a value as the registry holds it
_BOTH = "changed on both sides since promotion"
_NOBODY_KNOWS = "differs, and which side changed is not recorded here"
_GENERATED = {"load": LOAD_SOURCE, "begin": BEGIN_SOURCE, "save": SAVE_SOURCE}


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell of a notebook file."""

    id: str
    source: str
    tags: tuple[str, ...] = ()
    kind: str = "code"


@dataclass(frozen=True, slots=True)
class Known:
    """A component as it was promoted: the ids of its cells, and, where that is recorded, their texts and tags, parameters and support code."""

    ids: tuple[str, ...]
    cells: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    parameters: Mapping[str, Any] | None = None
    support: str | None = None


@dataclass(frozen=True, slots=True)
class Theirs:
    """A component's notebook as it stands: the user's cells in order, and those that promotion made, by their names."""

    name: str
    cells: tuple[Entry, ...]
    own: Mapping[str, Entry]
    known: Known


@dataclass(frozen=True, slots=True)
class Pulled:
    """One thing that is brought back; `ours` and `theirs` are the texts before and after."""

    what: What
    component: str
    cell_id: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """What cannot be brought back without a word from the user; `ours` is the source notebook's text."""

    component: str
    cell_id: str
    why: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Pull:
    """What is brought back, as edits of the source notebook, the conflicts that are open, and what stays as it is."""

    edits: Edits
    pulled: tuple[Pulled, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()


def merge(
    components: Sequence[Theirs], ours: Sequence[Entry], cells: Sequence[Cell], *, normal: Normal, side: Side = "", delete: bool = False
) -> Pull:
    """Compare components with their source notebook: `ours` are its cells of all kinds, `cells` its code cells parsed.

    `side` settles conflicts, `delete` lets cells that are gone from a component go from the notebook too.
    """
    found = _Merge({entry.id: entry for entry in ours if entry.id}, [entry.id for entry in ours], normal, side, delete=delete)
    for component in components:
        found.texts(component)
        found.new(component)
        found.gone(component, components)
        found.made(component)
    found.parameters(components, cells)
    changes = {cell_id: Change(**fields) for cell_id, fields in found.changes.items()}
    edits = Edits(changes, tuple(found.added.values()), frozenset(found.removed))
    return Pull(edits, tuple(found.pulled), tuple(found.conflicts), tuple(found.notes))


class _Merge:
    """The comparison under way."""

    def __init__(self, ours: dict[str, Entry], order: list[str], normal: Normal, side: Side, *, delete: bool) -> None:
        self.ours = ours
        self.order = order
        self.normal = normal
        self.side = side
        self.delete = delete
        self.changes: dict[str, dict[str, Any]] = {}
        self.takers: dict[tuple[str, str], str] = {}
        self.added: dict[str, NewCell] = {}
        self.removed: set[str] = set()
        self.pulled: list[Pulled] = []
        self.conflicts: list[Conflict] = []
        self.notes: list[str] = []

    # --- cells that were promoted ---

    def texts(self, component: Theirs) -> None:
        """Sources and tags of the cells that were promoted."""
        for cell in component.cells:
            if cell.id not in component.known.ids or cell.kind != "code":
                continue
            mine = self.ours.get(cell.id)
            before = component.known.cells.get(cell.id)
            if mine is None:
                self._lost(component, cell, before)
            else:
                self._field("source", component, cell, (before[0] if before else None, cell.source, mine.source))
                self._field("tags", component, cell, (before[1] if before else None, cell.tags, mine.tags))
        self._moved(component)

    def _field(self, name: str, component: Theirs, cell: Entry, texts: tuple[Any, Any, Any]) -> None:
        before, theirs, ours = texts
        taken = self.changes.get(cell.id, {}).get(name)
        if theirs in (ours, taken):
            return
        still, mine_still = (before is not None and self._same(value, before) for value in (theirs, ours))
        if still and not mine_still:
            return
        if taken is not None:
            why = f"changed in {self.takers[cell.id, name]} too, otherwise: make them equal"
            self.conflicts.append(Conflict(component.name, cell.id, why, _shown(taken), _shown(theirs)))
        elif (mine_still and not still) or self.side == "theirs":
            self._take(name, component, cell, ours)
        elif not self.side:
            # Both "still" as recorded and yet not equal: they differ in a secret, which is not recorded.
            why = _BOTH if before is not None and not still else _NOBODY_KNOWS
            self.conflicts.append(Conflict(component.name, cell.id, why, _shown(ours), _shown(theirs)))

    def _take(self, name: str, component: Theirs, cell: Entry, ours: Any) -> None:
        theirs = cell.source if name == "source" else cell.tags
        self.changes.setdefault(cell.id, {})[name] = theirs
        self.takers[cell.id, name] = component.name
        self.pulled.append(Pulled("changed", component.name, cell.id, _shown(ours), _shown(theirs)))

    def _same(self, value: Any, before: Any) -> bool:
        return bool(self.normal(value) == self.normal(before))

    def _lost(self, component: Theirs, cell: Entry, before: tuple[str, tuple[str, ...]] | None) -> None:
        """A promoted cell that the source notebook no longer has."""
        if before is not None and self._same(cell.source, before[0]):
            return
        if self.side == "theirs":
            self._add(component, cell)
        elif not self.side:
            self.conflicts.append(Conflict(component.name, cell.id, "changed here, and gone from the notebook", "", cell.source))

    def _moved(self, component: Theirs) -> None:
        here = [cell.id for cell in component.cells if cell.id in component.known.ids]
        then = [cell_id for cell_id in component.known.ids if cell_id in here]
        if here != then:
            self.notes.append(f"{component.name}: its cells stand in another order, which is not brought back: move them in the notebook")

    # --- cells that are new or gone ---

    def new(self, component: Theirs) -> None:
        """Cells between the user's that were not promoted."""
        for cell in component.cells:
            if cell.id in component.known.ids:
                if cell.kind != "code":
                    self.notes.append(f"{component.name}: cell {cell.id} holds no code any more: it counts as deleted")
            elif cell.source.strip():
                self._new(component, cell)

    def _new(self, component: Theirs, cell: Entry) -> None:
        mine = self.ours.get(cell.id)
        if mine is None:
            self._add(component, cell)
            return
        stepped = in_step(cell, component)
        if (mine.source, mine.tags) in ((stepped.source, stepped.tags), (cell.source, cell.tags)):
            return
        if self.side == "theirs":
            self.changes[cell.id] = {"source": stepped.source, "tags": stepped.tags}
            self.pulled.append(Pulled("changed", component.name, cell.id, mine.source, stepped.source))
        elif not self.side:
            self.conflicts.append(Conflict(component.name, cell.id, "new on both sides, not the same", mine.source, cell.source))

    def _add(self, component: Theirs, cell: Entry) -> None:
        stepped = in_step(cell, component)
        ids = [other.id for other in component.cells]
        place = ids.index(cell.id)
        known = self.ours.keys() | self.added.keys()
        after = next((other for other in reversed(ids[:place]) if other in known), "")
        before = next((other for other in ids[place + 1 :] if other in known), "")
        self.added[cell.id] = NewCell(cell.id, stepped.source, stepped.tags, cell.kind, after, before)
        self.pulled.append(Pulled("added", component.name, cell.id, "", stepped.source))

    def gone(self, component: Theirs, components: Iterable[Theirs]) -> None:
        """Cells that were promoted and are no longer in the component."""
        here = {cell.id for cell in component.cells if cell.kind == "code"}
        for cell_id in component.known.ids:
            if cell_id in here or cell_id not in self.ours or cell_id in self.removed:
                continue
            others = [other.name for other in components if any(cell.id == cell_id for cell in other.cells if cell.kind == "code")]
            if others:
                self.notes.append(f"{component.name}: cell {cell_id} is gone here, but {', '.join(others)} still has it: it stays in the notebook")
            elif not self.delete:
                self.notes.append(f"{component.name}: cell {cell_id} is gone here and stays in the notebook: --delete removes it there")
            else:
                self._remove(component, cell_id)

    def _remove(self, component: Theirs, cell_id: str) -> None:
        mine, before = self.ours[cell_id], component.known.cells.get(cell_id)
        if (before is not None and self._same(mine.source, before[0])) or self.side == "theirs":
            self.removed.add(cell_id)
            self.pulled.append(Pulled("deleted", component.name, cell_id, mine.source, ""))
        elif not self.side:
            why = "deleted here, and changed in the notebook" if before else "deleted here, and whether the notebook changed is not recorded here"
            self.conflicts.append(Conflict(component.name, cell_id, why, mine.source, ""))

    # --- cells that promotion made ---

    def made(self, component: Theirs) -> None:
        """What was edited by hand in a cell that promotion makes is told, not brought back."""
        expected = {name: text for name, text in _GENERATED.items() if name in component.own}
        if component.known.support is not None and (component.known.support or "support" in component.own):
            expected["support"] = component.known.support
        for name, text in expected.items():
            cell = component.own.get(name)
            if cell is None or not self._same(cell.source.strip("\n"), text.strip("\n")):
                self.notes.append(f"{component.name}: its {name} cell was changed by hand, which is not brought back: {_ADVICE[name]}")
        for name in ("load", "save"):
            if name not in component.own:
                self.notes.append(f"{component.name}: its {name} cell is gone: promoting again makes it anew")

    def parameters(self, components: Sequence[Theirs], cells: Sequence[Cell]) -> None:
        """Defaults of parameters go back to the parameters cell."""
        homes = {name: cell for cell in cells if cell.kind == "parameters" for name in literals(cell)}
        for component in components:
            mine = component.own.get("parameters")
            given = component.known.parameters
            if mine is None or given is None:
                continue
            now = literals(Cell(mine.id, 0, mine.source))
            for name in sorted(now.keys() | given.keys()):
                if name not in now or name not in given or name not in homes:
                    what = "is no literal there any more" if name in given else "is new there"
                    self.notes.append(f"{component.name}: parameter {name} {what}, which is not brought back: say it in the notebook's own cell")
                else:
                    self._parameter(name, component, homes[name], now[name], mine.source)

    def _parameter(self, name: str, component: Theirs, home: Cell, theirs: Any, source: str) -> None:
        before = (component.known.parameters or {})[name]
        text = self.changes.get(home.id, {}).get("source", home.source)
        ours = literals(Cell(home.id, 0, text)).get(name)
        if self._same({name: theirs}, {name: ours}) or self._same({name: theirs}, {name: before}):
            return
        elsewhere = text_of_value(text, name) != text_of_value(home.source, name)
        both = not self._same({name: literals(home).get(name)}, {name: before})
        if elsewhere or (both and self.side != "theirs"):
            why = f"parameter {name} was changed in another component too, otherwise: make them equal" if elsewhere else f"parameter {name}: {_BOTH}"
            open_ones = [Conflict(component.name, home.id, why, f"{name} = {ours!r}", f"{name} = {theirs!r}")]
            self.conflicts += open_ones if elsewhere or not self.side else []
            return
        changed = with_value(text, name, text_of_value(source, name) or repr(theirs))
        if changed is None:
            self.notes.append(
                f"{component.name}: parameter {name} = {theirs!r} is not brought back: the parameters cell holds more than plain Python"
            )
            return
        self.changes.setdefault(home.id, {})["source"] = changed
        self.pulled.append(Pulled("parameter", component.name, home.id, f"{name} = {ours!r}", f"{name} = {theirs!r}"))


_ADVICE = {
    "load": "promoting again makes it anew",
    "begin": "promoting again makes it anew",
    "save": "promoting again makes it anew",
    "support": "its code stands in other cells of the notebook, change it there",
}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"tags: {', '.join(value) or 'none'}"


# --- steps ----------------------------------------------------------------------------------------------------


def in_step(cell: Entry, component: Theirs) -> Entry:
    """A new cell as it stands in the source notebook: with the step's magic line or, where the step's cells or its own magic ask for it, its tag.

    >>> in_step(Entry("a", "x = 1"), Theirs("load", (), {}, Known(()))).source
    '%%step load\\nx = 1'
    """
    magic = first_line_magic(cell.source)
    says = any(tag.startswith(("step:", "block:")) or tag == "skip" for tag in cell.tags) or (magic is not None and magic[0] == "step")
    if cell.kind != "code" or says:
        return cell
    if magic is not None or _goes_by_tag(component):
        return Entry(cell.id, cell.source, (*cell.tags, f"step:{component.name}"), cell.kind)
    return Entry(cell.id, f"%%step {component.name}\n{cell.source}", cell.tags, cell.kind)


def _goes_by_tag(component: Theirs) -> bool:
    """Whether the component's own cells name their step by tags."""
    own = [cell for cell in component.cells if cell.id in component.known.ids]
    tagged = any(tag.startswith(("step:", "block:")) for cell in own for tag in cell.tags)
    return tagged and not any((magic := first_line_magic(cell.source)) and magic[0] == "step" for cell in own)


# --- parameters -----------------------------------------------------------------------------------------------


def text_of_value(source: str, name: str) -> str:
    """The text of the value that `name` is given last; '' where there is none, or the source is more than plain Python.

    >>> text_of_value("year = 2_013  # the first", "year")
    '2_013'
    """
    value = _value(source, name)
    return (ast.get_source_segment(source, value) or "") if value is not None else ""


def with_value(source: str, name: str, text: str) -> str | None:
    """`source` with another value for `name`, everything else as it was; None where that cannot be done.

    >>> with_value("year = 2_013  # the first", "year", "2014")
    'year = 2014  # the first'
    """
    value = _value(source, name)
    if value is None or value.end_lineno is None or value.end_col_offset is None:
        return None
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: value.lineno - 1])) + value.col_offset
    end = sum(map(len, lines[: value.end_lineno - 1])) + value.end_col_offset
    return (source.encode()[:start] + text.encode() + source.encode()[end:]).decode()


def _value(source: str, name: str) -> ast.expr | None:
    tree = parse(source)
    found = [] if isinstance(tree, str) else list(_values(tree, name))
    return found[-1] if found else None


def _values(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) | ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                if target == name:
                    yield value
