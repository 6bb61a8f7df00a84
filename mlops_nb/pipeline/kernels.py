"""Kernels for headless runs: this interpreter's own ipykernel, forked where it can be, told each cell's id and tags as JupyterLab tells it.

Importing this module imports jupyter_client, so only `pipeline.run` does, when a notebook is really executed.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec
from jupyter_client.manager import AsyncKernelManager

from mlops_nb.pipeline.forking import LAUNCHER
from mlops_nb.pipeline.provisioner import ForkProvisioner

LONGEST = 60  # characters of a folder for temporary files: the path of a socket may have a hundred


class CellClient(AsyncKernelClient):
    """A client whose execute requests carry `cell_metadata` (`cellId` and tags), which capture reads in the kernel."""

    cell_metadata: Mapping[str, Any] = {}

    def execute(self, code: str, silent: bool = False, store_history: bool = True, stop_on_error: bool = True, **_: Any) -> str:  # type: ignore[override]  # noqa: FBT001, FBT002
        """Send `code` with the present cell's metadata; returns the message's id."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": stop_on_error,
        }
        message = self.session.msg("execute_request", content, metadata=dict(self.cell_metadata))
        self.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (the original's signature)
        """Wait until the kernel answers and what it publishes comes through; the original waits another 0.2 s for nothing.

        Raises RuntimeError where the kernel dies meanwhile, or after `timeout` seconds.
        """
        deadline = time.monotonic() + (timeout or float("inf"))
        asked: set[str] = set()
        while True:
            asked.add(self.kernel_info())
            if await self._answers(asked) and await self._publishes(asked):
                return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")

    async def _answers(self, asked: set[str]) -> bool:
        message = await _next(self.shell_channel, 1.0)
        return message["msg_type"] == "kernel_info_reply" and message["parent_header"].get("msg_id") in asked

    async def _publishes(self, asked: set[str]) -> bool:
        """Whether the status `idle` that follows an answer arrives: else the subscription was not there yet."""
        while (message := await _next(self.iopub_channel, 0.05))["msg_type"]:
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if idle and message["parent_header"].get("msg_id") in asked:
                return True
        return False


async def _next(channel: Any, seconds: float) -> dict[str, Any]:
    """The next message, one without type where none comes in time."""
    try:
        message: dict[str, Any] = await channel.get_msg(timeout=seconds)
    except Empty:
        return {"msg_type": "", "parent_header": {}}
    return message


class StepKernelManager(AsyncKernelManager):
    """A manager whose `python3` is always this interpreter, whatever kernel specs are installed elsewhere.

    It is forked from a server that has imported `modules`, where that is possible; with None it is started anew.
    """

    def __init__(self, *, modules: Sequence[str] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client_class = f"{CellClient.__module__}.{CellClient.__name__}"
        self.folder: Path | None = None
        if self.kernel_name in ("", NATIVE_KERNEL_NAME):
            self._kernel_spec = own_kernel_spec()
            if modules is not None:
                self.kernel_id = str(uuid.uuid4())
                self.provisioner = ForkProvisioner(kernel_id=self.kernel_id, kernel_spec=self._kernel_spec, parent=self, modules=list(modules))
        if os.name == "posix" and len(tempfile.gettempdir()) < LONGEST:  # sockets in a folder that is nobody else's
            self.folder = Path(tempfile.mkdtemp(prefix="mlops-nb-"))
            self.transport = "ipc"
            self.connection_file = str(self.folder / "kernel.json")
        elif self.has_trait("transport_encryption"):  # jupyter_client >= 8.9; without it other users of the machine can read along
            self.transport_encryption = "auto"

    async def _async_wait(self, pollinterval: float = 0.005) -> None:
        """Wait for the end of a kernel that was killed: the original asks ten times a second."""
        while await self._async_is_alive():  # noqa: ASYNC110 (it is another process that ends)
            await asyncio.sleep(pollinterval)

    def dispose(self) -> None:
        """Remove what the kernel's connection left on disk."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def exit_code(self) -> int | None:
        """The kernel process's exit code (negative: the signal that killed it); None while it runs or is unknown."""
        process = getattr(self.provisioner, "process", None)
        return process.poll() if process is not None else None


def own_kernel_spec() -> KernelSpec:
    """The ipykernel of the running interpreter."""
    from ipykernel.kernelspec import get_kernel_dict

    return KernelSpec(**{**get_kernel_dict(), "argv": [sys.executable, *LAUNCHER, "-f", "{connection_file}"]})
