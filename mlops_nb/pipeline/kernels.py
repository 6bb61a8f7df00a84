"""Kernels for headless runs: this interpreter's own ipykernel, told each cell's id and tags as JupyterLab tells it.

Importing this module imports jupyter_client, so only `pipeline.run` does, when a notebook is really executed.
"""

import sys
from collections.abc import Mapping
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec
from jupyter_client.manager import AsyncKernelManager


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


class StepKernelManager(AsyncKernelManager):
    """A manager whose `python3` is always this interpreter, whatever kernel specs are installed elsewhere."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client_class = f"{CellClient.__module__}.{CellClient.__name__}"
        if self.kernel_name in ("", NATIVE_KERNEL_NAME):
            self._kernel_spec = own_kernel_spec()
        if self.has_trait("transport_encryption"):  # jupyter_client >= 8.9; without it other users of the machine can read along
            self.transport_encryption = "auto"

    @property
    def exit_code(self) -> int | None:
        """The kernel process's exit code (negative: the signal that killed it); None while it runs or is unknown."""
        process = getattr(self.provisioner, "process", None)
        return process.poll() if process is not None else None


def own_kernel_spec() -> KernelSpec:
    """The ipykernel of the running interpreter."""
    from ipykernel.kernelspec import get_kernel_dict

    return KernelSpec(**{**get_kernel_dict(), "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]})
