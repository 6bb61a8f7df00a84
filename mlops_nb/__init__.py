"""Practical MLOps without leaving Jupyter: lineage, pipelines, features, tests and models from notebook cells.

`%load_ext mlops_nb` starts it in a notebook; `mlops-nb --help` lists the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Start capture and register the magics (`%load_ext mlops_nb`)."""
    from mlops_nb.magics import load

    load(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Stop capture and remove the magics (`%unload_ext mlops_nb`)."""
    from mlops_nb.magics import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell jupyter_server where the extension is."""
    return [{"module": "mlops_nb.server"}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the prebuilt panel is."""
    return [{"src": "labextension", "dest": "mlops-nb"}]
