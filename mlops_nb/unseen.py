"""Which threads do this project's own work now: what they open, start and ask for is no cell's."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

_threads: set[int] = set()


@contextmanager
def unseen() -> Iterator[None]:
    """What this thread does inside is this project's own work; what other threads do is seen as before."""
    thread = get_ident()
    if thread in _threads:
        yield
        return
    _threads.add(thread)
    try:
        yield
    finally:
        _threads.discard(thread)


def is_unseen() -> bool:
    """Whether this thread does this project's own work."""
    return get_ident() in _threads
