"""Plain Python -> its syntax tree."""

import ast
from functools import lru_cache

from mlops_nb.notebook.quiet import quiet


@lru_cache(maxsize=32)
def parse(source: str) -> ast.Module | str:
    """The module (top-level await and return allowed), or why it cannot be parsed. The tree is shared: it is only to be read."""
    try:
        with quiet():
            tree = compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"{type(error).__name__}: {error}"
    assert isinstance(tree, ast.Module)
    return tree
