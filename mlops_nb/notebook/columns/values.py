"""What the values of a cell were made from: columns of frames as they were before the cell ran (for `edges`)."""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal as Choice

Source = tuple[str, str]
Sources = dict[Source, bool]  # (frame, column) as before the cell -> the code says so beyond doubt
Kind = Choice["frame", "series", "either", "other"]


@dataclass(slots=True)
class Frame:
    """A frame, a series (one column), either of the two, or any `other` value; it changes as the cell changes it.

    `rest` is what a column not in `columns` was made from, `prefixes` the same for columns that start so. `rows` decided which rows
    there are and their order, `index` holds the columns that became row labels.
    """

    columns: dict[str, Sources] = field(default_factory=dict)
    kind: Kind = "frame"
    rest: Sources = field(default_factory=dict)
    prefixes: dict[str, Sources] = field(default_factory=dict)
    rows: Sources = field(default_factory=dict)
    index: dict[str, Sources] = field(default_factory=dict)
    touched: bool = False

    def at(self, column: str) -> Sources:
        """What a column was made from."""
        found = self.columns.get(column)
        if found is not None:
            return found
        for prefix, sources in self.prefixes.items():
            if column.startswith(prefix):
                return sources
        return self.everything() if self.kind in ("series", "either") else self.rest

    def everything(self) -> Sources:
        """What any column was made from."""
        if len(self.columns) == 1 and not self.rest and not self.prefixes:
            return next(iter(self.columns.values()))
        return union(*self.columns.values(), *self.prefixes.values(), self.rest)

    @property
    def closed(self) -> bool:
        """Whether all its columns are known by name."""
        return self.kind == "frame" and not self.rest and not self.prefixes

    @property
    def by_name(self) -> bool:
        """Whether an operation with a frame meets its columns by name: a frame, or a row of it such as its means."""
        return self.kind == "frame" or (self.kind == "either" and len(self.columns) > 1)

    def copy(self) -> "Frame":
        """A frame of its own with the same columns."""
        return Frame(dict(self.columns), self.kind, self.rest, dict(self.prefixes), self.rows, dict(self.index))

    def each(self, change: Callable[[Sources], Sources]) -> "Frame":
        """A frame with each column's sources changed."""
        columns = {name: change(sources) for name, sources in self.columns.items()}
        prefixes = {name: change(sources) for name, sources in self.prefixes.items()}
        return Frame(columns, self.kind, change(self.rest), prefixes, self.rows, dict(self.index))

    def plus(self, *more: Sources) -> "Frame":
        """A frame with these sources added to each column."""
        extra = union(*more)
        return self.each(lambda sources: union(sources, extra)) if extra else self.copy()

    def pick(self, names: Iterable[str]) -> "Frame":
        """A frame of these columns."""
        return Frame({name: self.at(name) for name in names}, rows=self.rows, index=dict(self.index))

    def column(self, name: str) -> "Frame":
        """The series of one column; of an `other` value, its item."""
        kind: Kind = "series" if self.kind == "frame" or name in self.columns else "other"
        return Frame({name: self.at(name)}, kind, rows=self.rows, index=self.index) if kind == "series" else other(self.at(name), self.rows)

    def without(self, names: Iterable[str]) -> "Frame":
        """A frame without these columns."""
        found = self.copy()
        for name in names:
            found.columns.pop(name, None)
        return found

    def become(self, new: "Frame") -> None:
        """Take over the columns of another, as an operation in place does."""
        self.columns, self.rest, self.prefixes = dict(new.columns), new.rest, dict(new.prefixes)
        self.rows, self.index, self.touched = new.rows, dict(new.index), True


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that the code spells out: text, number, None, slice."""

    value: object


@dataclass(slots=True)
class Items:
    """A list, tuple or set whose elements are known."""

    values: list["Value"]


@dataclass(slots=True)
class Entries:
    """A dict with constant keys; `extra` is what else may have got in."""

    values: dict[object, "Value"]
    extra: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Function:
    """A lambda or function defined in this cell."""

    node: ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Global:
    """A name that holds no frame, or what is reached from it: `np`, `np.where`, `clean`."""

    path: str


@dataclass(frozen=True, slots=True)
class Accessor:
    """`loc`, `iloc`, `str`, `dt` and the like of a frame."""

    frame: Frame
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """A grouped frame; `aligned` are windows, whose results keep the rows of the frame."""

    frame: Frame
    keys: Mapping[str, Sources]
    others: Sources = field(default_factory=dict)
    picked: tuple[str, ...] | None = None
    single: bool = False
    as_index: bool = True
    aligned: bool = False

    @property
    def deciding(self) -> Sources:
        """What decides which row belongs to which group, never certain."""
        return weaken(union(*self.keys.values(), self.others, self.frame.rows))

    @property
    def chosen(self) -> Frame:
        """The columns that are worked on."""
        if self.picked is None:
            return self.frame.without(self.keys)
        found = self.frame.pick(self.picked)
        found.kind = "series" if self.single else "frame"
        return found


@dataclass(frozen=True, slots=True)
class Deferred:
    """A polars expression: output column -> columns of the frame it will be used on; None stands for all of them."""

    parts: Mapping[str, frozenset[str]] | None
    extra: Sources = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[str]:
        """All columns that are named."""
        return frozenset().union(*(self.parts or {}).values())

    def each(self, change: Callable[[str, frozenset[str]], tuple[str, frozenset[str]]]) -> "Deferred":
        """An expression with its output columns changed."""
        return self if self.parts is None else Deferred(dict(change(name, needs) for name, needs in self.parts.items()), self.extra)

    def on(self, frame: Frame) -> dict[str, Sources]:
        """Output column -> sources, when used on a frame."""
        if self.parts is None:
            return {name: union(sources, self.extra) for name, sources in frame.columns.items()}
        return {name: union(*map(frame.at, sorted(needs)), self.extra) for name, needs in self.parts.items()}


Value = Frame | Constant | Items | Entries | Function | Global | Accessor | Group | Deferred


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a call; `invoke` runs a function of this cell on values, None where it is not of this cell."""

    args: list[Value]
    kwargs: dict[str, Value]
    invoke: Callable[[Value, list[Value]], Value | None]
    resolve: Callable[[str], Sources]

    def get(self, position: int, name: str) -> Value | None:
        """An argument given by position or name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name)

    def named(self, position: int, name: str) -> list[str] | None:
        """`texts` of an argument."""
        return texts(self.get(position, name))

    def constant(self, position: int, name: str, default: object = None) -> object:
        """The value of a constant argument."""
        found = self.get(position, name)
        return found.value if isinstance(found, Constant) else default

    def sources(self) -> Sources:
        """What all arguments were made from."""
        return union(*map(spread, self.args), *map(spread, self.kwargs.values()))


def other(sources: Sources, rows: Sources | None = None) -> Frame:
    """A value that is no frame, or not known to be one."""
    return Frame({}, "other", sources, rows=rows or {})


def series(sources: Sources, name: str = "", rows: Sources | None = None) -> Frame:
    """A series with this name."""
    return Frame({name: sources}, "series", rows=rows or {})


def union(*parts: Mapping[Source, bool]) -> Sources:
    """All of them; certain where one of them is."""
    found: Sources = {}
    for part in parts:
        for source, certain in part.items():
            found[source] = certain or found.get(source, False)
    return found


def weaken(sources: Mapping[Source, bool]) -> Sources:
    """The same, none of them certain."""
    return dict.fromkeys(sources, False)


def sources_of(value: Value | None) -> Sources:  # noqa: PLR0911 (one return a kind)
    """What a value was made from."""
    match value:
        case Frame():
            return value.everything()
        case Items(values):
            return union(*map(sources_of, values))
        case Entries(values, extra):
            return union(*map(sources_of, values.values()), extra)
        case Accessor(frame):
            return frame.everything()
        case Group():
            return union(value.chosen.everything(), value.deciding)
        case Deferred(_, extra):
            return extra
        case _:
            return {}


def spread(value: Value | None) -> Sources:
    """What a value was made from, its rows and labels included: for where position or labels decide."""
    if isinstance(value, Frame):
        return (
            union(value.everything(), weaken(value.rows), weaken(union(*value.index.values()))) if value.rows or value.index else value.everything()
        )
    if isinstance(value, Items):
        return union(*map(spread, value.values))
    return sources_of(value)


def texts(value: Value | None) -> list[str] | None:
    """The column names that a value spells out: one text, or a list of texts; None where it is neither."""
    if isinstance(value, Constant):
        return [value.value] if isinstance(value.value, str) else None
    if isinstance(value, Entries) and not value.extra:
        return [key for key in value.values if isinstance(key, str)]
    if not isinstance(value, Items):
        return None
    found = [item.value for item in value.values if isinstance(item, Constant) and isinstance(item.value, str)]
    return found if len(found) == len(value.values) else None


def join(one: Value | None, two: Value) -> Value:
    """A value that is one or the other."""
    if one is None or one is two or one == two:
        return two
    if isinstance(one, Frame) and isinstance(two, Frame):
        names = dict.fromkeys([*one.columns, *two.columns])
        found = Frame({name: weaken(union(one.at(name), two.at(name))) for name in names}, one.kind if one.kind == two.kind else "other")
        found.rest, found.prefixes = weaken(union(one.rest, two.rest)), {**one.prefixes, **two.prefixes}
        found.rows, found.index = weaken(union(one.rows, two.rows)), {**one.index, **two.index}
        return found
    if isinstance(one, Frame) or isinstance(two, Frame):
        return join(as_frame(one), as_frame(two))
    return other(weaken(union(sources_of(one), sources_of(two))))


def as_frame(value: Value) -> Frame:
    """A value as a frame: what is none is an `other`."""
    return value if isinstance(value, Frame) else other(sources_of(value))


def combine(values: Iterable[Value], *, certain: bool = True) -> Value:
    """The result of an element-wise operation: columns of frames meet by name, all else goes into each column."""
    given = list(values)
    if any(isinstance(value, Deferred) for value in given):
        return _combine_deferred(given)
    wide = [value for value in given if isinstance(value, Frame) and value.by_name]
    narrow = union(*(sources_of(value) for value in given if not (isinstance(value, Frame) and value.by_name)))
    rows = union(*(value.rows for value in given if isinstance(value, Frame)))
    soften: Callable[[Sources], Sources] = (lambda sources: sources) if certain else weaken
    if wide:
        names = dict.fromkeys(name for frame in wide for name in frame.columns)
        columns = {name: soften(union(*(frame.at(name) for frame in wide), narrow)) for name in names}
        rest = union(*(frame.rest for frame in wide), *(p for frame in wide for p in frame.prefixes.values()))
        return Frame(columns, rest=soften(union(rest, narrow)) if rest else {}, rows=rows, index=dict(wide[0].index))
    frames = [value for value in given if isinstance(value, Frame) and value.kind in ("series", "either")]
    if not frames:
        return other(soften(narrow), rows)
    name = next(iter(frames[0].columns), "")
    return Frame({name: soften(narrow)}, "series", rows=rows, index=dict(frames[0].index))


def _combine_deferred(values: list[Value]) -> Deferred:
    found = [value for value in values if isinstance(value, Deferred)]
    needs = frozenset().union(*(value.needs for value in found))
    extra = union(*map(sources_of, values))
    if any(value.parts is None for value in found):
        return Deferred(None, extra)
    if len(found) == 1 or all(len(value.parts or {}) == 1 for value in found[1:]):
        tail = frozenset().union(*(value.needs for value in found[1:]))
        return Deferred({name: own | tail for name, own in (found[0].parts or {}).items()}, extra)
    return Deferred(dict.fromkeys(found[0].parts or {}, needs), extra)
