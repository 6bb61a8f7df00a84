"""Fixtures that many tests share: a project on disk, real kernels driven as JupyterLab drives them."""

import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops_nb.config import Layout
from mlops_nb.store.registry import Registry

pytest_plugins = ["pytester"]


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


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project in the test's own folder."""
    return Layout(tmp_path, tmp_path / ".mlops_nb")


@pytest.fixture
def registry(layout: Layout) -> Iterator[Registry]:
    """That project's registry."""
    opened = Registry.open(layout)
    yield opened
    opened.close()


@pytest.fixture
def start_kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Start kernels in a folder (default: the test's own) with further environment variables."""
    started: list[Kernel] = []

    def start(folder: Path = tmp_path, **environ: str) -> Kernel:
        started.append(Kernel(folder, environ))
        return started[-1]

    yield start
    for kernel in started:
        kernel.close()


@pytest.fixture
def write_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook out of sources or (source, tags) pairs; ids are c0, c1, ..."""

    def write(*cells: str | tuple[str, tuple[str, ...]], name: str = "nb.ipynb", folder: Path = tmp_path) -> Path:
        import nbformat

        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
        for number, cell in enumerate(cells):
            source, tags = (cell, ()) if isinstance(cell, str) else cell
            made = nbformat.v4.new_code_cell(source, id=f"c{number}", metadata={"tags": list(tags)} if tags else {})
            notebook.cells.append(made)
        path = folder / name
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def mlops_nb_command(tmp_path: Path) -> Callable[..., Any]:
    """Run `mlops-nb` in a process of its own, in the test's folder."""
    import subprocess

    def run(*arguments: str, folder: Path = tmp_path, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from mlops_nb.cli import main; main()", *arguments],
            cwd=folder,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return run
