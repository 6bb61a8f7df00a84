"""What the side panel is told: a delta from the kernel after a cell, a snapshot from the registry through the server.

The names in these mappings are the ones of `labextension/src/tokens.ts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.records import CellView
from mlops_nb.store.codec import from_json

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.store.registry import RecordingStatus

DELTA_MIME = "application/vnd.mlops-nb.delta+json"
DISPLAY_ID = "mlops-nb"  # no output carries this id, so nothing is stored in the notebook
WIRE_VERSION = 1

Json = dict[str, Any]

_VIEW_FIELDS = tuple(field.name for field in fields(CellView))

SESSION = """
select pid, kernel_id from session
where id = (select session_id from cell_run where notebook = ? order by started desc, rowid desc limit 1)
"""
PROMOTED = "select components from current_pipeline where notebook = ? order by created desc limit 1"
LAST_STEPS = """
select component, status, seconds, run_id from (
    select step_run.*, row_number() over (partition by component order by step_run.started desc, step_run.rowid desc) as nth
    from step_run join run on run.id = step_run.run_id where run.notebook = ? and run.kind = 'pipeline'
) where nth = 1
"""
FEATURES = """
select name, entity, owner, tags, description, version, cell_id, notebook,
       (select rows from materialization where view = current_feature_view.name order by created desc, rowid desc limit 1) as rows
from current_feature_view order by notebook <> ?, name
"""
TESTS = """
select test.name, test.kind, test.cell_id, test.severity, result.outcome, coalesce(result.message, '') as message
from current_test_case as test left join test_result as result on result.id = (
    select id from test_result where test = test.name and version = test.version order by created desc, rowid desc limit 1
)
where test.notebook = ? order by test.kind, test.name
"""
LAST_RUN = """
select id, pipeline, status, started, seconds, error from run_status
where kind = 'pipeline' and notebook = ? order by started desc, rowid desc limit 1
"""
STEPS = "select component, status, seconds, cell_id, error, reason from step_run where run_id = ? order by position"


def delta_payload(epoch: str, seq: int, notebook: str, views: Iterable[CellView], *, recording: "RecordingStatus") -> Json:
    """The message after a cell run: the views that changed. `epoch` names this kernel process, `seq` counts its messages by one from 1."""
    return {
        "v": WIRE_VERSION,
        "epoch": epoch,
        "seq": seq,
        "notebook": notebook,
        "recording": recording_json(recording),
        "cells": [view_json(view) for view in views],
    }


def snapshot(project: "Project", notebook: Path) -> Json:
    """All that the registry knows of a notebook, as committed; `notebook` need not exist any more."""
    name = project.relative(notebook)
    views = project.notebooks.view(notebook).recorded
    read = project.registry.rows
    sessions, runs = read(SESSION, (name,)), read(LAST_RUN, (name,))
    steps = {row["component"]: row for row in read(LAST_STEPS, (name,))}
    return {
        "v": WIRE_VERSION,
        "notebook": name,
        "recording": recording_json(project.registry.status()),
        "session": sessions[0] if sessions else None,
        "cells": [view_json(view) for view in views],
        "components": components(views, promoted(read(PROMOTED, (name,))), steps),
        "features": features(project, notebook),
        "tests": read(TESTS, (name,)),
        "last_run": {**runs[0], "steps": read(STEPS, (runs[0]["id"],))} if runs else None,
    }


def nothing(notebook: str) -> Json:
    """The snapshot of a notebook whose project has no registry yet."""
    return {
        "v": WIRE_VERSION,
        "notebook": notebook,
        "recording": None,
        "session": None,
        "cells": [],
        "components": [],
        "features": [],
        "tests": [],
        "last_run": None,
    }


def features(project: "Project", notebook: Path, query: str = "") -> list[Json]:
    """The project's feature views, those of `notebook` first; with a query the ones that match, best first."""
    rows = {row["name"]: feature_json(row) for row in project.registry.rows(FEATURES, (project.relative(notebook),))}
    if not query:
        return list(rows.values())
    return [rows[summary.view.name] for summary in project.features.search(query).features if summary.view.name in rows]


def view_json(view: CellView) -> Json:
    """A cell's view as JSON.

    >>> view_json(CellView("3f2a", "stale", "x was rewritten", reads=("x",)))["reads"]
    ['x']
    """
    return {name: list(value) if isinstance(value := getattr(view, name), tuple) else value for name in _VIEW_FIELDS}


def recording_json(status: "RecordingStatus") -> Json:
    """Whether facts are kept, and why not."""
    return {"on": status.on, "reason": status.reason}


def feature_json(row: Mapping[str, Any]) -> Json:
    """A feature view's row as JSON."""
    return {**row, "entity": list(from_json(row["entity"])), "tags": list(from_json(row["tags"]))}


def components(views: Sequence[CellView], made: Mapping[str, Json], last: Mapping[str, Mapping[str, Any]]) -> list[Json]:
    """The notebook's components: the promoted ones (`made`) in their order, then steps whose cells ran but were not promoted.

    >>> components([CellView("a", "fresh", step="load", reads=("path",), writes=("raw",))], {}, {})[0]["outputs"]
    ['raw']
    """
    cells: dict[str, list[CellView]] = {}
    for view in views:
        if view.step:
            cells.setdefault(view.step, []).append(view)
    return [{**(made.get(name) or _seen(name, cells[name])), "last": _last(last.get(name))} for name in dict.fromkeys((*made, *cells))]


def _seen(name: str, views: Sequence[CellView]) -> Json:
    """A component as its cells' runs show it: what it read from elsewhere, and what it left."""
    writes = list(dict.fromkeys(n for view in views for n in view.writes))
    reads = [n for view in views for n in view.reads if n not in writes]
    return {"name": name, "promoted": False, "cells": [v.cell_id for v in views], "inputs": list(dict.fromkeys(reads)), "outputs": writes}


def _last(row: Mapping[str, Any] | None) -> Json | None:
    return {key: row[key] for key in ("status", "seconds", "run_id")} if row else None


def promoted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    """The components of the newest promotion, by name."""
    listed = from_json(rows[0]["components"]) if rows else []
    return {
        c["name"]: {"name": c["name"], "promoted": True, "cells": list(c["cells"]), "inputs": sorted(c["inputs"]), "outputs": list(c["outputs"])}
        for c in listed
    }
