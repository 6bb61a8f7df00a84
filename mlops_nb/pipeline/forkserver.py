"""A process that has imported the libraries of some steps and forks kernels: such a kernel has nothing to import and is up in a tenth of a second.

`pipeline.forking` starts it as `python -m mlops_nb.pipeline.forkserver DESCRIPTOR MODULE...` and speaks with it over the socket of that
descriptor, one JSON object a line. It ends, and its kernels with it, when the other side is gone.

Only what is as good after a fork as before is kept imported: see `unfit`. It has one thread, and runs no code of the user's.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BASE = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.debugger", "mlops_nb.magics", "mlops_nb.project.pipelines")  # what every kernel needs
INLINE = "module://matplotlib_inline.backend_inline"  # as ipykernel sets it before the user's imports
_RESTARTED = frozenset({"jemalloc_bg_thd"})  # in a child by the library itself, as OpenBLAS's, which have no name of their own
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> None:
    """Serve until the other side is gone; in a forked process, be a kernel."""
    if sys.path[:1] == [str(Path.cwd())]:
        del sys.path[0]  # as ipykernel_launcher does: what is imported here is no file of the user's
    os.environ.setdefault("MPLBACKEND", INLINE)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or ipykernel's debugger talks when it is imported before the kernel is there
    before = dict(os.environ)
    asked = Server(socket.socket(fileno=int(arguments[0])), [*BASE, *arguments[1:]]).serve()
    if asked is not None:
        become_kernel(asked, {name: value for name, value in os.environ.items() if before.get(name) != value})


def unfit() -> str:
    """Why this process, with what it has imported, had better not fork; '' where it may."""
    maps = _mapped()
    pools = {line.rpartition(" ")[2] for line in maps if "openblas" in line}
    threads = [name for name in _threads() if name not in _RESTARTED]
    if threading.active_count() > 1 or len(threads) > 1 + len(pools) * ((os.cpu_count() or 1) - 1):
        return "it has threads, which a fork would lose"
    if "matplotlib.pyplot" in sys.modules:
        return "it draws, and looks for the shell it draws for when it is imported"
    if any("libcuda" in line for line in maps):
        return "CUDA does not survive a fork"
    return ""


class Server:
    """Imports `modules` one after the other, and between them forks for those who asked and have all they need."""

    def __init__(self, channel: socket.socket, modules: Sequence[str]) -> None:
        self.channel = channel
        self.todo = list(modules)
        self.asked: list[dict[str, Any]] = []
        self.closed = False  # a module did not bear a fork
        self.children: set[int] = set()
        self.pending = b""
        self.woken, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> dict[str, Any] | None:
        """Returns in a child, with the request; in the server None, once the other side is gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(self.woken, selectors.EVENT_READ)
            while self._hear({key.fd for key, _ in selector.select(0 if self.todo or self.asked else None)}):
                if (asked := self._next()) is not None:
                    if not self._fork(asked):
                        break
                elif self.todo and (refused := self._import()):
                    self.todo, self.asked, self.closed = [], [], True  # no more forks; the kernels there are run on
                    _say(self.channel, {"refused": refused})
            else:
                _kill(self.children)
                return None
        self._leave()
        return asked

    def _hear(self, ready: set[int]) -> bool:
        """Take in what has come; False once the other side is gone."""
        if self.woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self.woken, 4096)
            self._reap()
        if self.channel.fileno() in ready:
            data = self.channel.recv(1 << 16)
            *lines, self.pending = (self.pending + data).split(b"\n")
            self.asked += () if self.closed else map(json.loads, lines)
            return bool(data)
        return True

    def _next(self) -> dict[str, Any] | None:
        """A request that can be met now; what another one needs is imported first."""
        for asked in self.asked:
            missing = [name for name in self.todo if name in {*BASE, *asked["modules"]}]
            if not missing:
                self.asked.remove(asked)
                return asked
            self.todo = [*missing, *(name for name in self.todo if name not in missing)]
        return None

    def _import(self) -> dict[str, str]:
        """Import the next module; the reason if the process had better not fork then. One that fails is left to the step, which will say so."""
        name = self.todo.pop(0)
        with contextlib.suppress(Exception):
            importlib.import_module(name)
        reason = unfit()
        return {name: reason} if reason else {}

    def _fork(self, asked: Mapping[str, Any]) -> bool:
        """A child; is this the server still?"""
        gc.freeze()  # the pages stay shared; what is garbage among it may stay as well
        child = os.fork()
        if child:
            self.children.add(child)
            _say(self.channel, {"asked": asked["number"], "pid": child})
        return bool(child)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                child, status = os.waitpid(-1, os.WNOHANG)
                if not child:
                    return
                self.children.discard(child)
                _say(self.channel, {"ended": child, "code": os.waitstatus_to_exitcode(status)})

    def _leave(self) -> None:
        """In a child: nothing of the server's stays, and its end is the child's."""
        os.setsid()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.channel.close()
        os.close(self.woken)
        os.close(self.wake)


def become_kernel(asked: Mapping[str, Any], left: Mapping[str, str]) -> None:
    """Be the kernel that was asked for, as `python -m ipykernel_launcher` would; `left` are the variables that the imports set."""
    os.environ.clear()
    os.environ.update({**left, **asked["environ"]})
    os.environ["JPY_PARENT_PID"] = str(os.getppid())
    os.chdir(asked["cwd"])
    sys.modules.pop("__mp_main__", None)  # multiprocessing's other name for this module, which is the kernel's main module no more
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # or all kernels would draw the same; `random` sees to itself
    import ipykernel_launcher  # type: ignore[import-untyped]  # nothing but its path
    from ipykernel import kernelapp

    sys.argv = [str(ipykernel_launcher.__file__), *asked["arguments"], f"--IPKernelApp.parent_handle={os.getppid()}"]

    kernelapp.launch_new_instance()


def _kill(children: set[int]) -> None:
    for child in children:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child, signal.SIGKILL)


def _say(channel: socket.socket, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next read tells
        channel.sendall(json.dumps(message).encode() + b"\n")


def _threads() -> list[str]:
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in Path("/proc/self/task").glob("*/comm")]


def _mapped() -> list[str]:
    return Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()


if __name__ == "__main__":
    main(sys.argv[1:])
