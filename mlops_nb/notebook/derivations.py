"""Following the cells of a notebook as they ran: which variable, attribute or element was computed from which.

What is told, each a fact of Python:

* A name is bound to a thing, and several names may hold one thing: who changes it in place changes it for all of them.
* Attributes and elements with constant keys (or keys that are a variable with a constant number or text) are parts of their own.
* Appending leaves the elements before it; deleting or inserting moves those after it; a part that is gone is not rewritten.
* Unpacking binds each target to its element; a starred one to a list of the rest.
* A branch whose test is a constant is the one that runs; of others both may, and what they bind depends on the test.
* A loop over a list whose elements are known runs once for each; any other may run any number of times.
* A call of a function defined in the notebook reads what its body reads, with these arguments; its definition reads only defaults and decorators.
* An attribute is looked up on the instance, then on its class and the class's bases.
* Any other call may use all that it is given, and (`Follower.hidden`) what else the run was seen to read.
"""

import ast
import copy

from mlops_nb.notebook import scopes, structures
from mlops_nb.notebook.expressions import Evaluator, Function
from mlops_nb.notebook.objects import NOTHING, UNKNOWN, Deps, Scope, Slot, Thing, Value

_ACCESS = frozenset({"loc", "iloc", "at", "iat", "values", "flat", "T", "str", "dt"})


class Follower(Evaluator):
    """Follows one run's statements; `shown` is what its results and effects outside the namespace depend on."""

    shown: Deps = NOTHING
    last: Value = Value()  # of the last statement, if it is an expression
    returned: list[Value] | None = None

    def follow(self, tree: ast.Module) -> None:
        """Follow a cell."""
        self.seen |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        self.block(tree.body)

    def block(self, statements: list[ast.stmt]) -> bool:
        """Follow statements; whether they end in leaving what is around them."""
        return any(self.statement(statement) for statement in statements)

    def statement(self, node: ast.stmt) -> bool:
        """Follow one; whether it leaves what is around it."""
        self.last = Value()
        found = getattr(self, f"_on_{type(node).__name__.lower()}", None)
        return bool(found(node)) if found else False

    def run_body(self, function: Function, scope: Scope) -> Value:
        """What a call returns: of a generator, all that it yields."""
        outer, self.scope = self.scope, scope
        saved, self.returned = self.returned, []
        maybe, self.maybe = self.maybe, 0
        if isinstance(function.node, ast.Lambda):
            self.returned.append(self.value(function.node.body))
        else:
            self.block(function.node.body)
        returns, self.returned = self.returned, saved
        self.scope, self.maybe = outer, maybe
        if len(returns) == 1:
            return returns[0]
        return self.made(NOTHING.union(*map(self.use, returns))) if returns else Value(constant=None)

    # --- binding ---

    def give(self, slot: Slot, value: Value) -> None:
        """Bind a variable, by way of the tests around this point; what another path of this run bound may hold as well."""
        deps = self.control[-1]
        if self.maybe and slot.versions and slot.versions[-1].run == self.journal.run:
            deps |= slot.versions[-1].value.deps
        value = value.also(deps)
        self.journal.give(slot, Value(value.deps, value.thing) if self.maybe else value)

    def assign(self, target: ast.expr, value: Value) -> None:
        """Bind a target: a name, a part, or several of them."""
        match target:
            case ast.Name(id=name):
                self.give(self.scope.own(name), value)
            case ast.Starred(value=inner):
                self.assign(inner, value)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                self._unpack(targets, value)
            case ast.Attribute(value=whole, attr=name):
                self._write(self.value(whole), (".", name), value)
            case ast.Subscript():
                self._write_item(target, value)

    def _unpack(self, targets: list[ast.expr], value: Value) -> None:
        size = len(structures.elements(value.thing) or ()) if structures.elements(value.thing) is not None else None
        star = next((place for place, target in enumerate(targets) if isinstance(target, ast.Starred)), None)
        if value.thing is None or (star is not None and size is None):
            for target in targets:
                self.assign(target, self.made(self.use(value)))
            return
        after = len(targets) - (len(targets) if star is None else star) - 1
        for place, target in enumerate(targets):
            if star is None or place < star:
                self.assign(target, self._element(value, place))
            elif place == star:
                rest = [self._element(value, n) for n in range(star, (size or 0) - after)]
                self.assign(target, Value(value.deps, structures.sequence(self.journal, rest)))
            else:
                self.assign(target, self._element(value, (size or 0) - len(targets) + place))

    def _element(self, value: Value, place: int) -> Value:
        return structures.read(self.journal, value, ("[]", place))

    def _write(self, whole: Value, key: tuple[str, object] | None, value: Value) -> None:
        if whole.thing is None:
            return
        value = value.also(whole.deps | self.control[-1])
        setter = self.setter(whole.thing, key)
        if setter is not None:
            self.call_function(setter, [whole, value], {})
            return
        structures.write(self.journal, whole.thing, key, value, maybe=bool(self.maybe))

    def _write_item(self, target: ast.Subscript, value: Value) -> None:
        whole, index = self.value(target.value), self.value(target.slice)
        if whole.thing is None:
            return
        key = None if index.constant is UNKNOWN else structures.placed(whole.thing, index.constant)
        self._write(whole, key, value.also(self.use(index) if key is None else index.deps))
        match target.value:
            case ast.Attribute(value=owner, attr=attr) if attr in _ACCESS:  # `df.loc[...] = 1` changes df
                self._write(self.value(owner), None, value.also(self.use(index)))

    def _delete(self, target: ast.expr) -> None:
        match target:
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for inner in targets:
                    self._delete(inner)
            case ast.Subscript(value=whole, slice=index):
                self._delete_part(self.value(whole), self.value(index))
            case ast.Attribute(value=whole, attr=name):
                self._delete_part(self.value(whole), Value(constant=name))

    def _delete_part(self, whole: Value, index: Value) -> None:
        if whole.thing is not None:
            key = None if index.constant is UNKNOWN else structures.placed(whole.thing, index.constant)
            structures.delete(self.journal, whole.thing, key, whole.deps | self.use(index) | self.control[-1], maybe=bool(self.maybe))

    # --- statements, by the names of their nodes ---

    def _on_assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self.assign(target, value)

    def _on_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value))

    def _on_augassign(self, node: ast.AugAssign) -> None:
        old = self.value(_loaded(node.target))
        new = self.value(node.value)
        if isinstance(node.op, ast.Add) and old.thing is not None and old.thing.kind == "list" and old.thing.mutable:
            where = old.deps | self.control[-1]
            if structures.method(self.journal, old.thing, "extend", [new], where, maybe=bool(self.maybe)) is None:
                structures.change_any(self.journal, old.thing, where | self.use(new))
            return
        plain = old.thing is None and new.thing is None
        deps = self.use(old) | self.use(new)
        self.assign(node.target, Value(deps) if plain else self.made(deps | self.opaque))

    def _on_expr(self, node: ast.Expr) -> None:
        value = self.value(node.value)
        if isinstance(node.value, ast.Yield | ast.YieldFrom | ast.Await):
            return
        if not scopes.changed_by_statement(node.value) or not isinstance(node.value, ast.Call) or not scopes.changed_by_call(node.value):
            self.shown |= self.use(value) | self.control[-1]
            self.last = value

    def _on_assert(self, node: ast.Assert) -> None:
        self.shown |= self.used([node.test]) | self.control[-1]

    def _on_return(self, node: ast.Return) -> bool:
        value = self.value(node.value) if node.value else Value(constant=None)
        if self.returned is not None:
            self.returned.append(value.also(self.control[-1]))
        return not self.maybe

    def _on_raise(self, node: ast.Raise) -> bool:
        self.shown |= self.used([node.exc]) | self.control[-1]
        return not self.maybe

    def _on_functiondef(self, node: scopes.Function) -> None:
        known = {"property", "cached_property", "staticmethod", "classmethod", "cache", "lru_cache", "wraps"}
        plain = all(isinstance(d, ast.Name) and d.id in known for d in node.decorator_list)
        value = self.function(node, plain=plain)
        match node.decorator_list:
            case [ast.Attribute(value=ast.Name(id=name), attr="setter")] if name == node.name and (old := self.name(name)).thing is not None:
                value = self._with_setter(old, value)
        self.give(self.scope.own(node.name), value.also(NOTHING.union(*(self.value(d).deps for d in node.decorator_list))))

    def _with_setter(self, getter: Value, setter: Value) -> Value:
        """`@x.setter`: the property of before, which can be set now."""
        property_ = getter.thing.function if getter.thing else None
        if isinstance(property_, Function) and setter.thing is not None:
            property_.setter = setter.thing.function
            return getter
        return setter

    _on_asyncfunctiondef = _on_functiondef

    def _on_classdef(self, node: ast.ClassDef) -> None:
        bases = [self.value(base) for base in node.bases]
        inner = Scope(outer=self.scope, is_class=True)
        outer, self.scope = self.scope, inner
        self.block(node.body)
        self.scope = outer
        known = tuple(base.thing for base in bases if base.thing is not None)
        thing = Thing(self.journal.run, kind="class" if not node.decorator_list else "", bases=known)
        for name, slot in inner.slots.items():
            slot.owner, slot.label = thing, f"{node.name}.{name}"
            thing.slots[".", name] = slot
        deps = NOTHING.union(*(base.deps for base in bases), self.used(node.decorator_list))
        self.give(self.scope.own(node.name), Value(deps, thing))

    def _on_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or (alias.name.split(".")[0] if isinstance(node, ast.Import) else alias.name)
            if name != "*":
                self.give(self.scope.own(name), Value(NOTHING, Thing(self.journal.run, name, kind="module")))

    _on_importfrom = _on_import

    def _on_global(self, node: ast.Global) -> None:
        self.scope.elsewhere |= dict.fromkeys(node.names, self.scope.top)

    def _on_nonlocal(self, node: ast.Nonlocal) -> None:
        for name in node.names:
            scope = self.scope.outer
            while scope is not None and name not in scope.slots:
                scope = scope.outer
            if scope is not None:
                self.scope.elsewhere[name] = scope

    def _on_delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._delete(target)

    def _on_if(self, node: ast.If) -> bool:
        test = self.value(node.test)
        if test.constant is not UNKNOWN:
            self.control.append(self.control[-1] | test.deps)
            ended = self.block(node.body if test.constant else node.orelse)
            self.control.pop()
            return ended
        self.perhaps(self.use(test), node.body, node.orelse)
        return False

    def perhaps(self, deps: Deps, *bodies: list[ast.stmt]) -> None:
        """Bodies of which any may run, as `deps` decide."""
        self.control.append(self.control[-1] | deps)
        self.maybe += 1
        for body in bodies:
            self.block(body)
        self.maybe -= 1
        self.control.pop()

    def _on_for(self, node: ast.For | ast.AsyncFor) -> None:
        source = self.value(node.iter)
        known = structures.elements(source.thing)
        if known is None or _may_leave(node.body) or self.maybe:
            self._pass(node.target, self.item(source))
            self.perhaps(self.use(source), node.body, node.body, node.orelse)
            return
        self.control.append(self.control[-1] | structures.shape(self.journal, source))
        for place in range(len(known)):
            self._pass(node.target, self._element(source, place))
            self.block(node.body)
        self.control.pop()
        self.block(node.orelse)

    _on_asyncfor = _on_for

    def _pass(self, target: ast.expr, value: Value) -> None:
        """Bind the variables of a loop for one pass, or those of a `with`; that another cell binds the name too means nothing to this one."""
        self.assign(target, value)
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and (slot := self.scope.own(node.id)).versions:
                slot.versions[-1].fleeting = True

    def _on_while(self, node: ast.While) -> None:
        deps = self.used([node.test])
        self.perhaps(deps, node.body, node.body, node.orelse)
        self.used([node.test])

    def _on_with(self, node: ast.With | ast.AsyncWith) -> bool:
        for item in node.items:
            context = self.value(item.context_expr)
            entered = self._method(context, "__enter__", [], {}) if context.thing and context.thing.base else context
            if item.optional_vars is not None:
                self._pass(item.optional_vars, entered)
        return self.block(node.body)

    _on_asyncwith = _on_with

    def _on_try(self, node: ast.Try | ast.TryStar) -> bool:
        ended = self.block(node.body)
        self.perhaps(NOTHING, *([*([_caught(h)] if h.name else []), *h.body] for h in node.handlers))
        return self.block([*node.orelse, *node.finalbody]) or (ended and not node.handlers)

    _on_trystar = _on_try

    def _on_match(self, node: ast.Match) -> None:
        subject = self.value(node.subject)
        for case in node.cases:
            for pattern in ast.walk(case.pattern):
                name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
                if isinstance(name, str):
                    self.give(self.scope.own(name), self.item(subject))
        self.perhaps(self.use(subject), *(case.body for case in node.cases))

    def _of_yield(self, node: ast.Yield | ast.YieldFrom) -> Value:
        value = self.value(node.value) if node.value else Value()
        if self.returned is not None:
            self.returned += [value.also(self.control[-1]), self.made(NOTHING)]
        return self.made(NOTHING)

    _of_yieldfrom = _of_yield


def _loaded(target: ast.expr) -> ast.expr:
    """The target of `x += 1` as an expression."""
    read = copy.copy(target)
    if isinstance(read, ast.Name | ast.Attribute | ast.Subscript):
        read.ctx = ast.Load()
    return read


def _caught(handler: ast.ExceptHandler) -> ast.stmt:
    return ast.Assign([ast.Name(handler.name or "", ast.Store())], ast.Constant(None))


def _may_leave(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Break | ast.Continue | ast.Return | ast.Yield) for statement in body for node in ast.walk(statement))
