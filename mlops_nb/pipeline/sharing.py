"""Objects that a step's outputs share: one object in its kernel, several in the kernels that load them."""

import time
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlops_nb.errors import BadInput
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.pipeline.wiring import wire
from mlops_nb.records import Component, Pipeline

MAX_OBJECTS = 200_000
MAX_SECONDS = 0.5
_ATOMS = (str, bytes, int, float, complex, bool, type(None), type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


def changed_inputs(component: Component) -> frozenset[str]:
    """The inputs that a component's cells may change in place, as their code says."""
    loaded = "".join(f"{name} = None\n" for name in component.inputs)
    before = parse_cell(loaded + component.support, id="before", index=-1)
    wiring = wire([before, *component.cells], {})
    changes = (unit.changes for unit in wiring.units if unit.cell.id != "before")
    return frozenset().union(*changes) & component.inputs.keys()


def changed_elsewhere(pipeline: Pipeline, component: Component) -> tuple[str, ...]:
    """The outputs of `component` that other components may change in place."""
    others = (other for other in pipeline.components if component.name in other.requires)
    changed = frozenset().union(*(changed_inputs(other) for other in others))
    return tuple(name for name in component.outputs if name in changed)


def read_elsewhere(pipeline: Pipeline, component: Component) -> tuple[str, ...]:
    """The inputs of `component` that others take from the same step, so that it must leave them as they are."""
    others = [other.inputs for other in pipeline.components if other.name != component.name]
    return tuple(
        name for name, maker in component.inputs.items() if name not in component.outputs and any(inputs.get(name) == maker for inputs in others)
    )


def check_apart(outputs: Mapping[str, Any], changed: Iterable[str], component: str) -> None:
    """Raise BadInput where an output that another step changes shares an object with a further output."""
    reached = {name: frozenset(_objects(value)) for name, value in outputs.items()} if changed else {}
    for name in changed:
        for other in sorted(outputs):
            if other != name and reached[name] & reached[other]:
                raise BadInput(
                    f"step {component} gives out `{name}` and `{other}`, which share an object, and another step changes `{name}`: in kernels of "
                    "their own they are two values",
                    hint=f"hand on a copy: `{name} = copy.deepcopy({name})`, or make one of the two where it is used",
                )


def _objects(value: Any) -> Iterator[int]:
    """The ids of the objects in a value that can change: containers, instances, arrays (all views of one memory as one)."""
    deadline = time.perf_counter() + MAX_SECONDS
    seen: set[int] = set()
    todo = [value]
    while todo and len(seen) < MAX_OBJECTS and time.perf_counter() < deadline:
        one = _whole(todo.pop())
        bound = isinstance(getattr(one, "__self__", None), list | dict | set)
        if id(one) in seen or (isinstance(one, _ATOMS) and not bound):
            continue
        seen.add(id(one))
        if not isinstance(one, tuple | frozenset):
            yield id(one)
        todo += _inside(one)


def _whole(value: Any) -> Any:
    """The array that a view looks at; a frame's own memory is copied when it is written, so that only the frame itself counts."""
    while type(value).__module__ == "numpy" and type(getattr(value, "base", None)).__module__ == "numpy":
        value = value.base
    return value


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return [*value]
    if isinstance(value, types.MethodType | types.BuiltinMethodType):
        return [value.__self__]
    if type(value).__module__.partition(".")[0] in ("pandas", "numpy", "polars", "pyarrow"):
        return []
    held = getattr(value, "__dict__", None)
    return [*held.values()] if isinstance(held, dict) else []
