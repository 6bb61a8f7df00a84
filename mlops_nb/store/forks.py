"""SQLite and fork(2): a child inherits SQLite's idea of which locks the process holds, but not the locks themselves.

A child that then opened the same file would work without locks, and lose data. So no connection is open while the process forks:
what uses one says so, a fork waits for it (a commit takes milliseconds), and the writers close theirs.
"""

import contextlib
import threading
from collections.abc import Iterator

PATIENCE = 5.0  # seconds a fork waits for a query or commit to end


class ForkGuard:
    """Counts the connections in use; a fork waits until there is none."""

    def __init__(self) -> None:
        self.unsafe = False  # in a child: forked while a connection was in use, so SQLite must not be used here
        self._changed = threading.Condition()
        self._using = 0
        self._forking = 0  # threads that are about to fork
        self._thread = threading.local()  # how deep its uses are nested

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Hold off forks while a connection is in use; may be nested."""
        depth = getattr(self._thread, "depth", 0)
        with self._changed:
            self._changed.wait_for(lambda: depth or not self._forking)
            self._using += 1
        self._thread.depth = depth + 1
        try:
            yield
        finally:
            self._thread.depth = depth
            with self._changed:
                self._using -= 1
                self._changed.notify_all()

    def before(self) -> None:
        """Wait until no connection is in use, and let none come into use."""
        with self._changed:
            self._forking += 1
            self._changed.wait_for(lambda: not self._using, PATIENCE)

    def after_in_parent(self) -> None:
        """Let connections come into use again."""
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()

    def after_in_child(self) -> None:
        """Begin anew: the parent's other threads are not here."""
        self.unsafe = self.unsafe or self._using > 0
        self._changed = threading.Condition()
        self._using, self._forking = 0, 0


guard = ForkGuard()
