"""Fixtures that many tests share: a project on disk, real kernels driven as JupyterLab drives them."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_client import Kernel

from mlops_nb.config import Layout
from mlops_nb.store.registry import Registry

pytest_plugins = ["pytester"]


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
