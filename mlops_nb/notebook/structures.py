"""What changes of lists, dicts, instances and other things do to their parts, part by part where the code tells which."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_nb.notebook.objects import ANYTHING, NOTHING, SHAPE, UNKNOWN, Dep, Deps, Journal, Key, Thing, Value

MAX_PARTS = 64  # elements of a list that are told apart
_KEYS = (str, int, float, bytes, bool, type(None))


def key_of(constant: Any) -> Key | None:
    """The part that `x[constant]` is; a text names the same part as the attribute (columns of a frame have both)."""
    if type(constant) is str:
        return (".", constant)
    return ("[]", constant) if type(constant) in _KEYS else None


def sequence(journal: Journal, values: Sequence[Value], *, mutable: bool = True) -> Thing:
    """A list or tuple of these elements."""
    thing = Thing(journal.run, size=len(values), mutable=mutable, kind="list")
    for place, value in enumerate(values):
        journal.give(thing.slot(("[]", place)), value)
    return thing


def mapping(journal: Journal, parts: Mapping[Key, Value]) -> Thing:
    """A dict with these constant keys."""
    thing = Thing(journal.run, kind="dict")
    for key, value in parts.items():
        journal.give(thing.slot(key), value)
    return thing


def elements(thing: Thing | None) -> list[Value] | None:
    """The elements of a list or tuple of which every one is known."""
    if thing is None or thing.size is None or thing.slots.get(ANYTHING):
        return None
    found = [thing.slot(("[]", place)).versions for place in range(thing.size)]
    return [versions[-1].value for versions in found] if all(found) else None


def copies(journal: Journal, whole: Value) -> tuple[list[Value], Deps] | None:
    """The elements of a known list or tuple as another takes them, and what it depends on that it is these."""
    if elements(whole.thing) is None or whole.thing is None:
        return None
    values = [read(journal, Value(NOTHING, whole.thing), ("[]", place)) for place in range(whole.thing.size or 0)]
    return values, whole.deps | {Dep(whole.thing.slot(SHAPE), journal.now)}


def shape(journal: Journal, whole: Value) -> Deps:
    """What a walk over a list depends on besides its elements."""
    return whole.deps | ({Dep(whole.thing.slot(SHAPE), journal.now)} if whole.thing is not None else set())


def placed(thing: Thing, constant: Any) -> Key | None:
    """The part that an index means: counted from the end only where the length is known."""
    if type(constant) is int and constant < 0:
        return ("[]", thing.size + constant) if thing.size is not None else None
    return key_of(constant)


def read(journal: Journal, whole: Value, key: Key) -> Value:
    """A part of a thing: it depends on that part and on how the thing was reached, not on other parts."""
    thing = whole.thing
    assert thing is not None
    slot = thing.slot(key)
    deps = whole.deps | {Dep(slot, journal.now)}
    if slot.versions and (last := slot.versions[-1].value).thing is not None:
        return Value(deps, last.thing)
    if slot.versions:
        return Value(deps, None, last.constant if not thing.slots.get(ANYTHING) else UNKNOWN)
    if slot.unknown is None:
        slot.unknown = Thing(thing.made, slot.label)
    return Value(deps, slot.unknown)


def write(journal: Journal, thing: Thing, key: Key | None, value: Value, *, maybe: bool) -> None:
    """`x.a = value`, `x[0] = value`; a part that the code does not tell is any of them."""
    if key is None or key == ANYTHING:
        change_any(journal, thing, value.deps)
        if value.thing is not None:
            thing.slot(("held", value.thing.label)).unknown = value.thing
        return
    if thing.size is not None and key[0] == "[]" and key[1] not in range(thing.size):
        return  # an index past the end raises
    slot = thing.slot(key)
    before = slot.versions[-1].value.deps if maybe and slot.versions else NOTHING
    new = not slot.versions and thing.kind == "dict"
    journal.give(slot, Value(value.deps | before, value.thing, UNKNOWN if maybe else value.constant))
    if new:
        journal.give(thing.slot(SHAPE), Value(value.deps))


def change_any(journal: Journal, thing: Thing, deps: Deps) -> None:
    """A change of parts that the code does not tell."""
    thing.size = None
    journal.give(thing.slot(ANYTHING), Value(deps))


def delete(journal: Journal, thing: Thing, key: Key | None, deps: Deps, *, maybe: bool) -> None:
    """`del x[0]`: in a list what follows moves up; the part itself is gone, not rewritten (who reads it will fail)."""
    known = elements(thing)
    if key is not None and known is not None and not maybe and key[0] == "[]":
        refill(journal, thing, [value for place, value in enumerate(known) if place != key[1]], deps)
    elif key is None or (key[0] == "[]" and thing.kind != "dict"):
        change_any(journal, thing, deps)
    else:
        if not maybe:
            _gone(journal, thing, key)
        journal.give(thing.slot(SHAPE), Value(deps))


def refill(journal: Journal, thing: Thing, values: Sequence[Value], deps: Deps) -> None:
    """A list has these elements now; a position that holds the element that it held is not rewritten."""
    for place, value in enumerate(values):
        slot = thing.slot(("[]", place))
        if not slot.versions or slot.versions[-1].value is not value:
            journal.give(slot, value.also(deps))
    for place in range(len(values), thing.size or 0):
        _gone(journal, thing, ("[]", place))
    thing.size = len(values) if len(values) <= MAX_PARTS else None
    journal.give(thing.slot(SHAPE), Value(deps))


def clear(journal: Journal, thing: Thing, deps: Deps) -> None:
    """Every part is gone."""
    for key in list(thing.slots):
        if key not in (SHAPE, ANYTHING):
            _gone(journal, thing, key)
    thing.size = 0 if thing.kind == "list" else None
    journal.give(thing.slot(SHAPE), Value(deps))


def _gone(journal: Journal, thing: Thing, key: Key) -> None:
    slot = thing.slot(key)
    version = journal.give(slot, Value())
    version.equal = True


def method(journal: Journal, thing: Thing, name: str, arguments: Sequence[Value], deps: Deps, *, maybe: bool) -> Value | None:
    """A call of a list's or dict's own method that changes it; None where it is none, or its effect is not told."""
    known = None if maybe else elements(thing)
    if name == "append" and len(arguments) == 1:
        return append(journal, thing, known, arguments[0], deps)
    if name == "clear" and not maybe and thing.kind in ("list", "dict"):
        clear(journal, thing, deps)
        return Value()
    if thing.kind != "list" or known is None:
        return None
    return _of_known(journal, thing, name, arguments, deps)


def append(journal: Journal, thing: Thing, known: list[Value] | None, value: Value, deps: Deps) -> Value:
    """A new last element; those before it stay where they are."""
    if known is not None and len(known) < MAX_PARTS:
        refill(journal, thing, [*known, value], deps)
        return Value()
    thing.size = None
    journal.give(thing.slot(SHAPE), Value(deps | value.deps, Thing(journal.run)))
    if value.thing is not None:
        thing.slot(("held", id(value.thing))).unknown = value.thing
    return Value()


def _of_known(journal: Journal, thing: Thing, name: str, arguments: Sequence[Value], deps: Deps) -> Value | None:
    known = elements(thing) or []
    place = arguments[0].constant if arguments else UNKNOWN
    first = place if type(place) is int and -len(known) <= place < len(known) else None
    match name, arguments:
        case "pop", []:
            refill(journal, thing, known[:-1], deps)
            return known[-1] if known else Value()
        case "pop", [_] if first is not None:
            taken = known.pop(first)
            refill(journal, thing, known, deps)
            return taken
        case "insert", [_, value] if first is not None:
            known.insert(first, value)
        case "extend", [more] if (added := copies(journal, more)) is not None:
            known += added[0]
            deps |= added[1]
        case "reverse", []:
            known.reverse()
        case "remove", [_] if (found := _position(known, place)) is not None:
            del known[found]
        case _:
            return None
    refill(journal, thing, known, deps)
    return Value()


def _position(known: list[Value], constant: Any) -> int | None:
    """Where a constant stands first; None where an element before it is not known."""
    for place, value in enumerate(known):
        if value.constant is UNKNOWN or constant is UNKNOWN:
            return None
        if value.constant == constant:
            return place
    return None
