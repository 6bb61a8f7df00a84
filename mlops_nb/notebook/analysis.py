"""Plain Python -> what it does to global names: upward-exposed uses, definitions, deletions, in-place changes, deferred reads."""

import ast
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.flow import Facts, follow
from mlops_nb.notebook.scopes import BUILTINS
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import Analysis, Cell


def facts(source: str, *, shadowed: Iterable[str] = ()) -> Facts:
    """`analyze`, with how sure each name is."""
    return _facts(source, frozenset(shadowed))


@lru_cache(maxsize=256)  # most cells run more than once, unchanged
def _facts(source: str, shadowed: frozenset[str]) -> Facts:
    return follow(source, builtins=BUILTINS - shadowed)


def analyze(source: str, *, shadowed: Iterable[str] = ()) -> Analysis:
    """The analysis of plain Python (see `cells.plain_python`); never raises: what cannot be parsed has `error` set and nothing else.

    Builtins do not count as uses, unless they are in `shadowed`: builtin names that the namespace binds to something else.

    >>> sorted(analyze("y = x + len(xs)").uses)
    ['x', 'xs']
    """
    return facts(source, shadowed=shadowed).analysis


def of_cell(cell: Cell, *, shadowed: Iterable[str] = ()) -> Analysis:
    """The analysis of a cell as what it is: a feature cell binds its name alone, a test cell binds nothing."""
    return facts_of_cell(cell, shadowed=shadowed).analysis


def facts_of_cell(cell: Cell, *, shadowed: Iterable[str] = ()) -> Facts:
    """`of_cell`, with how sure each name is."""
    found = facts(plain_python(cell.source), shadowed=shadowed)
    if found.analysis.error or cell.kind not in ("feature", "test"):
        return found
    bound = frozenset({cell.name} if cell.kind == "feature" else ())
    analysis = replace(found.analysis, defs=bound, deletes=frozenset(), deferred={}, imports={})
    return replace(found, analysis=analysis, always=bound)


def normalized(source: str) -> str:
    """The code without comments, formatting and line numbers (docstrings kept), for hashing; unparsable text is only stripped.

    >>> normalized("x=(1)  # one") == normalized("x = 1")
    True
    """
    tree = parse(source)
    if isinstance(tree, str):
        return source.strip()
    try:
        return ast.unparse(tree)
    except (RecursionError, ValueError):
        return source.strip()
