"""A jupyter_client provisioner that forks kernels from a server with the libraries imported, where that is possible, and else starts them."""

import asyncio
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import List, Unicode

from mlops_nb.pipeline.forking import ForkedProcess, can_fork, forked


class ForkProvisioner(LocalProvisioner):
    """`mlops-nb-fork` among the kernel provisioners; `modules` (dotted names) come from the kernel spec's configuration of it."""

    forked: ForkedProcess | None = None
    modules: List[str] = List(Unicode(), config=True, help="What the fork server imports beforehand.")

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel, or start one."""
        self.forked = None
        cwd, environ = Path(kwargs.get("cwd") or Path.cwd()), kwargs.get("env")
        if environ is None or not can_fork(cmd):
            return await super().launch_kernel(cmd, **kwargs)
        process = await asyncio.to_thread(forked, cmd, environ=environ, cwd=cwd, modules=self.modules)
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.forked = process
        self.process = process  # type: ignore[assignment]
        self.pid = self.pgid = process.pid
        self.cwd = cwd
        return self.connection_info

    async def kill(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 (the original's signature)
        """End the kernel and all it started."""
        if self.forked is not None:
            self.forked.kill()
        else:
            await super().kill(restart)
