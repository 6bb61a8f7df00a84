"""What a notebook's variables hold, as far as code tells: things with parts, the slots they sit in, and what each value was made from."""

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Union

Key = tuple[str, Hashable]  # (".", "name") or ("[]", 0)
ANYTHING: Final[Key] = ("*", None)  # parts that the code does not tell
SHAPE: Final[Key] = ("#", None)  # which parts there are: appended, deleted


class Unknown:
    """In place of a constant that is not known."""


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Dep:
    """What was read, and when: a slot is read as it was bound, a thing with all that is in it."""

    source: Union["Slot", "Thing"]
    time: int


Deps = frozenset[Dep]
NOTHING: Final[Deps] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression gives: what it was computed from, the thing it is (two names may hold one), and the constant where it is one."""

    deps: Deps = NOTHING
    thing: Union["Thing", None] = None
    constant: Any = UNKNOWN

    def also(self, deps: Deps) -> "Value":
        """The same, computed from these too."""
        return Value(self.deps | deps, self.thing, self.constant) if deps - self.deps else self


@dataclass(eq=False, slots=True)
class Version:
    """A value that a slot was given by a run.

    `equal`: it is no other value than the one before. `fleeting`: the variable of a loop or `with`, which binds it each time it runs.
    """

    time: int
    run: int
    value: Value
    equal: bool = False
    fleeting: bool = False


@dataclass(eq=False, slots=True)
class Slot:
    """A variable, attribute or element, with all it was bound to; `owner` is the thing it is a part of."""

    label: str
    owner: Union["Thing", None] = None
    versions: list[Version] = field(default_factory=list)
    unknown: Union["Thing", None] = None  # what it holds where no code that bound it was seen

    def at(self, time: int) -> Version | None:
        """What it was bound to at that time."""
        return next((version for version in reversed(self.versions) if version.time <= time), None)


@dataclass(eq=False, slots=True)
class Thing:
    """An object. `made`: the run that made it. `size`: of a list or tuple whose every element is known. `base`: an instance's class."""

    made: int
    label: str = ""
    slots: dict[Key, Slot] = field(default_factory=dict)
    size: int | None = None
    mutable: bool = True
    base: Union["Thing", None] = None
    bases: tuple["Thing", ...] = ()  # of a class
    kind: str = ""  # class, function, dict, or nothing known
    function: Any = None

    def slot(self, key: Key) -> Slot:
        """The slot of a part, made where it was not asked for before."""
        found = self.slots.get(key)
        if found is None:
            found = self.slots[key] = Slot(f"{self.label}{_spelled(key, self.kind)}", self)
        return found

    def held(self) -> Iterator["Thing"]:
        """The things in its slots now."""
        for slot in list(self.slots.values()):
            thing = slot.versions[-1].value.thing if slot.versions else slot.unknown
            if thing is not None:
                yield thing
        if self.base is not None:
            yield self.base


def _spelled(key: Key, of: str) -> str:
    kind, part = key
    return f".{part}" if kind == "." and of != "dict" else f"[{part!r}]" if kind in ".[]" else ""


def reached(things: Iterator[Thing]) -> set[Thing]:
    """The things and all that is in them."""
    found: set[Thing] = set()
    todo = list(things)
    while todo:
        thing = todo.pop()
        if thing not in found:
            found.add(thing)
            todo += thing.held()
    return found


@dataclass(slots=True)
class Scope:
    """Names of a module, function or class body; `outer` is where names that are not here are looked up."""

    slots: dict[str, Slot] = field(default_factory=dict)
    outer: Union["Scope", None] = None
    elsewhere: dict[str, "Scope"] = field(default_factory=dict)  # `global x`, `nonlocal x`
    is_class: bool = False

    def find(self, name: str) -> Slot | None:
        """The slot that a read of the name finds."""
        scope: Scope | None = self.elsewhere.get(name, self)
        while scope is not None:
            if name in scope.slots and scope.slots[name].versions:
                return scope.slots[name]
            scope = scope.outer
        return None

    def own(self, name: str) -> Slot:
        """The slot that a binding of the name binds."""
        slots = self.elsewhere.get(name, self).slots
        return slots.setdefault(name, Slot(name))

    @property
    def top(self) -> "Scope":
        """The module's scope."""
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        return scope


@dataclass(slots=True)
class Journal:
    """The clock of all runs, and what the present one has done. `changes`: slots of things and variables that it bound."""

    run: int = 0
    clock: Iterator[int] = field(default_factory=itertools.count)
    now: int = 0
    changes: list[tuple[Slot, Version]] = field(default_factory=list)

    def begin(self, run: int) -> None:
        """A run starts."""
        self.run = run
        self.now = next(self.clock)
        self.changes = []

    def give(self, slot: Slot, value: Value) -> Version:
        """Bind a slot."""
        self.now = next(self.clock)
        before = slot.versions[-1] if slot.versions else None
        equal = before is not None and _same_constant(before.value, value)
        version = Version(self.now, self.run, value, equal)
        slot.versions.append(version)
        self.changes.append((slot, version))
        if value.thing is not None and not value.thing.label:
            value.thing.label = slot.label
            for key, part in value.thing.slots.items():
                part.label = f"{slot.label}{_spelled(key, value.thing.kind)}"
        return version


def _same_constant(old: Value, new: Value) -> bool:
    """Whether a literal value is bound again, as it was."""
    return old.constant is not UNKNOWN and type(old.constant) is type(new.constant) and bool(old.constant == new.constant)
