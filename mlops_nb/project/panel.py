"""What the side panel is told: a delta from the kernel after a cell, a snapshot from the registry through the server.

The names in these mappings are the ones of `labextension/src/tokens.ts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.records import CellView

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.store.registry import RecordingStatus

DELTA_MIME = "application/vnd.mlops-nb.delta+json"
DISPLAY_ID = "mlops-nb"  # no output carries this id, so nothing is stored in the notebook
WIRE_VERSION = 1

_VIEW_FIELDS = tuple(field.name for field in fields(CellView))


def delta_payload(epoch: str, seq: int, notebook: str, views: Iterable[CellView], *, recording: "RecordingStatus") -> dict[str, Any]:
    """The message after a cell run: the views that changed. `epoch` names this kernel process, `seq` counts its messages by one from 1."""
    return {
        "v": WIRE_VERSION,
        "epoch": epoch,
        "seq": seq,
        "notebook": notebook,
        "recording": recording_json(recording),
        "cells": [view_json(view) for view in views],
    }


def view_json(view: CellView) -> dict[str, Any]:
    """A cell's view as JSON.

    >>> view_json(CellView("3f2a", "stale", "x was rewritten", reads=("x",)))["reads"]
    ['x']
    """
    return {name: list(value) if isinstance(value := getattr(view, name), tuple) else value for name in _VIEW_FIELDS}


def recording_json(status: "RecordingStatus") -> dict[str, Any]:
    """Whether facts are kept, and why not."""
    return {"on": status.on, "reason": status.reason}
