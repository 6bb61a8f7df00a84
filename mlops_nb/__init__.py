"""Practical MLOps without leaving Jupyter: lineage, pipelines, features, tests and models from notebook cells.

`%load_ext mlops_nb` starts it in a notebook; `mlops-nb --help` lists the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from mlops_nb.project.lineage import Lineage

__version__ = "0.1.0"


def training_set(spine: "pd.DataFrame", *frames: "pd.DataFrame", timestamp: str) -> "pd.DataFrame":
    """`spine` with the features that were known at each row's `timestamp`: point-in-time joins of frames made by %%feature cells.

    Rows, order and index of `spine` stay as they are; each frame adds its columns and `VIEW__TIMESTAMP`, the time of the row taken
    (null where nothing was known). A feature row counts from its timestamp on, for its `--ttl`. Raises BadInput or NotFound where a
    frame is no feature frame, a column is missing, or keys or times cannot be compared.

    Example::

        training = mlops_nb.training_set(flights, airport_weather, recent_lateness, timestamp="scheduled")
    """
    from mlops_nb.features import offline

    return offline.training_set(spine, [(offline.view_of(frame), frame) for frame in frames], timestamp=timestamp)


def lineage(notebook: "str | Path | None" = None) -> "Lineage":
    """Lineage of the running kernel, or of a recorded notebook: what made a value, what is stale, what to run again.

    In a kernel `%load_ext mlops_nb` has to come first; `notebook` is a path, and its newest recorded session is meant. Raises MlopsError
    where nothing is captured, NotFound where the notebook was never recorded.

    Example::

        lin = mlops_nb.lineage()
        lin.slice("model").code          # the cells behind it, as code
        lin.deps(7)                      # what execution [7] stands on: certain or possible
        lin.stale()                      # [(cell id, reason)]
        lin.rerun_set({"a1b2": "x = 2"}) # what to run after an edit
    """
    from mlops_nb.magics import lineage_of

    return lineage_of(notebook)


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
