"""What an expression is computed from: names, attributes and elements, through the functions and classes whose code is known."""

import ast
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from mlops_nb.notebook import scopes, structures
from mlops_nb.notebook.objects import ANYTHING, NOTHING, UNKNOWN, Dep, Deps, Journal, Key, Scope, Slot, Thing, Value, Version

MAX_CALLS = 6  # of functions within functions
MAX_WORK = 4000  # nodes looked at for one run; what is beyond is taken as not known
_ACCESSORS = ("__getattr__", "__getattribute__", "__getitem__", "__setattr__", "__setitem__")


class Function:
    """A function of the notebook's: its code, the names around it, its defaults."""

    def __init__(self, node: scopes.Function | ast.Lambda, outer: Scope, defaults: dict[str, Value], *, plain: bool) -> None:
        self.node = node
        self.outer = outer
        self.defaults = defaults
        self.plain = plain  # not decorated by what may call it in another way
        decorators = [] if isinstance(node, ast.Lambda) else [d.id for d in node.decorator_list if isinstance(d, ast.Name)]
        self.is_property = "property" in decorators or "cached_property" in decorators
        self.is_static = "staticmethod" in decorators
        self.setter: Function | None = None  # of a property

    @property
    def parameters(self) -> list[str]:
        """Those that can be given by position."""
        return [a.arg for a in (*self.node.args.posonlyargs, *self.node.args.args)]


class Evaluator:
    """Evaluates expressions on things instead of values. `hidden` stands for what the run read that no code shows."""

    def __init__(self, journal: Journal, scope: Scope) -> None:
        self.journal = journal
        self.scope = scope
        self.control: list[Deps] = [NOTHING]
        self.maybe = 0  # around this point: branches, and loops that are not unrolled
        self.calling: list[Function] = []
        self.work = 0
        self.seen: set[str] = set()  # names in the code that was followed
        hidden = Slot("")
        self.hidden = Version(journal.now, journal.run, Value())
        hidden.versions.append(self.hidden)
        self.opaque: Deps = frozenset({Dep(hidden, journal.now)})

    @abstractmethod
    def run_body(self, function: Function, scope: Scope) -> Value:
        """What a call of the function returns."""

    @abstractmethod
    def assign(self, target: ast.expr, value: Value) -> None:
        """Bind a target."""

    # --- what is read ---

    def use(self, value: Value) -> Deps:
        """All that a consumer of the value depends on: the thing with its parts, and what a function reads when it is called."""
        thing = value.thing
        if thing is None:
            return value.deps
        deps = value.deps | {Dep(thing, self.journal.now)}
        if isinstance(thing.function, Function) and thing.function not in self.calling:
            deps |= self.call_function(thing.function, [], {}, opaque=True).deps
        return deps

    def used(self, nodes: Iterable[ast.expr | None]) -> Deps:
        """What several expressions depend on."""
        return NOTHING.union(*(self.use(self.value(node)) for node in nodes if node is not None))

    def made(self, deps: Deps) -> Value:
        """A new thing of which only what it was computed from is known."""
        return Value(deps, Thing(self.journal.run))

    def name(self, name: str) -> Value:
        """A read of a variable."""
        slot = self.scope.find(name)
        if slot is None:
            if name in scopes.BUILTINS and not name.startswith("_"):
                return Value()
            slot = self.scope.top.own(name)
        now = self.journal.now
        if not slot.versions:
            slot.unknown = slot.unknown or Thing(-1, name)
            return Value(frozenset({Dep(slot, now)}), slot.unknown)
        held = slot.versions[-1].value
        if slot.versions[-1].fleeting and slot.versions[-1].run == self.journal.run:
            return held
        return Value(frozenset({Dep(slot, now)}), held.thing, held.constant)

    def value(self, node: ast.expr) -> Value:
        """What an expression gives."""
        self.work += 1
        if self.work > MAX_WORK:
            return self.made(self.opaque)
        found = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        return found(node) if found else self.generic(node)

    def generic(self, node: ast.expr) -> Value:
        """An expression that makes something new out of its operands."""
        parts = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        values = [self.value(part) for part in parts]
        deps = NOTHING.union(*map(self.use, values))
        return Value(deps) if all(v.thing is None for v in values) else self.made(deps | self.opaque)

    # --- expressions, by the names of their nodes ---

    def _of_constant(self, node: ast.Constant) -> Value:
        return Value(constant=node.value)

    def _of_name(self, node: ast.Name) -> Value:
        return self.name(node.id)

    def _of_namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.value(node.value)
        self.assign(node.target, value)
        return value.also(frozenset({Dep(self.scope.own(node.target.id), self.journal.now)}))

    def _of_await(self, node: ast.Await) -> Value:
        return self.value(node.value)

    def _of_starred(self, node: ast.Starred) -> Value:
        return self.value(node.value)

    def _of_ifexp(self, node: ast.IfExp) -> Value:
        test = self.value(node.test)
        if test.constant is not UNKNOWN:
            return self.value(node.body if test.constant else node.orelse).also(test.deps)
        self.maybe += 1
        deps = self.use(test) | self.used([node.body, node.orelse])
        self.maybe -= 1
        return self.made(deps)

    def _of_unaryop(self, node: ast.UnaryOp) -> Value:
        operand = self.value(node.operand)
        match node.op, operand.constant:
            case ast.USub(), int() | float() as number:
                return Value(operand.deps, None, -number)
            case ast.Not(), constant if constant is not UNKNOWN:
                return Value(operand.deps, None, not constant)
        return Value(self.use(operand))

    def _of_binop(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        deps = self.use(left) | self.use(right)
        first, second = structures.copies(self.journal, left), structures.copies(self.journal, right)
        if isinstance(node.op, ast.Add) and first is not None and second is not None:
            return Value(first[1] | second[1], structures.sequence(self.journal, first[0] + second[0]))
        if left.thing is None and right.thing is None:
            return Value(deps, None, _folded(node.op, left.constant, right.constant))
        return self.made(deps | self.opaque)

    def _of_list(self, node: ast.List | ast.Tuple) -> Value:
        values = self.spread(node.elts)
        if values is None or len(values) > structures.MAX_PARTS:
            return self.made(self.used(node.elts))
        return Value(NOTHING, structures.sequence(self.journal, values, mutable=isinstance(node, ast.List)))

    _of_tuple = _of_list

    def _of_dict(self, node: ast.Dict) -> Value:
        values = [self.value(value) for value in node.values]
        keys = [self.value(key) if key else Value() for key in node.keys]
        parts = [structures.key_of(key.constant) if key.constant is not UNKNOWN else None for key in keys]
        deps = NOTHING.union(*(key.deps for key in keys))
        if not all(parts):
            return self.made(NOTHING.union(*map(self.use, [*keys, *values])))
        return Value(deps, structures.mapping(self.journal, {part: value for part, value in zip(parts, values, strict=True) if part}))

    def _of_lambda(self, node: ast.Lambda) -> Value:
        return self.function(node, plain=True)

    def _of_attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.value(node.value), node.attr)

    def attribute(self, whole: Value, name: str) -> Value:
        """`x.name`: the thing's own, or that of its class; a property is called."""
        thing = whole.thing
        if thing is None:
            return self.made(whole.deps | self.opaque)
        holder = _holder(thing, name)
        if holder is None or holder is thing:
            found = structures.read(self.journal, whole, (".", name))
            return found if holder is thing else found.also(self.opaque)
        found = structures.read(self.journal, Value(whole.deps | {Dep(thing.slot((".", name)), self.journal.now)}, holder), (".", name))
        function = found.thing.function if found.thing else None
        if isinstance(function, Function) and function.is_property:
            return self.call_function(function, [whole], {}).also(found.deps)
        return found

    def _of_subscript(self, node: ast.Subscript) -> Value:
        whole, index = self.value(node.value), self.value(node.slice)
        if whole.thing is None:
            return self.made(whole.deps | self.use(index) | self.opaque)
        if isinstance(node.slice, ast.Slice) and (part := self._slice(whole, node.slice)):
            return part
        special = whole.thing.base is not None and any(_holder(whole.thing, name) for name in _ACCESSORS)
        key = None if index.constant is UNKNOWN or special else structures.placed(whole.thing, index.constant)
        if key is None:
            return self.made(self.use(whole) | self.use(index) | self.opaque)
        return structures.read(self.journal, whole, key).also(index.deps)

    def _slice(self, whole: Value, node: ast.Slice) -> Value | None:
        """A constant slice of a list whose elements are known."""
        known = structures.elements(whole.thing)
        bounds = [self.value(b) if b else Value(constant=None) for b in (node.lower, node.upper, node.step)]
        constants = [bound.constant for bound in bounds]
        if known is None or 0 in constants[2:] or not all(type(constant) in (int, type(None)) for constant in constants):
            return None
        places = range(len(known))[slice(*constants)]
        values = [structures.read(self.journal, Value(NOTHING, whole.thing), ("[]", place)) for place in places]
        return Value(whole.deps.union(*(b.deps for b in bounds)), structures.sequence(self.journal, values))

    def _of_listcomp(self, node: scopes.Comprehension) -> Value:
        inner = Scope(outer=self.scope)
        outer, self.scope, self.maybe = self.scope, inner, self.maybe + 1
        deps = NOTHING
        for generator in node.generators:
            source = self.value(generator.iter)
            deps |= self.use(source) | self.used(generator.ifs)
            self.bind_local(generator.target, self.item(source))
            deps |= self.used(generator.ifs)
        deps |= self.used([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.scope, self.maybe = outer, self.maybe - 1
        return self.made(deps)

    _of_setcomp = _of_generatorexp = _of_dictcomp = _of_listcomp

    def item(self, source: Value) -> Value:
        """Any element of what is iterated over."""
        return self.made(self.use(source) | self.opaque) if source.thing and not source.thing.kind else Value(self.use(source))

    def bind_local(self, target: ast.expr, value: Value) -> None:
        """Bind the names of a comprehension's target."""
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                self.journal.give(self.scope.own(node.id), value)

    def spread(self, nodes: Sequence[ast.expr]) -> list[Value] | None:
        """The values of expressions of which some are starred; None where it is not known how many they are."""
        found: list[Value] = []
        for node in nodes:
            value = self.value(node)
            if not isinstance(node, ast.Starred):
                found.append(value)
                continue
            known = structures.copies(self.journal, value)
            if known is None:
                return None
            found += [one.also(known[1]) for one in known[0]]
        return found

    # --- calls ---

    def _of_call(self, node: ast.Call) -> Value:
        function = node.func
        arguments = self.spread(node.args)
        named = {k.arg: self.value(k.value) for k in node.keywords}
        every = [*(arguments if arguments is not None else [self.value(a) for a in node.args]), *named.values()]
        if isinstance(function, ast.Attribute):
            return self._method(self.value(function.value), function.attr, every, named if arguments is not None else None)
        called = self.value(function)
        if isinstance(function, ast.Name) and not called.deps and (made := self._builtin(function.id, every)):
            return made
        if arguments is None or None in named:
            return self.made(NOTHING.union(self.opaque, self.use(called), *map(self.use, every)))
        return self.call(called, arguments, {name: value for name, value in named.items() if name})

    def call(self, called: Value, arguments: list[Value], named: dict[str, Value]) -> Value:
        """A call of a function or class of the notebook's is followed; any other may use all that it is given."""
        thing = called.thing
        if thing is not None and isinstance(thing.function, Function):
            return self.call_function(thing.function, arguments, named).also(called.deps)
        if thing is not None and thing.kind == "class":
            return self.instance(called, arguments, named)
        return self.made(NOTHING.union(self.opaque, self.use(called), *map(self.use, [*arguments, *named.values()])))

    def instance(self, called: Value, arguments: list[Value], named: dict[str, Value]) -> Value:
        """A new instance; `__init__` is called on it."""
        assert called.thing is not None
        thing = Thing(self.journal.run, base=called.thing, kind="instance")
        if not all(_is_known(base) for base in (called.thing, *called.thing.bases)):
            return Value(NOTHING.union(called.deps, self.opaque, *map(self.use, [*arguments, *named.values()])), thing)
        whole, deps = Value(NOTHING, thing), called.deps
        if (init := self._found(thing, "__init__")) is not None:
            deps |= self.call_function(init, [whole, *arguments], named).deps
        else:
            deps = deps.union(*map(self.use, [*arguments, *named.values()]))
        return Value(deps, thing)

    def _found(self, thing: Thing, name: str) -> Function | None:
        """A method of a thing's class, as code."""
        holder = _holder(thing, name)
        held = holder.slots[(".", name)].versions[-1].value.thing if holder else None
        return held.function if held is not None and isinstance(held.function, Function) else None

    def setter(self, thing: Thing, key: Key | None) -> Function | None:
        """What is called when the attribute is set: that of a property of the class."""
        found = self._found(thing.base, str(key[1])) if thing.base is not None and key is not None and key[0] == "." else None
        return found.setter if found is not None else None

    def _method(self, whole: Value, name: str, every: list[Value], named: dict[str | None, Value] | None) -> Value:
        """A call of a method."""
        thing, given = whole.thing, NOTHING.union(*map(self.use, every))
        if thing is None:
            return self.made(whole.deps | given | self.opaque)
        function = self._found(thing, name)
        if function is not None and named is not None and None not in named:
            return self._own_method(whole, name, function, every[: len(every) - len(named)], {n: v for n, v in named.items() if n})
        where = whole.deps | self.control[-1]
        changed = structures.method(self.journal, thing, name, every, where, maybe=bool(self.maybe))
        if changed is not None:
            return changed
        if name in scopes.IN_PLACE:
            structures.change_any(self.journal, thing, where | given | self.opaque)
        if thing.kind in ("class", "module") or _holder(thing, name):
            return self.call(self.attribute(whole, name), every, {}).also(self.opaque)
        return self.made(self.use(whole) | given | self.opaque)

    def _own_method(self, whole: Value, name: str, function: Function, arguments: list[Value], named: dict[str, Value]) -> Value:
        assert whole.thing is not None
        holder = _holder(whole.thing, name)
        assert holder is not None
        bound = holder is not whole.thing and not function.is_static
        found = self.call_function(function, [whole, *arguments] if bound else arguments, named)
        return found.also(whole.deps | {Dep(holder.slot((".", name)), self.journal.now)})

    def _builtin(self, name: str, given: list[Value]) -> Value | None:
        """Builtins whose result has elements that are told apart."""
        match name, given:
            case (("list" | "tuple"), [one]):
                known = structures.copies(self.journal, one)
                return Value(known[1], structures.sequence(self.journal, known[0], mutable=name == "list")) if known else None
            case "range", [Value(constant=int() as stop)] if 0 <= stop <= structures.MAX_PARTS:
                values = [Value(constant=number) for number in range(stop)]
                return Value(given[0].deps, structures.sequence(self.journal, values, mutable=False))
            case "list", []:
                return Value(NOTHING, structures.sequence(self.journal, []))
            case "dict", []:
                return Value(NOTHING, structures.mapping(self.journal, {}))
            case ("getattr", [_, _]) | ("setattr", [_, _, _]):
                return self._attribute_by_name(given)
        return None

    def _attribute_by_name(self, given: list[Value]) -> Value | None:
        """`getattr(x, "name")`, `setattr(x, "name", value)`."""
        match given:
            case [Value(thing=Thing()) as whole, Value(constant=str() as attribute)]:
                return self.attribute(whole, attribute)
            case [Value(thing=Thing() as thing) as whole, Value(constant=str() as attribute), new]:
                structures.write(self.journal, thing, (".", attribute), new.also(whole.deps), maybe=bool(self.maybe))
                return Value()
        return None

    def function(self, node: scopes.Function | ast.Lambda, *, plain: bool) -> Value:
        """A function as a value; its defaults are computed where it is defined."""
        places = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        pairs = [*zip(places[len(places) - len(node.args.defaults) :], node.args.defaults, strict=True)]
        pairs += [(a.arg, default) for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is not None]
        defaults = {name: self.value(default) for name, default in pairs}
        outer: Scope | None = self.scope
        while outer is not None and outer.is_class:
            outer = outer.outer
        thing = Thing(self.journal.run, kind="function", function=Function(node, outer or self.scope, defaults, plain=plain))
        return Value(NOTHING.union(*(value.deps for value in defaults.values())), thing)

    def call_function(self, function: Function, arguments: Sequence[Value], named: dict[str, Value], *, opaque: bool = False) -> Value:
        """Follow a function's body with these arguments; `opaque`: with arguments that are not known."""
        self.seen |= {node.id for node in ast.walk(function.node) if isinstance(node, ast.Name)}
        given = [*arguments, *named.values()]
        if function in self.calling or len(self.calling) >= MAX_CALLS or self.work > MAX_WORK:
            return self.made(NOTHING.union(self.opaque, *map(self.use, given)))
        scope = Scope(outer=function.outer)
        for name, value in _bound(function, list(arguments), named, self, opaque=opaque).items():
            self.journal.give(scope.own(name), value)
        self.calling.append(function)
        found = self.run_body(function, scope)
        self.calling.pop()
        return found if function.plain else found.also(self.opaque.union(*map(self.use, given)))


def _bound(function: Function, arguments: list[Value], named: dict[str, Value], among: Evaluator, *, opaque: bool) -> dict[str, Value]:
    """A call's arguments by the names of the parameters."""
    names = function.parameters
    found = {**function.defaults, **dict(zip(names, arguments, strict=False)), **named}
    signature = function.node.args
    every = [*names, *(a.arg for a in signature.kwonlyargs)]
    for name in every:
        if opaque or name not in found:
            found[name] = among.made(NOTHING)
    if signature.vararg:
        found[signature.vararg.arg] = Value(NOTHING, structures.sequence(among.journal, arguments[len(names) :], mutable=False))
    if signature.kwarg:
        more: dict[Key, Value] = {(".", name): value for name, value in named.items() if name not in every}
        found[signature.kwarg.arg] = Value(NOTHING, structures.mapping(among.journal, more))
    return found


def _holder(thing: Thing, name: str) -> Thing | None:
    """Where a look-up of an attribute ends: at the thing itself, its class or a base of that; None where it is not known."""
    todo = [thing, *([thing.base] if thing.base else [])]
    while todo:
        at = todo.pop(0)
        slot = at.slots.get((".", name))
        if slot is not None and slot.versions:
            return at
        todo += at.bases
    return None


def _is_known(thing: Thing) -> bool:
    return thing.kind == "class" and all(map(_is_known, thing.bases)) and ANYTHING not in thing.slots


def _folded(op: ast.operator, left: Any, right: Any) -> Any:
    """The sum or difference of two numbers, or two texts."""
    if type(left) is int and type(right) is int:
        return left + right if isinstance(op, ast.Add) else left - right if isinstance(op, ast.Sub) else UNKNOWN
    return left + right if type(left) is type(right) is str and isinstance(op, ast.Add) else UNKNOWN
