"""The names of a cell, the frames they hold, and what writing into them does (for `edges`)."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from mlops_nb.notebook.columns.values import (
    Accessor,
    Constant,
    Entries,
    Frame,
    Function,
    Global,
    Items,
    Sources,
    Value,
    join,
    other,
    series,
    sources_of,
    spread,
    texts,
    union,
    weaken,
)

PLACES = frozenset({"loc", "iloc", "at", "iat"})


class Names(ABC):
    """What the names of a cell hold, and what writing does to it."""

    def __init__(self, before: Mapping[str, tuple[str, ...]]) -> None:
        self.before = before
        self.first: dict[str, Value] = {}
        self.env: dict[str, Value] = {}
        self.deleted: set[str] = set()
        self.guards: list[Sources] = []
        self.sure = True
        self.weak = 0
        self.steps = 0
        self.depth = 0
        self.returned: list[Value] | None = None
        self.handed: set[str] = set()

    @abstractmethod
    def value(self, node: ast.AST | None) -> Value:
        """What an expression is worth."""

    @abstractmethod
    def run(self, body: Iterable[ast.stmt]) -> None:
        """Follow statements in order."""

    def written(self, name: str, columns: tuple[str, ...]) -> Value | None:
        """What `name` holds after the cell, None where it did not write it."""
        value = self.env.get(name)
        if name in self.handed and isinstance(value, Frame) and value is self.first.get(name):
            new = [column for column in columns if column not in self.before[name] and column not in value.columns]
            everything = weaken(value.everything())
            value.columns |= dict.fromkeys(new, everything)
            value.touched = value.touched or bool(new)
        if value is None or isinstance(value, Function | Global):
            return None
        return value if value is not self.first.get(name) or (isinstance(value, Frame) and value.touched) else None

    def load(self, name: str) -> Value:
        """The value of a name; a frame of before is looked at when it is first named."""
        found = self.env.get(name)
        if found is not None:
            return found
        columns = self.before.get(name)
        if columns is None or name in self.deleted:
            return Global(name)
        frame = Frame({column: {(name, column): True} for column in columns}, "either" if len(columns) == 1 else "frame")
        self.env[name] = self.first[name] = frame
        return frame

    def bind(self, name: str, value: Value) -> None:
        """Bind a name, in a branch perhaps only."""
        if self.weak:
            old = self.load(name)
            value = join(None if isinstance(old, Global) else old, self.marked(value))
        elif not self.sure:
            value = self.marked(value)
        self.env[name] = value
        if self.depth == 0:
            self.deleted.discard(name)

    def marked(self, value: Value) -> Value:
        """A value as it counts here: what decides whether we are here goes into it, and nothing of it is certain."""
        if not isinstance(value, Frame) or value.touched or value in self.first.values():
            return value if not self.guards or isinstance(value, Frame | Function | Global) else self._guarded(value)
        return value.each(weaken).plus(*self.guards)

    def _guarded(self, value: Value) -> Value:
        guard = union(*self.guards)
        return other(weaken(union(sources_of(value), guard))) if guard and isinstance(value, Constant) else value

    def put(self, frame: Frame, column: str, sources: Sources, *, certain: bool = True) -> None:
        """Write a column."""
        if self.weak or not self.sure:
            sources = weaken(union(sources, *self.guards))
        if self.weak or not certain:
            sources = union(weaken(frame.at(column)), sources)
        frame.columns[column] = sources
        frame.touched = True

    def replace(self, frame: Frame, new: Frame) -> None:
        """Let an operation in place take effect."""
        if self.weak:
            joined = join(frame.copy(), new.plus(*self.guards))
            new = joined if isinstance(joined, Frame) else new
        frame.become(new if self.sure and not self.weak else new.each(weaken))

    @contextmanager
    def perhaps(self, *guards: Sources) -> Iterator[None]:
        """Code that may run or not, or several times."""
        self.weak += 1
        self.guards.extend(guards)
        yield
        self.weak -= 1
        del self.guards[len(self.guards) - len(guards) :]

    def assign(self, target: ast.AST, value: Value) -> None:
        """Bind a target to a value."""
        match target:
            case ast.Name(id=name):
                self.bind(name, value)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, one in zip(targets, self.parts(value, len(targets)), strict=False):
                    self.assign(part, one)
            case ast.Starred(value=part):
                self.assign(part, value)
            case ast.Subscript(value=holder, slice=key):
                self._set_item(self.value(holder), key, value)
            case ast.Attribute(value=holder, attr=name):
                self._set_attribute(self.value(holder), name, value)

    def parts(self, value: Value, count: int) -> list[Value]:
        """The elements of a value that is unpacked into `count` targets."""
        if isinstance(value, Items) and len(value.values) == count:
            return value.values
        if isinstance(value, Frame) and value.kind == "other" and value.columns:
            return [Frame(dict(value.columns), "other", value.rest) for _ in range(count)]
        return [other(weaken(spread(value))) for _ in range(count)]

    def _set_attribute(self, holder: Value, name: str, value: Value) -> None:
        if not isinstance(holder, Frame):
            return
        names = texts(value)
        if name == "columns" and holder.kind != "series":
            known = list(holder.columns)
            self.replace(holder, _renamed(holder, names) if names is not None and len(names) == len(known) and not holder.rest else _nameless(holder))
        elif name == "name" and names and holder.kind in ("series", "either"):
            self.replace(holder, series(holder.everything(), names[0], holder.rows))
            holder.kind = "series"
        elif name in holder.columns:
            self.put(holder, name, self.aligned(holder, value))

    def _set_item(self, holder: Value, key: ast.expr, value: Value) -> None:
        if isinstance(holder, Accessor) and holder.name in PLACES:
            self._set_place(holder, key, value)
        elif isinstance(holder, Entries):
            self.set_entry(holder, self.value(key), value)
        elif isinstance(holder, Items):
            holder.values.append(value)
        elif isinstance(holder, Frame):
            self._set_columns(holder, self.value(key), value)

    def set_entry(self, holder: Entries, key: Value, value: Value) -> None:
        """Write an item of a dict."""
        if isinstance(key, Constant) and isinstance(key.value, str | int):
            holder.values[key.value] = join(holder.values.get(key.value), value) if self.weak else value
        else:
            holder.extra = union(holder.extra, weaken(spread(value)), weaken(spread(key)))

    def _set_columns(self, frame: Frame, key: Value, value: Value) -> None:
        names = texts(key)
        if names is None:
            self._set_unknown(frame, key, value)
        elif isinstance(key, Constant) and frame.kind == "series":
            self.put(frame, next(iter(frame.columns), ""), union(frame.everything(), spread(value)))
        elif isinstance(key, Constant):
            self.put(frame, names[0], self.aligned(frame, value))
            if frame.kind == "either":
                frame.kind = "frame"
        else:
            for name, sources in zip(names, self.columns_of(frame, value, len(names)), strict=True):
                self.put(frame, name, sources)

    def _set_unknown(self, frame: Frame, key: Value, value: Value) -> None:
        """`df[mask] = value` writes into each column, `df[name] = value` perhaps; the latter may also make new ones."""
        masked = isinstance(key, Frame) and key.kind in ("series", "frame", "either")
        made = union(spread(value), spread(key))
        for name in list(frame.columns):
            if masked and not self.weak:
                self.put(frame, name, union(frame.at(name), made))
            else:
                self.put(frame, name, weaken(made), certain=False)
        if not masked or frame.rest:
            frame.rest = weaken(union(frame.rest, made, *self.guards))
        frame.touched = True

    def columns_of(self, frame: Frame, value: Value, count: int) -> list[Sources]:
        """The sources of each of `count` columns that a value is written to at once."""
        if isinstance(value, Frame) and value.kind == "frame" and len(value.columns) == count and not value.rest:
            return [union(sources, weaken(value.rows)) for sources in value.columns.values()]
        if isinstance(value, Items) and len(value.values) == count:
            return [spread(one) for one in value.values]
        return [self.aligned(frame, value)] * count

    def aligned(self, frame: Frame, value: Value) -> Sources:
        """What a value becomes as a column: which rows it has decides where it has values, unless the frame has the same."""
        return sources_of(value) if isinstance(value, Frame) and value.rows == frame.rows and not value.index else spread(value)

    def _set_place(self, holder: Accessor, key: ast.expr, value: Value) -> None:
        frame = holder.frame
        rows, columns = self.place(frame, holder.name, key)
        whole = isinstance(rows, Constant) and rows.value == slice(None)
        names = list(frame.columns) if columns is None or frame.kind == "series" else columns
        made = self.columns_of(frame, value, len(names)) if len(names) > 1 else [spread(value)] * len(names)
        for name, sources in zip(names, made, strict=True):
            kept: Sources = {} if whole else union(frame.at(name), spread(rows))
            self.put(frame, name, union(kept, sources))

    def place(self, frame: Frame, kind: str, key: ast.expr) -> tuple[Value, list[str] | None]:
        """Rows and column names (None: all) that `loc[...]` or `iloc[...]` means."""
        if not isinstance(key, ast.Tuple) or len(key.elts) != 2:  # noqa: PLR2004 (rows, columns)
            return self.value(key), None
        rows, chosen = self.value(key.elts[0]), self.value(key.elts[1])
        if kind in ("loc", "at"):
            return rows, self._labels(frame, chosen)
        known = list(frame.columns)
        at = (
            chosen.value
            if isinstance(chosen, Constant)
            else [one.value for one in chosen.values if isinstance(one, Constant)]
            if isinstance(chosen, Items)
            else None
        )
        return rows, _positions(known, at)

    def _labels(self, frame: Frame, chosen: Value) -> list[str] | None:
        names = texts(chosen)
        if names is not None:
            return names
        if not isinstance(chosen, Constant) or not isinstance(chosen.value, slice):
            return None
        known = list(frame.columns)
        start, stop = chosen.value.start, chosen.value.stop
        first = known.index(start) if start in known else 0
        return known[first : known.index(stop) + 1 if stop in known else len(known)]

    def delete(self, target: ast.expr) -> None:
        """Forget a name or a column."""
        match target:
            case ast.Name(id=name):
                self.env.pop(name, None)
                self.deleted.add(name)
            case ast.Subscript(value=holder, slice=key):
                frame = self.value(holder)
                if isinstance(frame, Frame):
                    self.replace(frame, frame.without(texts(self.value(key)) or []))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part in targets:
                    self.delete(part)


def _renamed(frame: Frame, names: list[str]) -> Frame:
    return Frame(dict(zip(names, frame.columns.values(), strict=True)), frame.kind, rows=frame.rows, index=dict(frame.index))


def _nameless(frame: Frame) -> Frame:
    return Frame({}, "either", weaken(frame.everything()), rows=frame.rows, index=dict(frame.index))


def _positions(known: list[str], at: object) -> list[str] | None:
    if isinstance(at, int):
        return known[at : at + 1 or None] if -len(known) <= at < len(known) else None
    if isinstance(at, slice):
        return known[at]
    return [known[one] for one in at if isinstance(one, int) and -len(known) <= one < len(known)] if isinstance(at, list) else None
