"""A real ipykernel, driven as JupyterLab drives one."""

import os
import queue
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """What one executed cell gave: status, outputs as nbformat-like dicts, and the panel's deltas."""

    status: str = "ok"
    ename: str = ""
    evalue: str = ""
    stdout: str = ""
    stderr: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    deltas: list[dict[str, Any]] = field(default_factory=list)
    traceback: str = ""

    @property
    def text(self) -> str:
        return "\n".join(r.get("text/plain", "") for r in self.results)


class Kernel:
    """A real ipykernel; `run` sends a cell with its id and tags as JupyterLab does."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(folder), env={**os.environ, **environ}, stderr=-3, stdout=-3)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, source: str, cell_id: str = "", tags: tuple[str, ...] = ()) -> str:
        session = self.client.session
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        message = session.msg("execute_request", content, metadata={"cellId": cell_id, "tags": list(tags)} if cell_id else {})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def run(self, source: str, cell_id: str = "", tags: tuple[str, ...] = (), timeout: float = 60) -> Answer:
        asked = self.send(source, cell_id, tags)
        answer = Answer()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                if not self.manager.is_alive():
                    answer.status = "dead"
                    return answer
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "update_display_data" and "application/vnd.mlops-nb.delta+json" in content["data"]:
                answer.deltas.append(content["data"]["application/vnd.mlops-nb.delta+json"])
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "stream":
                setattr(answer, content["name"], getattr(answer, content["name"]) + content["text"])
            elif kind in ("execute_result", "display_data"):
                answer.results.append(content["data"])
            elif kind == "error":
                answer.status, answer.ename, answer.evalue = "error", content["ename"], content["evalue"]
                answer.traceback = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                return answer
        raise TimeoutError(source)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
