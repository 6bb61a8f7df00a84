"""Kernels from a fork server: the driver's side of `pipeline.forkserver`.

A server has the environment, the folder and the imports of the kernels it forks, so that a fork is as a start. Where there can be none
(no Linux, another interpreter, a module that does not bear it) kernels start as they always do.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_nb.hashing import json_digest

SERVER = "mlops_nb.pipeline.forkserver"
LAUNCHER = ("-m", "ipykernel_launcher")
START_SECONDS = 60.0  # for a server to import what a kernel needs
MAX_SERVERS = 2
PASSING = ("JPY_", "MLOPS_NB_")  # variables that may be others for each kernel: nothing is imported by them


class ForkedProcess:
    """A forked kernel as `subprocess.Popen` would show it."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, server: "ForkServer") -> None:
        self.pid = pid
        self._server = server
        self._killed = False

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal that killed it); None while it runs."""
        code = self._server.exit_code(self.pid)
        if code is None and self._killed and _is_over(self.pid):
            return -int(signal.SIGKILL)  # the server will say so when it is through with an import
        return code

    def poll(self) -> int | None:
        """`returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        code = self.returncode
        if code is None:
            code = self._server.wait(self.pid, timeout)
        if code is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        return code

    def send_signal(self, signum: int) -> None:
        """Signal the process, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all it started; in its first moments it has no group of its own yet."""
        if self.poll() is None:
            self._killed = True
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    kill(self.pid, signal.SIGKILL)


def _is_over(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class ForkServer:
    """One server process and its kernels. It imports while the caller goes on; `fork` waits for what it needs."""

    def __init__(self, environ: Mapping[str, str], cwd: Path, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)
        self.refused: dict[str, str] = {}  # the module that does not bear a fork, and why: it forks no more for that
        self._changed = threading.Condition()
        self._pids: dict[int, int] = {}  # number of a request -> its child
        self._codes: dict[int, int] = {}
        self._asked = 0
        self._live: set[int] = set()
        self._gone = False
        ours, theirs = socket.socketpair()
        self._channel = ours
        command = [sys.executable, "-m", SERVER, str(theirs.fileno()), *modules]
        try:
            self.process = subprocess.Popen(  # noqa: S603 (this interpreter, and names of modules)
                command, env=dict(environ), cwd=cwd, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._listener = threading.Thread(target=self._listen, name="mlops_nb fork server", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return not self._gone

    @property
    def idle(self) -> bool:
        """Whether no kernel of it runs."""
        return not self._live

    def fork(self, arguments: Sequence[str], modules: Sequence[str], *, environ: Mapping[str, str], cwd: Path) -> ForkedProcess | None:
        """A new kernel, once `modules` (of its own) are imported; None where the server is of no use."""
        asked = {"modules": list(modules), "arguments": list(arguments), "environ": dict(environ), "cwd": str(cwd)}
        with self._changed:
            self._asked += 1
            number = self._asked
            try:
                self._channel.sendall(json.dumps({"number": number, **asked}).encode() + b"\n")
            except OSError:
                return None
            self._changed.wait_for(lambda: number in self._pids or self.refused or self._gone, START_SECONDS)
            pid = self._pids.pop(number, None)
        return None if pid is None else ForkedProcess(pid, self)

    def exit_code(self, pid: int) -> int | None:
        """How a kernel ended; None while it runs."""
        with self._changed:
            return self._codes.get(pid, -int(signal.SIGKILL) if self._gone else None)

    def wait(self, pid: int, timeout: float | None) -> int | None:
        """Wait for a kernel's end; None where it still runs after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._codes or self._gone, timeout)
        return self.exit_code(pid)

    def let_go(self) -> None:
        """In a forked child: close the parent's end of the channel."""
        with contextlib.suppress(OSError):
            os.close(self._channel.detach())

    def close(self) -> None:
        """End the server, and what is left of its kernels."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._listener.join(5)
        if self._listener.is_alive():  # it does not listen
            self.process.kill()
        self._listener.join()

    def _listen(self) -> None:
        with self._channel, self._channel.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                self._hear(json.loads(line))
        with self._changed:
            self._gone = True
            self._changed.notify_all()
        self.process.wait()

    def _hear(self, message: Mapping[str, Any]) -> None:
        with self._changed:
            if "refused" in message:
                self.refused = dict(message["refused"])
            elif "ended" in message:
                self._codes[message["ended"]] = message["code"]
                self._live.discard(message["ended"])
            else:
                self._pids[message["asked"]] = message["pid"]
                self._live.add(message["pid"])
            self._changed.notify_all()


# --- the servers of this process ------------------------------------------------------------------------------

_servers: dict[str, ForkServer] = {}
_retired: list[ForkServer] = []  # no longer asked, but some kernel of theirs still ran
_unfit: set[str] = set()  # modules that do not bear a fork
_lock = threading.Lock()


def can_fork(command: Sequence[str]) -> bool:
    """Whether a kernel that `command` starts may be forked instead: this interpreter's ipykernel, on Linux."""
    return sys.platform == "linux" and tuple(command[:3]) == (sys.executable, *LAUNCHER)


def warm_up(environ: Mapping[str, str], cwd: Path, modules: Iterable[str]) -> None:
    """Have a server import `modules`, in the background; where one is there that has, nothing happens."""
    with _lock:
        _server(environ, cwd, modules)


def forked(command: Sequence[str], *, environ: Mapping[str, str], cwd: Path, modules: Iterable[str]) -> ForkedProcess | None:
    """A kernel from a server that has imported `modules`, but those that do not bear it; None where none can be had."""
    wanted = list(modules)
    for _ in range(len(wanted) + 2):
        with _lock:
            server = _server(environ, cwd, wanted)
        if server is None:
            return None
        if process := server.fork(command[3:], wanted, environ=environ, cwd=cwd):
            return process
        if not server.refused:
            return None
        with _lock:
            _unfit.update(server.refused)
    return None


def close_all() -> None:
    """End all servers of this process."""
    with _lock:
        for server in (*_servers.values(), *_retired):
            server.close()
        _servers.clear()
        _retired.clear()


def _server(environ: Mapping[str, str], cwd: Path, modules: Iterable[str]) -> ForkServer | None:
    """The server for such kernels: the one that is there, or a new one in its place."""
    kept = {name: value for name, value in environ.items() if not name.startswith(PASSING)}
    key = json_digest({"environ": kept, "cwd": str(cwd)})
    wanted = [name for name in dict.fromkeys(modules) if name not in _unfit]
    known = _servers.pop(key, None)
    if known is not None and (not known.alive or known.refused or not set(wanted) <= set(known.modules)):
        wanted = list(dict.fromkeys([*(name for name in known.modules if name not in _unfit), *wanted]))
        _retire(known)
        known = None
    if known is None:
        try:
            known = ForkServer(kept, cwd, wanted)
        except OSError:
            return None
    _servers[key] = known
    while len(_servers) > MAX_SERVERS:
        _retire(_servers.pop(next(iter(_servers))))
    return known


def _retire(server: ForkServer) -> None:
    """End a server once its kernels have ended."""
    _retired.append(server)
    for old in [*_retired]:
        if not old.alive or old.idle:
            _retired.remove(old)
            old.close()


def _forget() -> None:
    """In a forked child: the servers are the parent's, and shall end with it though the child lives on."""
    for server in (*_servers.values(), *_retired):
        server.let_go()
    _servers.clear()
    _retired.clear()


os.register_at_fork(after_in_child=_forget)
atexit.register(close_all)
