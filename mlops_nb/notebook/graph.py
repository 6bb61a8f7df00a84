"""A directed acyclic graph as a plain mapping: node -> the nodes it requires."""

from collections.abc import Iterable, Mapping

from mlops_nb.errors import BadInput


def order(requires: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The nodes so that each stands behind all it requires; where that leaves a choice, the given order is kept.

    Raises BadInput naming the cycle.

    >>> order({"train": ["join"], "join": ["load"], "load": []})
    ('load', 'join', 'train')
    """
    waiting = _with_all_nodes(requires)
    done: dict[str, None] = {}
    while waiting:
        ready = next((node for node, needs in waiting.items() if needs <= done.keys()), None)
        if ready is None:
            raise BadInput("these need each other: " + " -> ".join(cycle(waiting)))
        done[ready] = None
        del waiting[ready]
    return tuple(done)


def cycle(requires: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """One cycle, its first node repeated at the end; () where there is none.

    >>> cycle({"a": ["b"], "b": ["a"]})
    ('a', 'b', 'a')
    """
    graph = {node: tuple(needs) for node, needs in requires.items()}
    finished: set[str] = set()
    for start in graph:
        if found := _cycle_from(start, graph, finished):
            return found
    return ()


def _cycle_from(start: str, graph: Mapping[str, tuple[str, ...]], finished: set[str]) -> tuple[str, ...]:
    path: list[str] = [] if start in finished else [start]
    while path:
        open_needs = (need for need in graph[path[-1]] if need in graph and need not in finished)
        following = next(open_needs, None)
        if following is None:
            finished.add(path.pop())
        elif following in path:
            return (*path[path.index(following) :], following)
        else:
            path.append(following)
    return ()


def ancestors(requires: Mapping[str, Iterable[str]], node: str) -> frozenset[str]:
    """All that `node` stands on, itself not counted.

    >>> sorted(ancestors({"c": ["b"], "b": ["a"]}, "c"))
    ['a', 'b']
    """
    found: set[str] = set()
    todo = list(requires.get(node, ()))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(requires.get(name, ()))
    return frozenset(found - {node})


def descendants(requires: Mapping[str, Iterable[str]], node: str) -> frozenset[str]:
    """All that stands on `node`, itself not counted.

    >>> sorted(descendants({"c": ["b"], "b": ["a"]}, "a"))
    ['b', 'c']
    """
    reverse: dict[str, list[str]] = {}
    for name, needs in requires.items():
        for need in needs:
            reverse.setdefault(need, []).append(name)
    return ancestors(reverse, node)


def _with_all_nodes(requires: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    waiting = {node: set(needs) for node, needs in requires.items()}
    for needs in tuple(waiting.values()):
        for need in sorted(needs):
            waiting.setdefault(need, set())
    return waiting
