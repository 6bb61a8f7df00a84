"""The one audit hook of the process: who wants to know of an event subscribes to it; nothing is delivered unless recording is on.

An audit hook cannot be taken out again and is called for every audit event of the process (`id()` is one), so its first line decides
what it costs when idle. A handler that fails never disturbs what the user did: its error is raised by `stop`.
"""

import sys
from collections.abc import Callable
from typing import Any

from mlops_nb.unseen import is_unseen

Handler = Callable[[tuple[Any, ...]], None]

_handlers: dict[str, tuple[Handler, ...]] = {}
_active: dict[str, tuple[Handler, ...]] = {}  # empty while nothing is recorded
_failures: list[BaseException] = []
_installed = False


def subscribe(event: str, handler: Handler) -> None:
    """From now on `handler` gets the arguments of each `event` while recording is on; a second time does nothing.

    It runs in the thread that caused the event, in the middle of the user's code, and shall cost a few microseconds at most.
    """
    known = _handlers.get(event, ())
    if handler not in known:
        _handlers[event] = (*known, handler)
        if _active:
            start()


def unsubscribe(event: str, handler: Handler) -> None:
    """`handler` gets nothing any more; of one that never subscribed nothing happens."""
    left = tuple(known for known in _handlers.get(event, ()) if known != handler)
    _handlers[event] = left
    if event in _active:
        _active[event] = left


def start() -> None:
    """Deliver events from now on; a second call does nothing."""
    global _installed  # noqa: PLW0603 (the interpreter's hook list is global too)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
    _active.update(_handlers)


def stop() -> None:
    """Deliver nothing any more. Raises what a handler raised since the last `stop`, the first of it."""
    _active.clear()
    if _failures:
        first = _failures[0]
        _failures.clear()
        raise first


def guarded(handler: Callable[..., None], *args: Any) -> None:
    """Call `handler` inside the user's code: what it raises waits for `stop`. An interrupt is the user's and passes."""
    try:
        handler(*args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (it must not reach the cell; `stop` raises it to whoever watches)
        if not _failures:
            _failures.append(error)


def _hook(event: str, args: tuple[Any, ...], active: dict[str, tuple[Handler, ...]] = _active) -> None:
    # A default argument is looked up faster than a global, and is still there while the interpreter shuts down; asking whether there
    # is anything to look for, before hashing a new string, keeps the idle cost at that of an empty hook.
    if active and event in active and not is_unseen():
        for handler in active.get(event, ()):
            guarded(handler, args)
