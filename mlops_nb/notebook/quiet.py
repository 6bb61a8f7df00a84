"""Looking at a cell's code without the warnings that running it will show."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """No warning is shown or raised inside.

    Not by `warnings.catch_warnings`: it makes Python forget which warnings it has shown, and cells would show them again.
    """
    filters = warnings.filters
    warnings.filters = [("ignore", None, Warning, None, 0)]
    try:
        yield
    finally:
        warnings.filters = filters
