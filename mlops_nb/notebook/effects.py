"""What a piece of plain Python may do besides reading and binding names: set up libraries and generators, look at the whole namespace."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.notebook.scopes import root_name

_SEEDS = re.compile(r"seed|set_?state$")
# Methods, called for their effect, after which a library or module works in another way.
_SETTING = re.compile(
    r"set(?!up)|use$|rc$|register|reload$|patch|filterwarnings$|simplefilter$|basicConfig$|reset_|(?:un)?install|config$|enable|disable"
)
_SPACES = frozenset({"globals", "locals", "vars", "dir"})
_HISTORY = re.compile(r"_i?\d+")
# The kinds of nodes that the cases below name; of names, the many, only IPython's (`Out`, `In`, `_5`) and Python's own are asked about.
_ASKED = frozenset(
    {ast.Attribute, ast.Subscript, ast.Expr, ast.Call, ast.Compare, ast.Name, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef}
)
_MARKED = frozenset("_OI")


@dataclass(frozen=True, slots=True)
class Effects:
    """What the code may do, as far as its text tells.

    `settings`: names whose attributes, or a library's behind them, may be set. `seeds`: a generator's state is set somewhere,
    `seeds_first`: through these names, before anything could draw from it. `whole`: any name of the namespace may be read or bound,
    by a text made at run time. `outputs`: the results of earlier cells it names (`_5`; `Out` for any of them), `inputs`: numbers of those
    whose source it names.
    `attributes`: the names it looks up on objects, those given as text to getattr and its like too.
    `parts`: names that stand nowhere but in `name[key]`, with how: ("load" or "store", "constant" or "variable",
    the key or the variable's name).
    """

    settings: frozenset[str] = frozenset()
    seeds: bool = False
    seeds_first: frozenset[str] = frozenset()
    whole: bool = False
    outputs: frozenset[str] = frozenset()
    inputs: frozenset[int] = frozenset()
    attributes: frozenset[str] = frozenset()
    parts: Mapping[str, frozenset[tuple[str, str, Any]]] = field(default_factory=dict)


def effects_of(tree: ast.Module) -> Effects:
    """One look at every node of the tree, function bodies included."""
    nodes = [node for node in ast.walk(tree) if type(node) in _ASKED and (type(node) is not ast.Name or node.id[:1] in _MARKED)]
    seeds = any(_seeds(call) for call in nodes if isinstance(call, ast.Call))
    known = {id(call) for node in nodes if (call := _literal_look(node))}
    numbered = {id(node.value) for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)}
    return Effects(
        settings=frozenset(name for node in nodes for name in _set_on(node)),
        seeds=seeds,
        seeds_first=_seeds_first(tree) if seeds else frozenset(),
        whole=any(_looks_at_all(node, known) for node in nodes),
        outputs=frozenset(name for node in nodes for name in _outputs(node, numbered)),
        inputs=frozenset(number for node in nodes for number in _inputs(node)),
        attributes=frozenset(name for node in nodes for name in _attributes(node)),
        parts=_parts(tree, nodes),
    )


def is_seed(name: str) -> bool:
    """Whether a function of this name sets a generator's state."""
    return _SEEDS.search(name) is not None


def _seeds(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    return is_seed(name)


def _seeds_first(tree: ast.Module) -> frozenset[str]:
    found: set[str] = set()
    for statement in tree.body:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        match statement:
            case ast.Expr(value=ast.Call() as call) if _seeds(call) and len(calls) == 1:
                found.add(_source_name(call.func))
            case _ if calls:
                break
    return frozenset(found)


def _set_on(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Subscript(value=ast.Attribute(attr="environ")):
            return  # each variable of the environment is followed by itself
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(value=ast.Attribute() | ast.Call(), ctx=ast.Store() | ast.Del()):
            yield _source_name(node)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=attr) as function, args=arguments)) if _SETTING.match(attr):
            yield _source_name(function)
            yield from (root_name(argument) for argument in arguments[:1])
        case ast.Call(func=ast.Attribute(attr="umask" | "reload" as attr) as function, args=arguments):
            yield _source_name(function)
            yield from (root_name(argument) for argument in arguments[:1] if attr == "reload")
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[first, *_]):
            yield root_name(first)
        case ast.Call(func=ast.Name(id=name)) if _SETTING.match(name):
            yield name
        case ast.FunctionDef(decorator_list=decorators) | ast.ClassDef(decorator_list=decorators):
            calls = [d.func for d in decorators if isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute)]
            yield from (_source_name(call) for call in calls if _SETTING.match(call.attr))


def _source_name(node: ast.expr) -> str:
    """The variable that an expression starts from, calls included: `logging` of `logging.getLogger("a").handlers`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return root_name(node)


def _literal_look(node: ast.AST) -> ast.Call | None:
    """The `globals()` of `globals()["x"]` and its like, whose name is there to read."""
    match node:
        case ast.Subscript(value=ast.Call() as call, slice=ast.Constant()) | ast.Compare(comparators=[ast.Call() as call], left=ast.Constant()):
            return call
        case ast.Call(func=ast.Attribute(value=ast.Call() as call, attr="get"), args=[ast.Constant(), *_]):
            return call
    return None


def _looks_at_all(node: ast.AST, known: set[int]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[]) if name in _SPACES:
            return id(node) not in known
        case ast.Attribute(attr="user_ns" | "user_global_ns" | "__globals__" | "f_globals") | ast.Name(id="__main__"):
            return True
        case ast.Import(names=names):
            return any(alias.name == "__main__" for alias in names)
        case ast.ImportFrom(module="__main__"):
            return True
        case ast.Subscript(slice=ast.Constant(value="__main__")):
            return True
    return False


def _outputs(node: ast.AST, numbered: set[int]) -> Iterator[str]:
    match node:
        case ast.Subscript(value=ast.Name(id="Out" | "_oh"), slice=ast.Constant(value=int() as number)):
            yield f"_{number}"
        case ast.Name(id="Out" | "_oh") if id(node) not in numbered:
            yield "Out"
        case ast.Name(id=name, ctx=ast.Load()) if name[0] == "_" and _HISTORY.fullmatch(name) and name[1] != "i":
            yield name


def _inputs(node: ast.AST) -> Iterator[int]:
    match node:
        case ast.Subscript(value=ast.Name(id="In" | "_ih"), slice=ast.Constant(value=int() as number)):
            yield number
        case ast.Name(id=name, ctx=ast.Load()) if name.startswith("_i") and _HISTORY.fullmatch(name):
            yield int(name[2:])


def _attributes(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name):
            yield name
        case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "methodcaller" | "attrgetter"), args=arguments):
            texts = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from texts or ["*"]


def _parts(tree: ast.Module, nodes: list[ast.AST]) -> dict[str, frozenset[tuple[str, str, Any]]]:
    subscripts = [node for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)]
    if not subscripts:
        return {}
    everything = list(ast.walk(tree))
    names = [node for node in everything if isinstance(node, ast.Name)]
    updated = {id(node.target) for node in everything if isinstance(node, ast.AugAssign)}
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    found: dict[str, list[tuple[str, str, Any]]] = {}
    for node in subscripts:
        assert isinstance(node.value, ast.Name)
        if (key := _key(node, bound)) is not None:
            stores = isinstance(node.ctx, ast.Store) and id(node) not in updated
            found.setdefault(node.value.id, []).append(("store" if stores else "load", *key))
    return {name: frozenset(keys) for name, keys in found.items() if sum(node.id == name for node in names) == len(keys)}


def _key(node: ast.Subscript, bound: set[str]) -> tuple[str, Any] | None:
    if isinstance(node.ctx, ast.Del):
        return None
    match node.slice:
        case ast.Constant(value=int() | str() as key):
            return "constant", key
        case ast.Name(id=name) if name not in bound:
            return "variable", name
    return None
